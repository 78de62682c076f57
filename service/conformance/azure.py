"""Runs ``az-snp-vtpm`` and ``az-tdx-vtpm`` cases, and mutations of them, on the Azure verifiers.

Evidence is what Confidential Containers' attestation agent sends. The cases' nonces have any length: what
the quote must hold is the case's ``report_data`` as it is, over all 24 registers of the SHA-256 bank. The
hardware's settings are those of the runners of ``snp`` and ``tdx`` cases.

Runtime claims that the hardware report does not cover are a broken binding in the manifest's words.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from common import strict_json
from common.encoding import b64url_decode, hex_decode
from service.conformance.case_files import CaseFiles
from service.conformance.evidence import judged, raise_failed
from service.conformance.snp import settings_of
from service.conformance.snp_claims import differing_claims
from verifier import errors
from verifier.az_snp_vtpm.coco import AzSnpVtpmCocoForm
from verifier.az_snp_vtpm.verifier import AzSnpVtpmVerifier
from verifier.azure.vtpm import VtpmExpectation
from verifier.model import ReportDataBinding
from verifier.snp import SnpVerifier
from verifier.snp.collateral import FixedCollateral
from verifier.snp.products import Product
from verifier.tpm.settings import TpmSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from service.conformance.outcome import Outcome
    from verifier.model import VerifiedEvidence

KINDS: Final = ("az-snp-vtpm",)
SNP: Final = "az-snp-vtpm"
_SELECTION: Final = {"sha256": tuple(range(24))}
_VTPM: Final = TpmSettings(pcr_selection=_SELECTION)
_MORE_CLASSES: Final[Mapping[str, frozenset[str]]] = {
    errors.AttestationKeyUntrusted.code: frozenset({"binding_mismatch"}),
}


def run_case(case: Mapping[str, Any], folder: Path) -> Outcome:
    """Run one case (or mutation) of the evidence manifest."""

    def body(differing: list[str]) -> str:
        files = CaseFiles(case, folder)
        verified, hardware = _snp(files)
        differing += hardware + _differing_vtpm(files.case["expect"]["claims"], verified)
        raise_failed(verified)
        return ""

    return judged(case, body, _MORE_CLASSES)


def _snp(files: CaseFiles) -> tuple[VerifiedEvidence, list[str]]:
    case = files.case
    product = Product(str(case["generation"]).title())
    evidence = AzSnpVtpmCocoForm().evidence_of(_document(files))
    verifier = AzSnpVtpmVerifier(SnpVerifier(settings_of(product), FixedCollateral()), _VTPM)
    nonce = _nonce(case)
    verified = verifier.verify_against(
        evidence, VtpmExpectation((nonce,), _SELECTION), ReportDataBinding(nonce), None, _time(case)
    )
    claims = verified.claims[SNP]
    read = {
        "snp": claims["snp"],
        "report_data": evidence.hcl().expected_report_data().hex(),
        "leaf": b64url_decode(evidence.certificates[0].data),
        "product": product,
    }
    return verified, differing_claims(case["expect"]["claims"]["snp"], read)


def _differing_vtpm(stated: Mapping[str, Any], verified: VerifiedEvidence) -> list[str]:
    """Names of the claims of quote and runtime claims that are not as the manifest states them."""
    claims = verified.claims[verified.tee]
    read = {
        "report_data": verified.claims["report_data"],
        "pcrs": claims["tpm"]["pcrs"]["sha256"],
        "vm_configuration": claims["vm_configuration"],
        "user_data": claims["user_data"],
    }
    hardware = {"snp", "tdx"}
    return sorted(
        name for name, value in stated.items() if name not in hardware and read.get(name) != value
    )


def _document(files: CaseFiles) -> Any:
    return strict_json.loads(files.read("evidence"), what="evidence")


def _nonce(case: Mapping[str, Any]) -> bytes:
    return hex_decode(str(case["report_data"]), what="report_data")


def _time(case: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(str(case["verification_time"]))
