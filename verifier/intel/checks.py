"""The checks of a quote by itself, of its certificates' dates, and of the quoting enclave and TDX module.

``require_*`` decide authenticity: a failure raises.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from common.errors import Malformed
from verifier.errors import (
    CertificateExpired,
    CertificateNotYetValid,
    InitDataMismatch,
    ReportDataMismatch,
    TcbNotSupported,
    UnsupportedEvidence,
)
from verifier.intel.enclave import DEBUG
from verifier.intel.evaluation import module_of
from verifier.intel.quote import ECDSA_P256, PCK_CHAIN

if TYPE_CHECKING:
    from datetime import datetime

    from common.checks import Checks
    from verifier.intel.chain import VerifiedQe
    from verifier.intel.enclave import EnclaveReport
    from verifier.intel.qe_identity import QeIdentity
    from verifier.intel.quote import Quote
    from verifier.intel.tcb_info import TcbInfo
    from verifier.intel.td import TdBody
    from verifier.model import InitDataClaim

QUOTE: Final = "Intel DCAP Quote Library API, quote format"
INTEL_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_NAMES: Final = {0x00: "SGX", 0x81: "TDX"}


def require_format(quote: Quote, tee_type: int, versions: frozenset[int], checks: Checks) -> None:
    """TEE, version, algorithm, quoting enclave's vendor and certification data are ones we take.

    Raises:
        UnsupportedEvidence: otherwise.
    """
    header, proof = quote.header, quote.proof
    checks.require(
        "intel.quote.tee", header.tee_type == tee_type, UnsupportedEvidence,
        expected=_NAMES[tee_type], observed=_NAMES[header.tee_type], source=f"{QUOTE} 0x04",
    )  # fmt: skip
    checks.require(
        "intel.quote.version", header.version in versions, UnsupportedEvidence,
        expected=sorted(versions), observed=header.version, source=f"{QUOTE} 0x00",
    )  # fmt: skip
    checks.require(
        "intel.quote.algorithm", header.key_type == ECDSA_P256, UnsupportedEvidence,
        expected=ECDSA_P256, observed=header.key_type, source=f"{QUOTE} 0x02",
    )  # fmt: skip
    checks.require(
        "intel.quote.vendor", header.vendor_id == INTEL_VENDOR, UnsupportedEvidence,
        expected=INTEL_VENDOR.hex(), observed=header.vendor_id.hex(), source=f"{QUOTE} 0x0C",
    )  # fmt: skip
    checks.require(
        "intel.quote.certification", proof.certification_type == PCK_CHAIN, UnsupportedEvidence,
        expected=PCK_CHAIN, observed=proof.certification_type, source=f"{QUOTE}, certification data",
        note="" if proof.certification_type == PCK_CHAIN else "the quote brings no PCK certificate chain",
    )  # fmt: skip


def require_dates(qe: VerifiedQe, now: datetime, checks: Checks) -> None:
    """PCK, authority and root are valid at ``now``.

    Raises:
        CertificateNotYetValid, CertificateExpired: one is not.
    """
    source = "RFC 5280 section 4.1.2.5"
    at = now.isoformat()
    for name, certificate in () if qe.not_before <= now <= qe.not_after else qe.certificates:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        checks.require(
            f"intel.validity.{name}", start <= now, CertificateNotYetValid,
            expected=at, observed=start.isoformat(), source=source,
        )  # fmt: skip
        checks.require(
            f"intel.validity.{name}", now <= end, CertificateExpired,
            expected=at, observed=end.isoformat(), source=source,
        )  # fmt: skip
    checks.require(
        "intel.validity", ok=True, error=CertificateExpired, expected=at, observed=qe.not_after.isoformat(),
        source=source,
    )  # fmt: skip


def require_quoting_enclave(report: EnclaveReport, identity: QeIdentity, checks: Checks) -> None:
    """The enclave that signed is the one that Intel says may, and cannot be debugged.

    Raises:
        UnsupportedEvidence: otherwise.
    """
    source = "Intel PCS API version 4, QE identity"
    attributes = report.flags + report.xfrm
    for name, expected, observed in (
        ("mr_signer", identity.mr_signer, report.mr_signer),
        ("misc_select", identity.misc_select, masked(report.misc_select, identity.misc_mask)),
        ("attributes", identity.attributes, masked(attributes, identity.attributes_mask)),
    ):
        checks.require(
            f"intel.qe.{name}", expected == observed, UnsupportedEvidence,
            expected=expected.hex(), observed=observed.hex(), source=source,
        )  # fmt: skip
    checks.require(
        "intel.qe.isv_prod_id", report.isv_prod_id == identity.isv_prod_id, UnsupportedEvidence,
        expected=identity.isv_prod_id, observed=report.isv_prod_id, source=source,
    )  # fmt: skip
    checks.require(
        "intel.qe.debug", not report.flag_bits & DEBUG, UnsupportedEvidence,
        expected=False, observed=bool(report.flag_bits & DEBUG), source="SDM volume 3D table 38-3 bit 1",
    )  # fmt: skip


def require_module(body: TdBody, info: TcbInfo, checks: Checks) -> None:
    """The TDX module is signed by whom Intel names for its version, with no attributes but those.

    Raises:
        TcbNotSupported: otherwise, or Intel names no module of that version.
    """
    source = "Intel PCS API version 4, tdxModule and tdxModuleIdentities"
    module = module_of(info, body.tee_tcb_svn)
    if module is None:
        checks.fail(
            "tdx.module", TcbNotSupported, expected=sorted(info.modules), observed=body.tee_tcb_svn[1],
            source=source, note="Intel names no TDX module of this version for this platform",
        )  # fmt: skip
    checks.require(
        "tdx.module.signer", body.mr_signer_seam == module.signer, TcbNotSupported,
        expected=module.signer.hex(), observed=body.mr_signer_seam.hex(), source=source,
    )  # fmt: skip
    # Equal under the mask, and nothing outside it.
    wanted = masked(module.attributes, module.mask)
    checks.require(
        "tdx.module.attributes", body.seam_attributes == wanted, TcbNotSupported,
        expected=wanted.hex(), observed=body.seam_attributes.hex(), source=source,
    )  # fmt: skip


def require_report_data(observed: bytes, expected: bytes | None, tee: str, checks: Checks) -> None:
    """All 64 bytes of REPORTDATA are the expected ones.

    Raises:
        Malformed: the expectation is all zero: evidence that binds nothing would meet it.
        ReportDataMismatch: otherwise.
    """
    name, source = f"{tee}.report_data", f"{QUOTE}, REPORTDATA"
    if expected is None:
        checks.skip(name, "no expectation was given: freshness is not proven", source=source)
        return
    if not any(expected):
        raise Malformed("expected report data of zeros binds evidence to nothing")
    checks.require(
        name, hmac.compare_digest(expected, observed), ReportDataMismatch,
        expected=expected.hex(), observed=observed.hex(), source=source,
    )  # fmt: skip


def require_init_data(observed: bytes, init_data: InitDataClaim | None, name: str, checks: Checks) -> str:
    """The field holds the digest of the init-data. Returns ``bound`` or ``absent``.

    A shorter or longer digest than the field is refused, not padded or cut, unless the claim says that it
    is fitted.

    Raises:
        InitDataMismatch: otherwise.
    """
    if init_data is None:
        return "absent"
    wanted = init_data.in_field(len(observed))
    checks.require(
        name, wanted == observed, InitDataMismatch,
        expected=wanted.hex(), observed=observed.hex(), source=QUOTE,
        note="" if len(wanted) == len(observed) else f"the field holds {len(observed)} bytes",
    )  # fmt: skip
    return "bound"


def masked(value: bytes, mask: bytes) -> bytes:
    """Bitwise and of two texts of one length."""
    return bytes(one & other for one, other in zip(value, mask, strict=True))
