"""docs/policies.md: its examples compile and behave as it says, its list of built-ins is the profile's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from policy import cost, lexical, profile, tree
from policy.port import PolicyEngine, PolicyKind, PolicySource
from policy.testing import parse_cases, run

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "policies.md").read_text("utf-8")
EXAMPLES = re.findall(r"```rego\n(.*?)```", TEXT, re.DOTALL)
CASES = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


def kind_of(text: str) -> PolicyKind:
    return PolicyKind.APPRAISAL if "trust_claims" in text else PolicyKind.RELEASE


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_compile_on_both_engines(engine: PolicyEngine, text: str) -> None:
    engine.compile(PolicySource(kind_of(text), text))


def test_the_example_cases_pass_on_the_example_policy(engine: PolicyEngine) -> None:
    compiled = engine.compile(PolicySource(PolicyKind.APPRAISAL, EXAMPLES[0]))
    (cases,) = CASES
    assert [result.failures for result in run(compiled, parse_cases(cases.encode()))] == [(), ()]


def test_the_listed_builtins_are_those_of_the_profile() -> None:
    listed = TEXT.split("* **Built-ins**:", 1)[1].split(". Each other one", 1)[0]
    assert set(re.findall(r"`([a-z_.]+)`", listed)) == profile.BUILTINS
    assert f"Version {profile.VERSION}:" in TEXT


def test_the_stated_limits_are_those_of_the_code() -> None:
    limits = TEXT.split("* **Limits**:", 1)[1]
    assert (
        f"{lexical.MAX_SOURCE_BYTES >> 10} KiB, {lexical.MAX_LINES} lines of {lexical.MAX_LINE_BYTES}"
        in limits
    )
    assert (
        f"{tree.MAX_RULES} rules, {lexical.MAX_NESTING} brackets deep, {lexical.MAX_CHAIN} operators"
        in limits
    )
    assert f"{cost.MEMBERS}\n" in limits
    assert f"such a member {cost.INNER_MEMBERS}, is at most {cost.MAX_STEPS // 10**6} million" in limits
