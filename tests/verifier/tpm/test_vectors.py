"""Real quotes and event logs of other projects, and mutations of them, through the conformance runner."""

from __future__ import annotations

import pytest

from service.conformance.runner import cases_of
from service.conformance.tpm import run_case

KINDS = ("tpm", "eventlog-tcg")


@pytest.mark.parametrize("manifest", ["manifest.json", "mutations.json"])
def test_every_case_agrees_with_the_manifest(vectors, manifest):
    folder = vectors / "evidence"
    outcomes = [run_case(case, folder) for case in cases_of(folder / manifest) if case["tee"] in KINDS]
    assert len(outcomes) > 10
    assert [outcome for outcome in outcomes if not outcome.agree] == []
    assert all(outcome.got != "unsupported" for outcome in outcomes)
