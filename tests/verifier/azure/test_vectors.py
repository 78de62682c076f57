"""Real evidence of Azure confidential VMs, and mutations of it, through the conformance runner."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.conformance.azure import KINDS, run_case
from service.conformance.runner import cases_of


@pytest.mark.parametrize(("manifest", "least"), [("manifest.json", 2), ("mutations.json", 12)])
def test_every_case_agrees_with_the_manifest(vectors: Path, manifest: str, least: int) -> None:
    folder = vectors / "evidence"
    outcomes = [run_case(case, folder) for case in cases_of(folder / manifest) if case["tee"] in KINDS]
    assert len(outcomes) >= least
    assert [outcome for outcome in outcomes if not outcome.agree] == []
    assert all(outcome.got != "unsupported" for outcome in outcomes)
