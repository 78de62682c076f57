"""In-toto layout cases of the third-party vectors, on the real pipeline and in the real sandbox."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service import layout_sandbox
from service.conformance import provenance
from service.conformance.outcome import UNSUPPORTED
from tests.components import require

NOW = datetime(2026, 12, 1, tzinfo=UTC)
# What the oracle said, by the start of its reason, to the code that says the same here.
CODES = {
    "LinkNotFoundError": "statement.layout_link_missing",
    "ThresholdVerificationError": "statement.layout_threshold",
    "RuleVerificationError": "statement.layout_rule",
    "BadReturnValueError": "statement.layout_inspection_failed",
    "LayoutExpiredError": "statement.layout_expired",
    "": None,
}


@pytest.fixture(scope="module")
def cases(vectors: Path) -> list[dict[str, Any]]:
    manifest = json.loads((vectors / "provenance" / "manifest.json").read_text())
    return [case for case in manifest if case["type"] == "in-toto-layout"]


def test_every_case_agrees_with_its_oracle_and_for_its_reason(
    cases: list[dict[str, Any]], vectors: Path
) -> None:
    require(layout_sandbox.is_available(), "no unprivileged namespaces, or no util-linux")
    outcomes = {case["id"]: provenance.run_case(case, vectors / "provenance", NOW) for case in cases}
    assert len(outcomes) > 20
    assert [item for item in outcomes.values() if item.agree is not True] == []
    for case in cases:
        assert outcomes[case["id"]].code == CODES[case["reason"].partition(":")[0]], case["id"]


def test_without_a_sandbox_a_case_that_needs_one_is_unsupported(
    cases: list[dict[str, Any]], vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout_sandbox, "_PATH", "/nonexistent")
    results = {case["id"]: provenance.run_case(case, vectors / "provenance", NOW).got for case in cases}
    assert {name for name, got in results.items() if got == UNSUPPORTED} == {
        name for name in results if "inspection" in name
    }
