"""CoRIM and RIM cases of the evidence manifest and their mutations, and cases that must not agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.conformance.manifests import run_case
from service.conformance.runner import cases_of

KINDS = ("corim", "nvidia-rim")


def _cases(manifest: Path) -> list[dict[str, Any]]:
    return [case for case in cases_of(manifest) if case.get("tee") in KINDS]


def test_every_case_and_mutation_agrees(vectors: Path) -> None:
    for name, judged in (("manifest.json", 7), ("mutations.json", 12)):
        manifest = vectors / "evidence" / name
        outcomes = [run_case(case, manifest.parent) for case in _cases(manifest)]
        assert [item for item in outcomes if item.agree is False] == []
        assert [item.agree for item in outcomes].count(True) == judged
        assert [item.agree for item in outcomes].count(None) == 0


def test_a_case_that_expects_the_opposite_disagrees(vectors: Path) -> None:
    manifest = vectors / "evidence" / "manifest.json"
    for case in _cases(manifest):
        good = case["expect"]["result"] == "pass"
        turned = {"result": "fail" if good else "pass", "error": "signature_invalid", "error_any": []}
        assert run_case(case | {"expect": turned}, manifest.parent).agree is not True


def test_a_refusal_for_another_reason_disagrees(vectors: Path) -> None:
    manifest = vectors / "evidence" / "manifest.json"
    (case,) = [case for case in _cases(manifest) if case["id"].endswith("badsig")]
    assert run_case(case, manifest.parent).agree is True
    wrong = case["expect"] | {"error": "cert_expired", "error_any": []}
    assert run_case(case | {"expect": wrong}, manifest.parent).agree is False
