"""Checks of a report's authenticity and binding; each raises."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from common import sm2
from verifier.csv.layout import ALGORITHM_SM2, SOURCE, USAGE_PEK
from verifier.errors import CertificateInvalid, ReportDataMismatch, SignatureInvalid, UnsupportedEvidence

if TYPE_CHECKING:
    from common.checks import Checks
    from verifier.csv.certificates import CsvCertificate
    from verifier.csv.report import Report
    from verifier.csv.settings import CsvSettings


def require_format(report: Report, settings: CsvSettings, checks: Checks) -> None:
    """The version is accepted; the report says that a PEK signed it, by SM2.

    Raises:
        UnsupportedEvidence: otherwise.
    """
    checks.require(
        "csv.report.version", report.version in settings.versions, UnsupportedEvidence,
        expected=sorted(settings.versions), observed=report.version, source="setting versions",
    )  # fmt: skip
    checks.require(
        "csv.report.sig_usage", report.sig_usage == USAGE_PEK, UnsupportedEvidence,
        expected=USAGE_PEK, observed=report.sig_usage, source=f"{SOURCE}: 0x0B4",
    )  # fmt: skip
    checks.require(
        "csv.report.sig_algo", report.sig_algo == ALGORITHM_SM2, UnsupportedEvidence,
        expected=ALGORITHM_SM2, observed=report.sig_algo, source=f"{SOURCE}: 0x0B8",
    )  # fmt: skip


def require_signature(report: Report, pek: CsvCertificate, checks: Checks) -> None:
    """The PEK signed the report; whose PEK it is, the chain tells.

    Raises:
        SignatureInvalid: it did not.
    """
    checks.require(
        "csv.report.signature",
        sm2.verify(pek.key, pek.user_id, report.signed, report.signature),
        SignatureInvalid,
        expected="SM2 by the PEK",
        source=f"{SOURCE}: over [0, {len(report.signed):#x})",
    )


def require_one_pek(report: Report, sent: bytes | None, checks: Checks) -> None:
    """The PEK that was sent beside the report is the one in it.

    Raises:
        CertificateInvalid: it is another.
    """
    if sent is not None:
        checks.require(
            "csv.pek.copies", sent == report.pek, CertificateInvalid,
            expected="the PEK that the report holds", source="CoCo: cert_chain.pek",
        )  # fmt: skip


def require_serial_number(report: Report, sent: str | None, checks: Checks) -> None:
    """The serial number that was sent beside the report is the one in it. Neither is signed.

    Raises:
        CertificateInvalid: it is another.
    """
    if sent is not None:
        checks.require(
            "csv.serial_number", sent == report.serial_number, CertificateInvalid,
            expected=report.serial_number, observed=sent, source="CoCo: serial_number",
        )  # fmt: skip
    checks.warn(
        "csv.serial_number.unsigned",
        observed=report.serial_number,
        source=f"{SOURCE}: neither the report's signature nor the CEK covers it",
        note="it finds certificates and proves nothing: it is no claim and no identity",
    )


def require_report_data(report: Report, wanted: bytes | None, checks: Checks) -> None:
    """All 64 bytes are what is expected.

    Raises:
        ReportDataMismatch: they are not.
    """
    source = f"{SOURCE}: 0x040"
    if wanted is None:
        checks.skip("csv.report_data", "no expectation was given", source=source)
        return
    checks.require(
        "csv.report_data", hmac.compare_digest(report.report_data, wanted), ReportDataMismatch,
        expected=wanted.hex(), observed=report.report_data.hex(), source=source,
    )  # fmt: skip


def note_what_is_unsigned(report: Report, checks: Checks) -> None:
    """Record what no check can make good: MAC, MNONCE and, in version 1, ANONCE."""
    checks.skip(
        "csv.mac",
        "its key is MNONCE, which the report itself shows, and it covers a field that guests clear",
        source=f"{SOURCE}: HMAC-SM3 over PEK, serial number and reserved",
    )
    if report.version == 1:
        checks.warn(
            "csv.anonce.unsigned",
            observed=report.anonce,
            source=f"{SOURCE}: signature over [0, 0xB4), masked",
            note="the mask is not signed: the values count together with a known measurement alone",
        )
