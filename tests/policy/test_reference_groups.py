"""What an appraisal policy sees of groups and of unverified values, on both engines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from policy.errors import PolicyRejected
from policy.port import PolicyEngine, PolicyKind, PolicySource

HEAD = "package policy\n\nimport rego.v1\n\n"


def appraisal(rules: str) -> PolicySource:
    return PolicySource(PolicyKind.APPRAISAL, f"{HEAD}{rules}\n")


def evaluate(engine: PolicyEngine, rules: str, document: dict[str, Any]) -> Any:
    return engine.compile(appraisal(rules)).evaluate(json.dumps(document).encode())


SHARED = """default executables := 96

executables := 3 if {
	shared := intersection({reference_groups("a", input.snp.a), reference_groups("b", input.snp.b)})
	count(shared) > 0
}

trust_claims := {"executables": executables}"""


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (["r1"], ["r1"], 3),
        (["r1", "r2"], ["r2", "r3"], 3),
        (["r1"], ["r2"], 96),
        ([], [], 96),
        (None, ["r1"], 96),
        ("r1", ["r1"], 96),
    ],
)
def test_values_match_together_or_not_at_all(
    engine: PolicyEngine, first: Any, second: Any, expected: int
) -> None:
    document = {
        "snp": {"a": "x", "b": 3},
        "reference": {
            "a": {"x": {"value": "x", "groups": first}, "other": {"value": "o", "groups": ["r2"]}},
            "b": {"3": {"value": 3, "groups": second}},
        },
    }
    answer = evaluate(engine, SHARED, document)
    assert answer == {"data.policy.trust_claims": {"executables": expected}}


def test_a_value_of_another_type_has_no_groups(engine: PolicyEngine) -> None:
    document = {
        "snp": {"a": "3", "b": 3},
        "reference": {
            "a": {"3": {"value": 3, "groups": ["r"]}},
            "b": {"3": {"value": 3, "groups": ["r"]}},
        },
    }
    assert evaluate(engine, SHARED, document) == {"data.policy.trust_claims": {"executables": 96}}


def test_a_name_without_values_has_no_groups(engine: PolicyEngine) -> None:
    rules = 'trust_claims := {"executables": count(reference_groups("a", input.snp.a))}'
    for document in ({"snp": {"a": "x"}, "reference": {}}, {"snp": {"a": "x"}}):
        assert evaluate(engine, rules, document) == {"data.policy.trust_claims": {"executables": 0}}


def test_a_claim_that_is_absent_makes_the_groups_undefined(engine: PolicyEngine) -> None:
    rules = 'trust_claims := {"executables": count(reference_groups("a", input.snp.a))}'
    assert evaluate(engine, rules, {"snp": {}, "reference": {}}) == {}


def test_names_in_either_shelf_are_found(engine: PolicyEngine) -> None:
    rules = """trust_claims := {"executables": count(reference_groups("one", input.snp.a))} if {
	input.reference.two.x.value == 1
	input.unverified_reference.three.x.value == 1
}"""
    compiled = engine.compile(appraisal(rules))
    assert compiled.reference_names == {"one", "two"}
    assert compiled.unverified_names == {"three"}


def test_a_policy_that_names_no_unverified_value_gets_none(engine: PolicyEngine) -> None:
    compiled = engine.compile(appraisal('trust_claims := {"executables": 3}'))
    assert compiled.unverified_names == frozenset()


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ('trust_claims := {"executables": input.unverified_reference[input.snp.a]}', "reference"),
        ("trust_claims := input.unverified_reference", "reference"),
        ('trust_claims := reference_groups("a")', "reference"),
        ('trust_claims := reference_groups(input.snp.a, "a")', "reference"),
        ('trust_claims := {}\n\nreference_groups(_, _) := {"all"}', "name"),
    ],
)
def test_what_the_profile_refuses(engine: PolicyEngine, rules: str, code: str) -> None:
    with pytest.raises(PolicyRejected) as caught:
        engine.compile(appraisal(rules))
    assert code in {item["code"] for item in caught.value.details["problems"]}


def test_release_policies_have_no_groups(engine: PolicyEngine) -> None:
    rules = 'default allow := false\n\nallow if count(reference_groups("a", 1)) > 0\n'
    source = PolicySource(PolicyKind.RELEASE, HEAD + rules)
    with pytest.raises(PolicyRejected, match="reference_groups belongs to appraisal policies"):
        engine.compile(source)
