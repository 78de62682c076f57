"""The third-party vector: a report of real hardware, whose HSK and CEK no public source has."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from service.conformance.csv import KINDS, run_case
from service.conformance.runner import cases_of
from testkit.csv_platform import CsvPlatform, ReportFields
from tests.verifier.csv.conftest import NOW
from verifier import vendor_roots
from verifier.csv.chain import HRK_FILE, Anchors
from verifier.csv.coco import CsvCocoForm
from verifier.csv.endorsements import FixedEndorsements
from verifier.csv.settings import CsvSettings
from verifier.csv.verifier import CsvVerifier
from verifier.errors import (
    CertificateInvalid,
    EndorsementMissing,
    RootUntrusted,
    SignatureInvalid,
    UnsupportedEvidence,
)
from verifier.model import Unbound


def _cases(vectors: Path, name: str) -> list[dict[str, Any]]:
    return [case for case in cases_of(vectors / "evidence" / name) if case.get("tee") in KINDS]


@pytest.fixture
def document(vectors: Path) -> dict[str, Any]:
    path = vectors / "evidence" / "csv" / "trustee-evidence-v1" / "evidence.json"
    loaded: dict[str, Any] = json.loads(path.read_bytes())
    return loaded


@pytest.mark.parametrize("name", ["manifest.json", "mutations.json"])
def test_every_case_agrees_in_result_error_and_claims(vectors: Path, name: str) -> None:
    outcomes = [run_case(case, vectors / "evidence") for case in _cases(vectors, name)]
    assert [outcome for outcome in outcomes if not outcome.agree] == []
    assert outcomes or name == "mutations.json"  # the manifest has no mutations of CSV so far


def test_a_claim_that_is_not_so_is_noticed(vectors: Path) -> None:
    case = _cases(vectors, "manifest.json")[0]
    for name, value in (("measure", "00"), ("sig_usage", 0x1002), ("sn", ""), ("unknown", 1)):
        changed = copy.deepcopy(case)
        changed["expect"]["claims"][name] = value
        outcome = run_case(changed, vectors / "evidence")
        assert not outcome.agree
        assert name in outcome.detail


@pytest.mark.parametrize(
    ("path", "byte", "errors"),
    [
        (["attestation_report", "data"], 0x90, (SignatureInvalid,)),  # measurement
        (["attestation_report", "data"], 0xC5, (SignatureInvalid,)),  # signature
        (
            ["attestation_report", "data"],
            0xBC,
            (UnsupportedEvidence,),
        ),  # mask: usage and algorithm come out wrong
        (["cert_chain", "pek", "body", "data", "sid"], 0, (CertificateInvalid,)),  # not the report's PEK
        (["serial_number"], 3, (CertificateInvalid,)),
    ],
)
def test_real_evidence_that_was_changed_is_refused_for_that(
    document: dict[str, Any], path: list[str], byte: int, errors: tuple[type[Exception], ...]
) -> None:
    field: Any = document
    for step in path:
        field = field[step]
    field[byte] ^= 1
    verifier = CsvVerifier(CsvSettings(), FixedEndorsements())
    with pytest.raises(errors) as caught:
        verifier.verify(CsvCocoForm().evidence_of(document), Unbound(), None, NOW)
    assert not isinstance(caught.value, EndorsementMissing)


def test_real_evidence_under_another_chip_or_root_is_refused(
    document: dict[str, Any], platform: CsvPlatform
) -> None:
    evidence = CsvCocoForm().evidence_of(document)
    stored = FixedEndorsements({"KPA64911240507": (platform.hsk, platform.cek)})
    with pytest.raises(RootUntrusted):
        CsvVerifier(CsvSettings(), stored).verify(evidence, Unbound(), None, NOW)
    with pytest.raises(CertificateInvalid) as caught:
        CsvVerifier(CsvSettings(), stored, extra_anchors=[platform.hrk]).verify(
            evidence, Unbound(), None, NOW
        )
    assert caught.value.checks[-1].name == "csv.pek.signature"


def test_the_pinned_hrk_is_that_of_public_verifiers_and_signed_itself(vectors: Path) -> None:
    published = (vectors / "vendor-roots" / "hygon-hrk.cert").read_bytes()
    assert vendor_roots.load_raw(HRK_FILE) == published
    Anchors()


def test_only_hygons_root_is_trusted_by_the_runner(vectors: Path, platform: CsvPlatform) -> None:
    """Evidence of a platform of our own is well-formed, and refused for its root."""
    with pytest.raises(RootUntrusted):
        CsvVerifier(CsvSettings(), FixedEndorsements()).verify(
            platform.evidence(1, ReportFields()), Unbound(), None, NOW
        )
