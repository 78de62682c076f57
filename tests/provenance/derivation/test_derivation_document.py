"""docs/derivation.md says of every rule what it derives and what that was held against."""

from __future__ import annotations

from pathlib import Path

from provenance.derivation import rules

DOCUMENT = (Path(__file__).parents[3] / "docs" / "derivation.md").read_text(encoding="utf-8")


def test_every_rule_has_a_row() -> None:
    for rule in rules():
        rows = [line for line in DOCUMENT.splitlines() if line.startswith(f"| `{rule.name}` |")]
        assert [row.count(" | ") for row in rows] == [3]
