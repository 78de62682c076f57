"""The verifier of Azure VMs on TDX.

Order: HCL report; its kind; the hash of the runtime claims in the TDREPORT; the TD quote, whole, as
``verifier.tdx`` does it (signature, chain, collateral, revocation, status), with the TD's attributes held
against the settings; the quote is of the same TD: REPORTDATA and MRTD; runtime claims; quote of the vTPM,
registers, logs; user data; init-data by register 8. Each of these raises, except failed settings: those are
recorded and set engine floors, among them that of a TD that can be debugged.

The paravisor is the TD; the guest is an L2 VM in it, which cannot ask for a TDREPORT of its own.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from common.checks import Checks
from common.errors import Malformed
from verifier.az_tdx_vtpm.evidence import AzTdxVtpmEvidence
from verifier.az_tdx_vtpm.tdreport import TdReport, parse_td_report
from verifier.azure.hcl import ReportType
from verifier.azure.verdict import Hardware, expectation_of, verdict
from verifier.azure.vtpm import (
    CheckedVtpm,
    VtpmExpectation,
    check_vtpm,
    require_kind,
    require_runtime_claims,
)
from verifier.errors import AttestationKeyUntrusted
from verifier.intel.quote import MAX_QUOTE_BYTES
from verifier.intel.transport import carried_collateral, decoded
from verifier.tdx.claims import common_claims, tdx_claims

if TYPE_CHECKING:
    from datetime import datetime

    from verifier.model import Expectation, InitDataClaim, VerifiedEvidence
    from verifier.tdx.verifier import CheckedTdQuote, TdxVerifier
    from verifier.tpm.settings import TpmSettings
    from wire.evidence import Evidence

TEE_NAME: Final = "az-tdx-vtpm"
_SOURCE: Final = "Intel TDX Module ABI Specification, TDREPORT_STRUCT; Intel DCAP quote format, TD body"


class AzTdxVtpmVerifier:
    """Verifies evidence of Azure VMs on TDX (``verifier.model.TeeVerifier``).

    Args:
        tdx: verifies the TD quote.
        vtpm: settings of the vTPM quote's checks.
    """

    def __init__(self, tdx: TdxVerifier, vtpm: TpmSettings) -> None:
        """Keep the parts."""
        self._tdx = tdx
        self._vtpm = vtpm

    @property
    def tee(self) -> str:
        """``az-tdx-vtpm``."""
        return TEE_NAME

    def verify(
        self, evidence: Evidence, expected: Expectation, init_data: InitDataClaim | None, now: datetime
    ) -> VerifiedEvidence:
        """Verify evidence at ``now``.

        Raises:
            InputError: something cannot be parsed.
            EvidenceError: not authentic, or not bound as expected.
            EndorsementError: certificates, collateral or their dates do not hold.
            UnavailableError: collateral had to be fetched, and its source does not answer.
        """
        if not isinstance(evidence, AzTdxVtpmEvidence):
            raise Malformed("this verifier takes evidence of Azure VMs on TDX")
        wanted = expectation_of(expected, init_data, self._vtpm.pcr_selection)
        return self.verify_against(evidence, wanted, expected, init_data, now)

    def verify_against(
        self,
        evidence: AzTdxVtpmEvidence,
        expectation: VtpmExpectation,
        expected: Expectation,
        init_data: InitDataClaim | None,
        now: datetime,
    ) -> VerifiedEvidence:
        """Verify, where what the vTPM's quote must hold is known already; errors as ``verify``."""
        checks = Checks()
        checked, vtpm = self._check(evidence, expectation, now, checks)
        hardware = Hardware(
            claims=tdx_claims(checked),
            common=common_claims(checked),
            signed=checked.checked.quote.signed,
            floors=checked.floors,
            endorsements=checked.checked.endorsements,
            not_after=checked.checked.not_after,
            identity=checked.checked.identity,
        )
        return verdict(
            TEE_NAME,
            hardware,
            vtpm,
            checks,
            quote=evidence.material().quote,
            expected=expected,
            init_data=init_data,
        )

    def _check(
        self,
        evidence: AzTdxVtpmEvidence,
        expectation: VtpmExpectation,
        now: datetime,
        checks: Checks,
    ) -> tuple[CheckedTdQuote, CheckedVtpm]:
        hcl = evidence.hcl()
        require_kind(hcl, ReportType.TDX, checks)
        report = parse_td_report(hcl.hardware_report)
        require_runtime_claims(hcl, report.report_data, checks)
        quote = decoded(evidence.td_quote, "td_quote", MAX_QUOTE_BYTES)
        collateral = carried_collateral(evidence.collateral)
        checked = self._tdx.check_quote(quote, now, checks, collateral=collateral)
        _require_same_td(report, checked, checks)
        return checked, check_vtpm(hcl, evidence, expectation, self._vtpm, checks)


def _require_same_td(report: TdReport, checked: CheckedTdQuote, checks: Checks) -> None:
    """Demand that the quote was made of the TDREPORT whose report data cover the runtime claims.

    Raises:
        AttestationKeyUntrusted: it is of another TD, or of another report.
    """
    for name, stated, signed in (
        ("report_data", report.report_data, checked.body.report_data),
        ("mr_td", report.mr_td, checked.body.mr_td),
    ):
        same = hmac.compare_digest(stated, signed)
        checks.require(
            f"azure.td_quote.{name}",
            same,
            AttestationKeyUntrusted,
            expected=stated.hex(),
            observed=signed.hex(),
            source=_SOURCE,
            note="" if same else "the TD quote is not of the TDREPORT in the HCL report",
        )
