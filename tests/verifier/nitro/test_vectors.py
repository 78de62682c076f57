"""Third-party documents of real enclaves, and their mutations."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from service.conformance import nitro
from service.conformance.outcome import Outcome
from service.conformance.runner import cases_of
from verifier import vendor_roots
from verifier.nitro.chain import ROOT_FILE


def outcomes(manifest: Path) -> list[Outcome]:
    cases = cases_of(manifest)
    return [nitro.run_case(case, manifest.parent) for case in cases if case.get("tee") in nitro.KINDS]


def test_every_case_agrees_in_result_error_and_claims(vectors: Path) -> None:
    found = outcomes(vectors / "evidence" / "manifest.json")
    assert [outcome for outcome in found if not outcome.agree] == []
    assert {outcome.got for outcome in found} == {"pass", "fail"}


def test_every_mutation_is_refused_for_its_reason(vectors: Path) -> None:
    found = outcomes(vectors / "evidence" / "mutations.json")
    assert found
    assert [outcome for outcome in found if not outcome.agree or outcome.got != "fail"] == []


def test_the_pinned_root_is_the_vectors_and_valid_for_decades(vectors: Path) -> None:
    root = vendor_roots.load(ROOT_FILE)
    pem = (vectors / "evidence" / "nitro" / "dstack-nsm" / "aws-root.pem").read_bytes()
    assert vendor_roots.check(pem, next(e for e in vendor_roots.sources() if e.file == ROOT_FILE)) == root
    assert root.not_valid_after_utc > datetime(2049, 1, 1, tzinfo=UTC)
