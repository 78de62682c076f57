"""Runs ``az-tdx-vtpm`` cases, and mutations of them, on the verifier of Azure VMs on TDX.

The vTPM's part is as in ``service.conformance.azure``; the TD quote is held against the default settings,
with the case's collateral at the case's time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from service.conformance.azure import SELECTION, VTPM, document_of, nonce_of, run, time_of
from service.conformance.intel_claims import differing_claims
from verifier import errors
from verifier.az_tdx_vtpm.coco import AzTdxVtpmCocoForm
from verifier.az_tdx_vtpm.verifier import AzTdxVtpmVerifier
from verifier.azure.vtpm import VtpmExpectation
from verifier.intel.endorsements import FixedEndorsements
from verifier.model import ReportDataBinding
from verifier.tdx.settings import TdxSettings
from verifier.tdx.verifier import TdxVerifier

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from service.conformance.case_files import CaseFiles
    from service.conformance.outcome import Outcome
    from verifier.model import VerifiedEvidence

KINDS: Final = ("az-tdx-vtpm",)
_MORE_CLASSES: Final[Mapping[str, frozenset[str]]] = {
    errors.CollateralExpired.code: frozenset({"collateral_expired"}),
}


def run_case(case: Mapping[str, Any], folder: Path) -> Outcome:
    """Run one case (or mutation) of the evidence manifest."""
    return run(case, folder, verified_of, _MORE_CLASSES)


def verified_of(files: CaseFiles) -> tuple[VerifiedEvidence, list[str]]:
    """A case's evidence, verified; raises what is refused, failed settings are recorded."""
    case = files.case
    evidence = AzTdxVtpmCocoForm().evidence_of(document_of(files))
    collateral = FixedEndorsements.from_json(files.read("collateral"))
    verifier = AzTdxVtpmVerifier(TdxVerifier(TdxSettings(), collateral), VTPM)
    nonce = nonce_of(case)
    verified = verifier.verify_against(
        evidence, VtpmExpectation((nonce,), SELECTION), ReportDataBinding(nonce), None, time_of(case)
    )
    expect = {"claims": case["expect"]["claims"]["tdx"]}
    return verified, differing_claims(expect, verified.claims[verified.tee])
