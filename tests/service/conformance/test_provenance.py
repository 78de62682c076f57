"""The provenance manifest of the third-party vectors, every supported case."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.conformance import provenance
from service.conformance.outcome import UNSUPPORTED

BUNDLE, SLSA = "sigstore-bundle", "sigstore-bundle+slsa-provenance"
PRIVATE, EMBEDDED = "sigstore-bundle+slsa (private PKI)", "dsse+embedded-cert (no tlog)"
SUPPORTED = (BUNDLE, SLSA, PRIVATE, EMBEDDED)
# Later than every signature in the corpus.
NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(vectors: Path) -> Path:
    return vectors / "provenance"


@pytest.fixture(scope="module")
def cases(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "manifest.json").read_text())


@pytest.mark.parametrize("kind", SUPPORTED)
def test_every_supported_case_agrees_with_its_oracle(
    kind: str, cases: list[dict[str, Any]], folder: Path
) -> None:
    outcomes = [provenance.run_case(case, folder, NOW) for case in cases if case["type"] == kind]
    assert [outcome for outcome in outcomes if outcome.agree is not True] == []
    assert len(outcomes) > 20


def test_refusals_have_the_code_of_what_is_wrong(cases: list[dict[str, Any]], folder: Path) -> None:
    codes = {
        case["id"]: provenance.run_case(case, folder, NOW).code for case in cases if "mini/" in case["id"]
    }
    assert codes["mini/dev/ok"] is None
    assert codes["mini/dev/builder-id-not-signer"] == "statement.untrusted_builder"
    assert codes["mini/dev/externalparams-repo-mismatch"] == "statement.untrusted_source"
    assert codes["mini/dev/json-duplicate-keys"] == "statement.malformed"
    assert codes["mini/dev/subject-empty"] == "statement.malformed"
    assert codes["mini/dev/subject-mismatch"] == "statement.subject_mismatch"
    assert codes["mini/dev/unknown-external-parameter"] == "statement.predicate"
    assert codes["mini/dev/wrong-payload-type"] == "statement.payload_type"
    assert codes["mini/dev/other-repo"] == "statement.untrusted_signer"
    assert codes["mini/dev/late-signing"] == "statement.certificate"
    assert codes["mini/dev/payload-tampered"] == "statement.signature"
    assert codes["mini/dev/untrusted-log"] == "statement.log"


def test_embedded_certificates_are_incomplete_not_tampered(
    cases: list[dict[str, Any]], folder: Path
) -> None:
    codes = Counter(
        provenance.run_case(case, folder, NOW).code for case in cases if case["type"] == EMBEDDED
    )
    assert set(codes) == {"statement.incomplete"}


def test_other_types_are_unsupported_and_never_agree(cases: list[dict[str, Any]], folder: Path) -> None:
    others = [provenance.run_case(case | {"type": "another"}, folder, NOW) for case in cases[:20]]
    assert {(outcome.got, outcome.agree) for outcome in others} == {(UNSUPPORTED, None)}


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"type": BUNDLE},
        {"type": SLSA, "id": "x", "params": {}},
        {"type": BUNDLE, "id": "x", "params": {"identity": 1, "issuer": 2}, "trusted_root": "x"},
        {"type": PRIVATE, "id": "x", "params": {"source_uri": "x"}, "trusted_root": 7},
    ],
    ids=str,
)
def test_broken_case_is_an_outcome_not_a_crash(case: dict[str, Any], tmp_path: Path) -> None:
    outcome = provenance.run_case(case, tmp_path, NOW)
    assert (outcome.got, outcome.agree) == (UNSUPPORTED, None)
