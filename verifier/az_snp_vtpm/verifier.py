"""The verifier of Azure VMs on SEV-SNP.

Order: HCL report; its kind; the hash of the runtime claims in the SNP report; the SNP report, whole, as
``verifier.snp`` does it (chain, signature, dates, revocation, TCB, chip); runtime claims; quote,
registers, logs; user data; init-data by register 8. Each of these raises. Then the SNP settings: failures
are recorded and set engine floors, among them that of a guest that can be debugged.

The paravisor runs at VMPL 0 and asks for the report; the guest runs at VMPL 2. A report of VMPL 2 would be
one that the guest's own kernel asked for, with runtime claims of its choice: the settings accept VMPL 0
alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common.checks import Checks
from common.encoding import b64url_encode
from common.errors import Malformed
from verifier.az_snp_vtpm.claims import hardware_claims
from verifier.az_snp_vtpm.evidence import AzSnpVtpmEvidence
from verifier.azure.hcl import ReportType
from verifier.azure.verdict import Hardware, expectation_of, verdict
from verifier.azure.vtpm import (
    CheckedVtpm,
    VtpmExpectation,
    check_vtpm,
    require_kind,
    require_runtime_claims,
)
from verifier.snp.claims import common_claims
from verifier.snp.report import parse_report
from wire.evidence import SnpEvidence

if TYPE_CHECKING:
    from datetime import datetime

    from verifier.model import Expectation, InitDataClaim, VerifiedEvidence
    from verifier.snp.verifier import CheckedReport, SnpVerifier
    from verifier.tpm.settings import TpmSettings
    from wire.evidence import Evidence

TEE_NAME: Final = "az-snp-vtpm"


class AzSnpVtpmVerifier:
    """Verifies evidence of Azure VMs on SEV-SNP (``verifier.model.TeeVerifier``).

    Args:
        snp: verifies the hardware report.
        vtpm: settings of the quote's checks.
    """

    def __init__(self, snp: SnpVerifier, vtpm: TpmSettings) -> None:
        """Keep the parts."""
        self._snp = snp
        self._vtpm = vtpm

    @property
    def tee(self) -> str:
        """``az-snp-vtpm``."""
        return TEE_NAME

    def verify(
        self, evidence: Evidence, expected: Expectation, init_data: InitDataClaim | None, now: datetime
    ) -> VerifiedEvidence:
        """Verify evidence at ``now``.

        Raises:
            InputError: something cannot be parsed.
            EvidenceError: not authentic, or not bound as expected.
            EndorsementError: certificates, their dates or revocation data do not hold.
            UnavailableError: collateral had to be fetched, and its source does not answer.
        """
        if not isinstance(evidence, AzSnpVtpmEvidence):
            raise Malformed("this verifier takes evidence of Azure VMs on SEV-SNP")
        wanted = expectation_of(expected, init_data, self._vtpm.pcr_selection)
        return self.verify_against(evidence, wanted, expected, init_data, now)

    def verify_against(
        self,
        evidence: AzSnpVtpmEvidence,
        expectation: VtpmExpectation,
        expected: Expectation,
        init_data: InitDataClaim | None,
        now: datetime,
    ) -> VerifiedEvidence:
        """Verify, where what the quote must hold is known already; errors as ``verify``."""
        checks = Checks()
        checked, vtpm = self._check(evidence, expectation, now, checks)
        hardware = Hardware(
            claims=hardware_claims(checked),
            common=common_claims(checked.report, checked.product),
            signed=checked.report.signed,
            floors=self._snp.assess(checked, checks),
            endorsements=checked.endorsements,
            not_after=checked.not_after,
            identity=checked.identity,
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
        evidence: AzSnpVtpmEvidence,
        expectation: VtpmExpectation,
        now: datetime,
        checks: Checks,
    ) -> tuple[CheckedReport, CheckedVtpm]:
        hcl = evidence.hcl()
        require_kind(hcl, ReportType.SNP, checks)
        require_runtime_claims(hcl, parse_report(hcl.hardware_report).report_data, checks)
        report = SnpEvidence(b64url_encode(hcl.hardware_report), evidence.certificates)
        checked = self._snp.check_report(report, hcl.expected_report_data(), now, checks)
        return checked, check_vtpm(hcl, evidence, expectation, self._vtpm, checks)
