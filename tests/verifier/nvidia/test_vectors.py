"""Third-party vectors: real devices of three architectures, a real manifest, and their mutations."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from service.conformance.nvidia import KINDS, run_case
from service.conformance.outcome import Outcome
from service.conformance.runner import cases_of


def _outcomes(manifest: Path) -> list[Outcome]:
    return [run_case(case, manifest.parent) for case in cases_of(manifest) if _is_ours(case)]


def _is_ours(case: dict[str, Any]) -> bool:
    return case["tee"] in KINDS or (case["tee"] == "nvidia-rim" and "certs" in case["files"])


def test_every_case_agrees_in_result_error_and_claims(vectors: Path) -> None:
    outcomes = _outcomes(vectors / "evidence" / "manifest.json")
    assert [outcome for outcome in outcomes if not outcome.agree] == []
    assert Counter(outcome.got for outcome in outcomes).keys() == {"pass", "fail"}


def test_every_mutation_is_refused_for_its_reason(vectors: Path) -> None:
    outcomes = _outcomes(vectors / "evidence" / "mutations.json")
    assert outcomes
    assert [outcome for outcome in outcomes if not outcome.agree or outcome.got != "fail"] == []


@pytest.mark.parametrize("claim", ["driver_version", "fwid", "measurements", "opaque", "leaf", "nonce"])
def test_a_case_that_states_another_claim_disagrees(vectors: Path, claim: str) -> None:
    manifest = vectors / "evidence" / "manifest.json"
    (case,) = [case for case in cases_of(manifest) if case["id"] == "nvidia/hopper-580-coco-trustee"]
    claims = case["expect"]["claims"] | {claim: "other"}
    outcome = run_case(case | {"expect": case["expect"] | {"claims": claims}}, manifest.parent)
    assert outcome.agree is False
    assert claim in outcome.detail


def test_a_case_that_cannot_be_read_disagrees(vectors: Path) -> None:
    manifest = vectors / "evidence" / "manifest.json"
    (case,) = [case for case in cases_of(manifest) if case["id"] == "nvidia/hopper-580-coco-trustee"]
    for broken in ({"verification_time": "noon"}, {"nonce": "xyz"}, {"files": {}}):
        assert run_case(case | broken, manifest.parent).agree is False
