"""The chain of a platform: AMD's root and signing key (pinned), chip, owner, platform endorsement, PDH.

Order: the AMD signing key of the product; CEK by it; OCA by itself; PEK by CEK *and* OCA; PDH by PEK.
Each signature is found by the usage that it names, made with the algorithm of the key that is meant, and
over the bytes received.

Source: AMD SEV API (publication 55766), sections 1.2.5 and 2.2, appendices B and C.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Final

import msgspec

from verifier import vendor_roots
from verifier.errors import CertificateInvalid
from verifier.sev.amd_certificate import (
    USAGE_ASK,
    AmdCertificate,
    parse_amd_certificate,
    require_authorities,
    verify_pss,
)
from verifier.sev.certificate import (
    ECDH_SHA256,
    ECDH_SHA384,
    ECDSA_SHA256,
    ECDSA_SHA384,
    RSA_SHA256,
    RSA_SHA384,
    USAGE_CEK,
    USAGE_OCA,
    USAGE_PDH,
    USAGE_PEK,
    SevCertificate,
    verify_ecdsa,
)

if TYPE_CHECKING:
    from common.checks import Checks
    from verifier.sev.products import Product

SOURCE: Final = "AMD SEV API (55766), appendix C.1"
_ECDSA: Final = (ECDSA_SHA256, ECDSA_SHA384)
_ECDH: Final = (ECDH_SHA256, ECDH_SHA384)
_HASH_256: Final = "sha256"


class Authorities(msgspec.Struct, frozen=True):
    """A product's root and signing key, verified against each other.

    Attributes:
        ask: the signing key.
        digests: SHA-256 of both certificates, hex.
    """

    ask: AmdCertificate
    digests: tuple[str, ...]


class Platform(msgspec.Struct, frozen=True):
    """Certificates of one platform, parsed.

    Attributes:
        cek: of the chip, as AMD signed it.
        oca: of the platform's owner.
        pek: platform endorsement key.
        pdh: Diffie-Hellman key; None where it is not needed.
    """

    cek: SevCertificate
    oca: SevCertificate
    pek: SevCertificate
    pdh: SevCertificate | None = None

    @property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of each certificate, hex."""
        found = [item for item in (self.pdh, self.pek, self.oca, self.cek) if item is not None]
        return tuple(hashlib.sha256(item.raw).hexdigest() for item in found)


def authorities(ark: bytes, ask: bytes) -> Authorities:
    """Root and signing key, from their bytes.

    Raises:
        InputError, EvidenceError: not such certificates.
        CertificateInvalid: they do not belong together.
    """
    root, signing = parse_amd_certificate(ark), parse_amd_certificate(ask)
    require_authorities(root, signing)
    return Authorities(signing, tuple(hashlib.sha256(data).hexdigest() for data in (ask, ark)))


@cache
def pinned(product: Product) -> Authorities:
    """AMD's root and signing key of a product.

    Raises:
        InvalidSetting: the installation was altered.
    """
    name = product.value.lower()
    load = vendor_roots.load_raw
    return authorities(load(f"amd-sev/ark-{name}.cert"), load(f"amd-sev/ask-{name}.cert"))


def verify_platform(platform: Platform, amd: Authorities, checks: Checks) -> None:
    """Verify every certificate of a platform.

    Raises:
        CertificateInvalid: a usage, an algorithm or a signature is another.
    """
    _require_key(platform.cek, "cek", USAGE_CEK, _ECDSA, checks)
    _require(checks, "sev.cek.signature", _signed_by_ask(platform.cek, amd.ask), "the product's ASK")
    _require_key(platform.oca, "oca", USAGE_OCA, _ECDSA, checks)
    _require(checks, "sev.oca.signature", _signed_by(platform.oca, platform.oca), "itself")
    _require_key(platform.pek, "pek", USAGE_PEK, _ECDSA, checks)
    _require(checks, "sev.pek.signature.cek", _signed_by(platform.pek, platform.cek), "the chip's CEK")
    _require(checks, "sev.pek.signature.oca", _signed_by(platform.pek, platform.oca), "the owner's OCA")
    if platform.pdh is not None:
        _require_key(platform.pdh, "pdh", USAGE_PDH, _ECDH, checks)
        _require(checks, "sev.pdh.signature", _signed_by(platform.pdh, platform.pek), "the PEK")


def _require_key(
    certificate: SevCertificate, name: str, usage: int, algorithms: tuple[int, int], checks: Checks
) -> None:
    checks.require(
        f"sev.{name}.usage", certificate.usage == usage and certificate.algorithm in algorithms,
        CertificateInvalid, expected=[f"{usage:#x}", [f"{item:#x}" for item in algorithms]],
        observed=[f"{certificate.usage:#x}", f"{certificate.algorithm:#x}"], source=SOURCE,
    )  # fmt: skip


def _require(checks: Checks, name: str, ok: bool, signer: str) -> None:
    checks.require(name, ok, CertificateInvalid, expected=f"signed by {signer}", source=SOURCE)


def _signed_by(subject: SevCertificate, issuer: SevCertificate) -> bool:
    """Whether a signature of ``subject`` is that of ``issuer``, by usage and algorithm of its key."""
    return any(
        item.usage == issuer.usage
        and item.algorithm == issuer.algorithm
        and verify_ecdsa(issuer.key, item.algorithm, item.data, subject.signed)
        for item in subject.signatures
    )


def _signed_by_ask(cek: SevCertificate, ask: AmdCertificate) -> bool:
    size = ask.key.key_size // 8
    algorithm = RSA_SHA256 if ask.hash.name == _HASH_256 else RSA_SHA384
    return any(
        item.usage == USAGE_ASK
        and item.algorithm == algorithm
        and not any(item.data[size:])
        and verify_pss(ask, item.data[:size][::-1], cek.signed)
        for item in cek.signatures
    )
