"""Third-party CCA tokens (of the specification's models: none of silicon is public) and their mutations."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.errors import Malformed
from service.conformance import cca
from service.conformance.outcome import Outcome
from service.conformance.runner import cases_of
from service.inspection import recognise, verify
from verifier.errors import EndorsementMissing
from verifier.tee import Inspection

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def outcomes(manifest: Path) -> list[Outcome]:
    return [
        cca.run_case(case, manifest.parent) for case in cases_of(manifest) if case.get("tee") in cca.KINDS
    ]


def test_every_case_agrees_in_result_error_and_claims(vectors: Path) -> None:
    found = outcomes(vectors / "evidence" / "manifest.json")
    assert [outcome for outcome in found if not outcome.agree] == []
    assert {outcome.got for outcome in found} == {"pass", "fail"}


def test_every_mutation_is_refused_for_its_reason(vectors: Path) -> None:
    found = outcomes(vectors / "evidence" / "mutations.json")
    assert found
    assert [outcome for outcome in found if not outcome.agree or outcome.got != "fail"] == []


def inspect(folder: Path, key: str | None) -> list[str]:
    evidence = recognise((folder / "token.cbor").read_bytes())
    files = {} if key is None else {"attestation-key": (folder / key).read_bytes()}
    verified = verify(evidence, Inspection(now=NOW, files=files))
    return [check.name for check in verified.checks if check.verdict == "fail"]


def test_the_stores_that_come_with_them(vectors: Path) -> None:
    folder = vectors / "evidence" / "cca"
    assert inspect(folder / "legacy-trustee", "tastore.json") == []
    assert inspect(folder / "legacy-trustee", "iak-pub.json") == []
    wrong_key = folder / "legacy-02-wrongkey-ccatoken"
    assert inspect(wrong_key, "ta-02-ok.json") == []
    with pytest.raises(Malformed, match="point"):
        inspect(wrong_key, "ta-02-bad.json")
    with pytest.raises(EndorsementMissing):
        inspect(wrong_key, None)
