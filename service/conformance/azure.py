"""Runs ``az-snp-vtpm`` cases, and mutations of them; what is the same for ``az-tdx-vtpm``.

Evidence is what Confidential Containers' attestation agent sends. The cases' nonces have any length: what
the quote must hold is the case's ``report_data`` as it is, over all 24 registers of the SHA-256 bank. The
hardware's settings are those of the runner of ``snp`` cases.

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
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from service.conformance.outcome import Outcome
    from verifier.model import VerifiedEvidence

KINDS: Final = ("az-snp-vtpm",)
SNP: Final = "az-snp-vtpm"
SELECTION: Final = {"sha256": tuple(range(24))}
VTPM: Final = TpmSettings(pcr_selection=SELECTION)
_MORE_CLASSES: Final[Mapping[str, frozenset[str]]] = {
    errors.AttestationKeyUntrusted.code: frozenset({"binding_mismatch"}),
}


def run_case(case: Mapping[str, Any], folder: Path) -> Outcome:
    """Run one case (or mutation) of the evidence manifest."""
    return run(case, folder, verified_of)


def run(
    case: Mapping[str, Any],
    folder: Path,
    verify: Callable[[CaseFiles], tuple[VerifiedEvidence, list[str]]],
    more_classes: Mapping[str, frozenset[str]] | None = None,
) -> Outcome:
    """Judge a case by what ``verify`` gives: verified evidence, and claims of the hardware that differ."""

    def body(differing: list[str]) -> str:
        files = CaseFiles(case, folder)
        verified, hardware = verify(files)
        differing += hardware + _differing_vtpm(files.case["expect"]["claims"], verified)
        raise_failed(verified)
        return ""

    return judged(case, body, {**_MORE_CLASSES, **(more_classes or {})})


def verified_of(files: CaseFiles) -> tuple[VerifiedEvidence, list[str]]:
    """A case's evidence, verified; raises what is refused, failed settings are recorded."""
    case = files.case
    product = Product(str(case["generation"]).title())
    evidence = AzSnpVtpmCocoForm().evidence_of(document_of(files))
    verifier = AzSnpVtpmVerifier(SnpVerifier(settings_of(product), FixedCollateral()), VTPM)
    nonce = nonce_of(case)
    verified = verifier.verify_against(
        evidence, VtpmExpectation((nonce,), SELECTION), ReportDataBinding(nonce), None, time_of(case)
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


def document_of(files: CaseFiles) -> Any:
    """The evidence JSON."""
    return strict_json.loads(files.read("evidence"), what="evidence")


def nonce_of(case: Mapping[str, Any]) -> bytes:
    """What the quote must hold."""
    return hex_decode(str(case["report_data"]), what="report_data")


def time_of(case: Mapping[str, Any]) -> datetime:
    """Verification time."""
    return datetime.fromisoformat(str(case["verification_time"]))
