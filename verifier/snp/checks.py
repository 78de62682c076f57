"""The checks of a report against its certificates, the expectation and the settings, in order.

``require_*`` decide authenticity or binding: a failure raises. ``assess`` holds the report against the
settings: every failure is recorded, and each sets an engine floor that no policy can improve.

Source unless a check says otherwise: AMD SEV-SNP ABI specification (pub. 56860) section 7.3, table
ATTESTATION_REPORT; offsets are of that table.

Not checked: LAUNCH_TCB against COMMITTED_TCB (a guest that migrated may have been launched elsewhere).
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from common.errors import Malformed
from verifier.errors import (
    CertificateExpired,
    CertificateNotYetValid,
    ChipIdMismatch,
    InitDataMismatch,
    ReportDataMismatch,
    SignatureInvalid,
    TcbMismatch,
    UnsupportedEvidence,
)
from verifier.snp.products import Product, SigningKey, product_of
from verifier.snp.report import KEY_MASK_CHIP_KEY

if TYPE_CHECKING:
    from datetime import datetime

    from common.checks import Checks
    from verifier.model import InitDataClaim
    from verifier.snp.chain import VerifiedChain
    from verifier.snp.platform import PlatformTcbs
    from verifier.snp.report import Report
    from verifier.snp.settings import SnpSettings

ABI: Final = "AMD 56860 table ATTESTATION_REPORT"
_ECDSA_P384_SHA384: Final = 1
_SIGNING_KEYS: Final = {0: SigningKey.VCEK, 1: SigningKey.VLEK}
_P384_ORDER: Final = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
)  # NIST SP 800-186 section 3.2.1.4
_ECDSA: Final = ec.ECDSA(hashes.SHA384())
_HWID_OFFSET: Final = "0x1A0"


def require_format(report: Report, settings: SnpSettings, checks: Checks) -> tuple[Product, SigningKey]:
    """Version, algorithm and signer are ones we take; returns the product and what signed.

    Raises:
        UnsupportedEvidence: otherwise.
    """
    checks.require(
        "snp.report.version", report.version in settings.versions, UnsupportedEvidence,
        expected=_sorted(settings.versions), observed=report.version, source=f"{ABI} 0x000",
    )  # fmt: skip
    checks.require(
        "snp.report.signature_algorithm", report.signature_algorithm == _ECDSA_P384_SHA384,
        UnsupportedEvidence,
        expected=_ECDSA_P384_SHA384, observed=report.signature_algorithm, source=f"{ABI} 0x034",
    )  # fmt: skip
    kind = _SIGNING_KEYS.get(report.signing_key)
    if kind is None:
        checks.fail(
            "snp.report.signing_key", UnsupportedEvidence, expected=[0, 1], observed=report.signing_key,
            source=f"{ABI} 0x048 bits 4:2", note="the report says that neither a VCEK nor a VLEK signed it",
        )  # fmt: skip
    checks.require(
        "snp.report.signing_key", not report.key_info & KEY_MASK_CHIP_KEY, UnsupportedEvidence,
        expected="not masked", observed=kind, source=f"{ABI} 0x048 bits 4:1",
    )  # fmt: skip
    return _product(report, settings, checks), kind


def _product(report: Report, settings: SnpSettings, checks: Checks) -> Product:
    if report.cpuid is None:
        product = settings.v2_product
        if product is None:  # the settings refuse version 2 without it
            raise UnsupportedEvidence("a version 2 report names no product, and none is pinned")
    else:
        product = product_of(report.cpuid[0], report.cpuid[1])
    checks.require(
        "snp.report.product", product in settings.products, UnsupportedEvidence,
        expected=_sorted(settings.products), observed=product,
        source="pinned by configuration" if report.cpuid is None else f"{ABI} 0x188",
    )  # fmt: skip
    return product


def require_signature(report: Report, chain: VerifiedChain, checks: Checks) -> None:
    """ECDSA P-384 with SHA-384 over [0, 0x2A0) as received; R and S in 1..n-1.

    Raises:
        SignatureInvalid: otherwise.
    """
    verified = 0 < report.r < _P384_ORDER and 0 < report.s < _P384_ORDER
    if verified:
        try:
            chain.leaf.public_key.verify(encode_dss_signature(report.r, report.s), report.signed, _ECDSA)
        except InvalidSignature:
            verified = False
    checks.require(
        "snp.report.signature", verified, SignatureInvalid,
        expected=f"signed by {chain.leaf.kind} {chain.leaf.sha256}",
        source=f"{ABI} 0x2A0; FIPS 186-5 section 6.4.2",
        note="" if verified else "the signature does not verify with the certificate's key",
    )  # fmt: skip


def require_dates(chain: VerifiedChain, now: datetime, checks: Checks) -> None:
    """Leaf, intermediate and root are valid at ``now``.

    Raises:
        CertificateNotYetValid, CertificateExpired: one is not.
    """
    source = "RFC 5280 section 4.1.2.5"
    for name, certificate in () if chain.not_before <= now <= chain.not_after else chain.certificates:
        checks.require(
            f"snp.validity.{name.lower()}", certificate.not_valid_before_utc <= now, CertificateNotYetValid,
            expected=now.isoformat(), observed=certificate.not_valid_before_utc.isoformat(), source=source,
        )  # fmt: skip
        checks.require(
            f"snp.validity.{name.lower()}", now <= certificate.not_valid_after_utc, CertificateExpired,
            expected=now.isoformat(), observed=certificate.not_valid_after_utc.isoformat(), source=source,
        )  # fmt: skip
    checks.require(
        "snp.validity", ok=True, error=CertificateExpired, expected=now.isoformat(),
        observed=chain.not_after.isoformat(), source=source,
    )  # fmt: skip


def require_tcb(tcbs: PlatformTcbs, chain: VerifiedChain, checks: Checks) -> None:
    """The certificate is for the reported TCB, and that is no newer than the current one.

    Raises:
        TcbMismatch: otherwise.
    """
    certificate = chain.leaf.tcb
    checks.require(
        "snp.tcb.certificate", certificate == tcbs.reported, TcbMismatch,
        expected=certificate.as_dict(), observed=tcbs.reported.as_dict(),
        source=f"{ABI} 0x180; AMD 57230 table 9",
    )  # fmt: skip
    checks.require(
        "snp.tcb.current", tcbs.current.covers(certificate), TcbMismatch,
        expected=certificate.as_dict(), observed=tcbs.current.as_dict(), source=f"{ABI} 0x038",
    )  # fmt: skip


def require_chip(report: Report, chain: VerifiedChain, checks: Checks) -> str | None:
    """CHIP_ID is the certificate's hardware id. Returns the identity that is proven, if any.

    A VCEK report with CHIP_ID zero (masked by the host) proves none; whether it is taken is for
    ``assess``. A VLEK proves the cloud provider.

    Raises:
        ChipIdMismatch: another chip, or bytes beyond a Turin id.
    """
    leaf = chain.leaf
    if leaf.hardware_id is None:
        return f"snp-csp:{leaf.csp_id}"
    if not any(report.chip_id):
        return None
    expected = leaf.hardware_id.ljust(len(report.chip_id), b"\0")
    checks.require(
        "snp.chip_id", expected == report.chip_id, ChipIdMismatch,
        expected=expected.hex(), observed=report.chip_id.hex(),
        source=f"{ABI} {_HWID_OFFSET}; OID 1.3.6.1.4.1.3704.1.4",
    )  # fmt: skip
    return f"snp-chip:{leaf.hardware_id.hex()}"


def require_report_data(report: Report, expected: bytes | None, checks: Checks) -> None:
    """All 64 bytes of REPORT_DATA are the expected ones.

    Raises:
        Malformed: the expectation is all zero: evidence that binds nothing would meet it.
        ReportDataMismatch: otherwise.
    """
    if expected is None:
        checks.skip(
            "snp.report_data", "no expectation was given: freshness is not proven", source=f"{ABI} 0x050"
        )
        return
    if not any(expected):
        raise Malformed("expected report data of zeros binds evidence to nothing")
    checks.require(
        "snp.report_data", hmac.compare_digest(expected, report.report_data), ReportDataMismatch,
        expected=expected.hex(), observed=report.report_data.hex(), source=f"{ABI} 0x050",
    )  # fmt: skip


def require_init_data(report: Report, init_data: InitDataClaim | None, checks: Checks) -> str:
    """HOST_DATA is the digest of the init-data. Returns ``bound`` or ``absent``.

    The field takes 32 bytes: a longer digest is refused, not cut, unless the claim says that it is fitted.

    Raises:
        InitDataMismatch: otherwise.
    """
    if init_data is None:
        return "absent"
    wanted = init_data.in_field(len(report.host_data))
    checks.require(
        "snp.host_data", wanted == report.host_data, InitDataMismatch,
        expected=wanted.hex(), observed=report.host_data.hex(), source=f"{ABI} 0x0C0",
        note="" if len(wanted) == len(report.host_data) else "HOST_DATA holds a SHA-256 digest",
    )  # fmt: skip
    return "bound"


def _sorted(values: frozenset[int] | frozenset[Product]) -> list[int] | list[str]:
    return sorted(values)  # type: ignore[return-value]  # both element types are ordered
