"""An enclave's report held against the settings: failures are recorded, each sets an engine floor.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3D, tables 38-3 (ATTRIBUTES)
and 38-21 (REPORT); offsets are of the report body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from verifier.errors import DebugEnabled
from verifier.findings import CONFIGURATION, EXECUTABLES, VISIBLE, Findings, hexes
from verifier.intel import enclave as bits

if TYPE_CHECKING:
    from verifier.intel.enclave import EnclaveReport
    from verifier.sgx.settings import SgxSettings, SignerRule

_SDM: Final = "SDM volume 3D table 38-21"
_ATTRIBUTES: Final = "SDM volume 3D table 38-3"


def assess(report: EnclaveReport, settings: SgxSettings, findings: Findings) -> None:
    """Record every expectation about an enclave."""
    _flags(report, settings, findings)
    _identity(report, settings, findings)
    _configuration(report, settings, findings)


def _flags(report: EnclaveReport, settings: SgxSettings, findings: Findings) -> None:
    flags = report.flag_bits
    debug = bool(flags & bits.DEBUG)
    findings.expect(
        "sgx.attributes.debug", not debug, VISIBLE, DebugEnabled,
        expected=False, observed=debug, source=f"{_ATTRIBUTES} bit 1",
    )  # fmt: skip
    initialised = bool(flags & bits.INIT)
    findings.expect(
        "sgx.attributes.init", initialised, CONFIGURATION,
        expected=True, observed=initialised, source=f"{_ATTRIBUTES} bit 0",
    )  # fmt: skip
    for name, bit, permitted in (
        ("provision_key", bits.PROVISION_KEY, settings.permit_provision_key),
        ("einittoken_key", bits.EINITTOKEN_KEY, False),
    ):
        observed = bool(flags & bit)
        findings.expect(
            f"sgx.attributes.{name}", not observed or permitted, CONFIGURATION,
            expected="any" if permitted else False, observed=observed,
            source=f"{_ATTRIBUTES} bit {bit.bit_length() - 1}",
        )  # fmt: skip
    if settings.flags_required or settings.flags_forbidden:
        findings.masks(
            "sgx.attributes.bits", flags, settings.flags_required, settings.flags_forbidden, CONFIGURATION,
            source=_ATTRIBUTES,
        )  # fmt: skip


def _identity(report: EnclaveReport, settings: SgxSettings, findings: Findings) -> None:
    """This very enclave, or a product of a known signer that is not too old."""
    if not settings.mr_enclaves and not settings.signers:
        return
    findings.expect(
        "sgx.enclave",
        report.mr_enclave in settings.mr_enclaves or any(_meets(report, rule) for rule in settings.signers),
        EXECUTABLES,
        expected={
            "mr_enclave": hexes(settings.mr_enclaves),
            "signers": [
                [rule.mr_signer.hex(), rule.isv_prod_id, rule.minimum_isv_svn] for rule in settings.signers
            ],
        },
        observed={
            "mr_enclave": report.mr_enclave.hex(),
            "signer": [report.mr_signer.hex(), report.isv_prod_id, report.isv_svn],
        },
        source=f"{_SDM}, 0x040, 0x080, 0x100, 0x102",
    )  # fmt: skip


def _meets(report: EnclaveReport, rule: SignerRule) -> bool:
    return (
        report.mr_signer == rule.mr_signer
        and report.isv_prod_id == rule.isv_prod_id
        and report.isv_svn >= rule.minimum_isv_svn
    )


def _configuration(report: EnclaveReport, settings: SgxSettings, findings: Findings) -> None:
    if not settings.require_kss:
        return
    kss = bool(report.flag_bits & bits.KSS)
    findings.expect(
        "sgx.attributes.kss", kss, CONFIGURATION,
        expected=True, observed=kss, source=f"{_ATTRIBUTES} bit 7",
    )  # fmt: skip
    if settings.config_ids:
        findings.member(
            "sgx.config_id", report.config_id, settings.config_ids, CONFIGURATION, source=f"{_SDM}, 0x0C0"
        )
    if settings.minimum_config_svn:
        findings.expect(
            "sgx.config_svn", report.config_svn >= settings.minimum_config_svn, CONFIGURATION,
            expected=settings.minimum_config_svn, observed=report.config_svn, source=f"{_SDM}, 0x104",
        )  # fmt: skip
