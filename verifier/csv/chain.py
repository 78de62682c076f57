"""The chain HRK, HSK, CEK, PEK.

An issuer signs with the user id of its own certificate. Roles are told by key usage, never by position or
user id; the signature of a CSV certificate that counts is the one slot that says it is of the issuer's
usage. The certificates have no dates, and Hygon publishes no revocation list: a chain that holds once holds
for ever, and what is verified may be remembered.

The PEK's second signature is of the platform owner (OCA). Its certificate is not part of evidence: it is
not checked, and nothing rests on it.

Sources: see ``verifier.csv.layout``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from common import sm2
from common.checks import Check, Checks
from common.errors import InputError, InvalidSetting
from verifier import vendor_roots
from verifier.csv.certificates import (
    CaCertificate,
    CsvCertificate,
    parse_ca_certificate,
    parse_csv_certificate,
)
from verifier.csv.layout import ALGORITHM_SM2, SOURCE, USAGE_CEK, USAGE_HRK, USAGE_HSK, USAGE_PEK
from verifier.errors import CertificateInvalid, RootUntrusted

if TYPE_CHECKING:
    from collections.abc import Sequence

HRK_FILE: Final = "hygon/hrk.cert"


class VerifiedChain(msgspec.Struct, frozen=True):
    """A chain that ends at an anchor.

    Attributes:
        pek: the key that signs reports.
        identity: ``csv-cek:`` and the SHA-256 of the CEK's public key (x, y, big endian), hex.
        endorsements: SHA-256 of HRK, HSK, CEK and PEK, hex.
        checks: records of the chain.
    """

    pek: CsvCertificate
    identity: str
    endorsements: tuple[str, ...]
    checks: tuple[Check, ...]


class Anchors:
    """The roots that are trusted: Hygon's pinned one, and those given besides.

    Args:
        extra: HRK certificates of test platforms, 832 bytes each.

    Raises:
        InvalidSetting: one is no HRK that signed itself, or the pinned file was altered.
    """

    def __init__(self, extra: Sequence[bytes] = ()) -> None:
        """Load and verify them."""
        roots = [_root(data) for data in (vendor_roots.load_raw(HRK_FILE), *extra)]
        self._by_key_id: dict[bytes, CaCertificate] = {}
        for root in roots:  # Hygon's comes first: no other takes its key id
            self._by_key_id.setdefault(root.key_id, root)

    def of(self, hsk: CaCertificate) -> CaCertificate | None:
        """The anchor that a certificate says has signed it."""
        return self._by_key_id.get(hsk.signer_id)


def verify_hsk_cek(hsk: bytes, cek: bytes, anchors: Anchors) -> None:
    """Verify HSK and CEK alone, as for a store that keeps them.

    Raises:
        CertificateInvalid, RootUntrusted: they do not lead to an anchor.
    """
    _verify_cek(hsk, cek, anchors, Checks())


def verify_chain(hsk: bytes, cek: bytes, pek: bytes, anchors: Anchors) -> VerifiedChain:
    """Verify all links.

    Args:
        hsk: 832 bytes.
        cek: 2084 bytes.
        pek: 2084 bytes.
        anchors: the roots.

    Raises:
        CertificateInvalid: a certificate cannot be parsed, has another role, or is not its issuer's.
        RootUntrusted: the HSK names no anchor.
    """
    checks = Checks()
    issuers, endorsing = _verify_cek(hsk, cek, anchors, checks)
    leaf = _csv(pek, "PEK", checks)
    _require_role(leaf, "PEK", USAGE_PEK, checks)
    _require_signed(leaf, endorsing, "PEK", USAGE_CEK, checks)
    return VerifiedChain(
        pek=leaf,
        identity=f"csv-cek:{hashlib.sha256(endorsing.key.raw).hexdigest()}",
        endorsements=(*(issuer.sha256 for issuer in issuers), endorsing.sha256, leaf.sha256),
        checks=checks.records,
    )


def _verify_cek(
    hsk: bytes, cek: bytes, anchors: Anchors, checks: Checks
) -> tuple[tuple[CaCertificate, CaCertificate], CsvCertificate]:
    """HRK and HSK, and the CEK that they vouch for."""
    signing = _ca(hsk, "HSK", checks)
    _require_usage(signing.usage, "HSK", USAGE_HSK, checks)
    root = anchors.of(signing)
    if root is None:
        checks.fail(
            "csv.hsk.root", RootUntrusted, expected="the key id of a trusted HRK",
            observed=signing.signer_id.hex(), source=f"{SOURCE}: HSK 0x014",
        )  # fmt: skip
    checks.require(
        "csv.hsk.signature",
        sm2.verify(root.key, root.user_id, signing.signed, signing.signature),
        CertificateInvalid,
        expected=f"SM2 by HRK {root.key_id.hex()}",
        source=f"{SOURCE}: over [0, 0x240)",
    )
    chip = _csv(cek, "CEK", checks)
    _require_role(chip, "CEK", USAGE_CEK, checks)
    _require_signed(chip, signing, "CEK", USAGE_HSK, checks)
    return (root, signing), chip


def _require_role(certificate: CsvCertificate, name: str, usage: int, checks: Checks) -> None:
    _require_usage(certificate.usage, name, usage, checks)
    checks.require(
        f"csv.{name.lower()}.algorithm", certificate.algorithm == ALGORITHM_SM2, CertificateInvalid,
        expected=ALGORITHM_SM2, observed=certificate.algorithm, source=f"{SOURCE}: {name} 0x00C",
    )  # fmt: skip


def _require_usage(observed: int, name: str, expected: int, checks: Checks) -> None:
    checks.require(
        f"csv.{name.lower()}.usage", observed == expected, CertificateInvalid,
        expected=expected, observed=observed, source=f"{SOURCE}: key usage of {name}",
    )  # fmt: skip


def _require_signed(
    certificate: CsvCertificate,
    issuer: CaCertificate | CsvCertificate,
    name: str,
    usage: int,
    checks: Checks,
) -> None:
    """One slot, and one alone, is of the issuer's usage, and verifies."""
    slots = [slot for slot in certificate.slots if slot.usage == usage and slot.algorithm == ALGORITHM_SM2]
    checks.require(
        f"csv.{name.lower()}.signature",
        len(slots) == 1 and sm2.verify(issuer.key, issuer.user_id, certificate.signed, slots[0].signature),
        CertificateInvalid,
        expected=f"one SM2 signature of usage {usage:#x}, by the issuer's key",
        observed=[slot.usage for slot in certificate.slots],
        source=f"{SOURCE}: over [0, 0x414)",
    )


def _ca(data: bytes, name: str, checks: Checks) -> CaCertificate:
    try:
        return parse_ca_certificate(data, name)
    except InputError as error:
        checks.fail(f"csv.{name.lower()}.structure", CertificateInvalid, source=SOURCE, note=error.message)


def _csv(data: bytes, name: str, checks: Checks) -> CsvCertificate:
    try:
        return parse_csv_certificate(data, name)
    except InputError as error:
        checks.fail(f"csv.{name.lower()}.structure", CertificateInvalid, source=SOURCE, note=error.message)


def _root(data: bytes) -> CaCertificate:
    try:
        root = parse_ca_certificate(data, "HRK")
    except InputError as error:
        raise InvalidSetting(f"an HRK certificate cannot be parsed: {error.message}") from error
    itself = root.usage == USAGE_HRK and root.key_id == root.signer_id
    if not itself or not sm2.verify(root.key, root.user_id, root.signed, root.signature):
        raise InvalidSetting("a certificate that is to be trusted as HRK is none: it has not signed itself")
    return root
