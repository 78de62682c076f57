"""Declared values in a policy's input: merged with verified ones, and answered by query_reference_value."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from policy.opa_engine import OpaEngine
from policy.port import PolicyEngine, PolicyKind, PolicySource
from policy.regorus_engine import RegorusEngine
from rvps.model import DeclaredReference, Lineage, ReferenceValue
from verifier.reference_input import entries

NOW = datetime(2026, 5, 1, tzinfo=UTC)
LINEAGE = Lineage("a" * 64, "t", "s", "p", "r/1", "ci")
POLICY = """package policy

trust_claims := {"hardware": 2} if {
	asked == input.snp.expected
}

asked := query_reference_value("n")

extensions := [group | some group in reference_groups("n", input.snp.observed)]
"""


@pytest.fixture(params=["regorus", "opa"])
def engine(request: pytest.FixtureRequest) -> PolicyEngine:
    if request.param == "regorus":
        return RegorusEngine()
    return OpaEngine(request.getfixturevalue("opa_server").url)


def verified(value: object, group: str = "release", *, scalar: bool = False) -> ReferenceValue:
    return ReferenceValue("rv-1", "n", value, "snp", group, NOW, LINEAGE, scalar=scalar)


def declared(value: object) -> DeclaredReference:
    is_list = isinstance(value, list)
    members = tuple(value) if isinstance(value, list) else (value,)
    return DeclaredReference("dv-1", "n", members, not is_list, NOW)


def asked(
    engine: PolicyEngine, values: list[ReferenceValue], words: list[DeclaredReference], expected: object
) -> bool:
    known = entries(values, words)
    document = {"snp": {"expected": expected}, "reference": known}
    compiled = engine.compile(PolicySource(PolicyKind.APPRAISAL, POLICY))
    return "data.policy.trust_claims" in compiled.evaluate(msgspec.json.encode(document))


@pytest.mark.parametrize(
    ("values", "words", "expected"),
    [
        ([], [["a", "b"]], ["a", "b"]),
        ([], ["a"], "a"),
        ([], [True], True),
        ([], [{"a": [1]}], {"a": [1]}),
        ([], [None], None),
        ([], [[{"a": 1}, ["b"], 3, "3"]], ["3", ["b"], 3, {"a": 1}]),
        ([verified("a")], [["b"]], ["a", "b"]),
        ([verified("a")], [["a"]], ["a"]),
        ([verified("3")], [[3]], ["3", 3]),
        ([verified(4, scalar=True)], [4], 4),
        ([verified("a")], ["b"], ["a"]),
        ([verified(4, scalar=True)], [[5]], [5]),
    ],
)
def test_a_name_answers_with_all_that_counts(
    engine: PolicyEngine, values: list[ReferenceValue], words: list[Any], expected: object
) -> None:
    found = [declared(word) for word in words]
    shown = sorted(expected, key=str) if isinstance(expected, list) else expected
    if isinstance(expected, list):
        # The order of a list is that of the entries' keys: each member is asked for by itself.
        text = POLICY.replace(
            "asked == input.snp.expected",
            "count(asked) == count(input.snp.expected)\n"
            "\tmet := [each | each := input.snp.expected[_]; each in asked]\n"
            "\tcount(met) == count(asked)",
        )
        compiled = engine.compile(PolicySource(PolicyKind.APPRAISAL, text))
        document = {"snp": {"expected": shown}, "reference": entries(values, found)}
        assert "data.policy.trust_claims" in compiled.evaluate(msgspec.json.encode(document))
        return
    assert asked(engine, values, found, shown)


def test_single_values_that_contradict_each_other_are_undefined(engine: PolicyEngine) -> None:
    for expected in (4, 5, [4, 5], None):
        assert not asked(engine, [verified(4, scalar=True)], [declared(5)], expected)


def test_what_nobody_declares_is_undefined(engine: PolicyEngine) -> None:
    for expected in (None, [], ""):
        assert not asked(engine, [], [], expected)
        assert not asked(engine, [], [declared([])], expected)


def test_a_declared_value_goes_with_every_release_and_with_what_is_declared(engine: PolicyEngine) -> None:
    compiled = engine.compile(PolicySource(PolicyKind.APPRAISAL, POLICY))

    def groups(observed: str, *values: ReferenceValue) -> object:
        known = entries(values, [declared(["word"])])
        document = {"snp": {"observed": observed}, "reference": known}
        return compiled.evaluate(msgspec.json.encode(document))["data.policy.extensions"]

    assert groups("word") == ["declared"]
    assert groups("word", verified("a", "one"), verified("b", "two")) == ["declared", "one", "two"]
    assert groups("a", verified("a", "one"), verified("b", "two")) == ["one"]
    assert groups("word", verified("word", "one")) == ["declared", "one"]
    assert groups("c", verified("a", "one")) == []
