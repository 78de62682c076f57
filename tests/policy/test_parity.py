"""Feature by feature and built-in by built-in: both engines answer equally, odd operands included."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from policy import profile
from policy.errors import PolicyEvaluationFailed
from policy.port import PolicyEngine, PolicyKind, PolicySource

Both = tuple[PolicyEngine, PolicyEngine]
BOUNDED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# Expressions over input.v.a, input.v.b and input.v.c for each built-in of the profile.
CALLS = {
    "abs": "abs(a)",
    "array.concat": "array.concat(a, b)",
    "array.reverse": "array.reverse(a)",
    "concat": 'concat("-", a)',
    "contains": "contains(a, b)",
    "count": "count(a)",  # of text beyond the BMP the engines differ, see docs/policies.md
    "endswith": "endswith(a, b)",
    "intersection": "intersection({sa, sb})",
    "is_array": "is_array(a)",
    "is_boolean": "is_boolean(a)",
    "is_null": "is_null(a)",
    "is_number": "is_number(a)",
    "is_object": "is_object(a)",
    "is_set": "is_set(a)",
    "is_string": "is_string(a)",
    "max": "max(a)",
    "min": "min(sa)",
    "object.filter": "object.filter(a, b)",
    "object.get": "object.get(a, b, c)",
    "object.keys": "object.keys(a)",
    "object.remove": "object.remove(a, b)",
    "object.union": "object.union(a, b)",
    "object.union_n": "object.union_n(a)",
    "regex.match": 'regex.match("^a?[b-z, ]*(.|b{1,2})$", a)',
    "set": "set()",
    "sort": "sort(a)",
    "split": "split(a, b)",
    "sprintf": 'sprintf("%v and %v", [type_name(a), count(b)])',
    "startswith": "startswith(a, b)",
    "strings.any_prefix_match": "strings.any_prefix_match(a, b)",
    "strings.any_suffix_match": "strings.any_suffix_match(a, b)",
    "trim": "trim(a, b)",
    "trim_left": "trim_left(a, b)",
    "trim_prefix": "trim_prefix(a, b)",
    "trim_right": "trim_right(a, b)",
    "trim_space": "trim_space(a)",
    "trim_suffix": "trim_suffix(a, b)",
    "type_name": "type_name(a)",
    "union": "union({sa, sb})",
}
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 10),
    st.sampled_from([2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 1.5, -0.25]),
    st.sampled_from(["", "a", "ab", "b", "é", "aé b", " a ", "0", "a,b", "\u2028", "𝄞a"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "é"]), inner, max_size=3)
    ),
    max_leaves=5,
)
STRINGS = st.text(alphabet="ab,é \u00a0𝄞", max_size=6)
# Many operands have a type that some built-in takes: values are compared, not only errors.
SEQUENCES = st.one_of(st.lists(STRINGS, max_size=3), st.lists(st.integers(-5, 5), max_size=4))
OPERANDS = st.one_of(VALUES, STRINGS, SEQUENCES)
INPUTS = st.fixed_dictionaries({"v": st.dictionaries(st.sampled_from("abc"), OPERANDS)})


def source(rules: str) -> PolicySource:
    return PolicySource(PolicyKind.APPRAISAL, f"package policy\n\nimport rego.v1\n\n{rules}\n")


def outcome(engine: PolicyEngine, policy: PolicySource, document: object) -> Any:
    try:
        return dict(engine.compile(policy).evaluate(json.dumps(document).encode()))
    except PolicyEvaluationFailed:
        return "failed"


def same(both: Both, policy: PolicySource, document: object) -> Any:
    regorus, opa = (outcome(engine, policy, document) for engine in both)
    assert regorus == opa, f"{policy.text}\n{document}"
    return regorus


def test_every_builtin_of_the_profile_is_compared() -> None:
    assert set(CALLS) == profile.BUILTINS


@pytest.mark.parametrize("builtin", sorted(CALLS))
def test_a_builtin_answers_equally(both: Both, builtin: str) -> None:
    policy = source(
        f"trust_claims := value if {{\n{_operands(CALLS[builtin])}\tvalue := {CALLS[builtin]}\n}}"
    )

    @BOUNDED
    @given(INPUTS)
    def check(document: dict[str, Any]) -> None:
        assume("count(" not in CALLS[builtin] or "\\ud834" not in json.dumps(document))
        same(both, policy, document)

    check()


@BOUNDED
@given(STRINGS, SCALARS)
def test_sprintf_answers_equally_on_scalars(both: Both, text: str, value: Any) -> None:
    policy = source('trust_claims := sprintf("%v: %v, 100%%", [input.v.a, input.v.b])')
    same(both, policy, {"v": {"a": text, "b": value}})


def _operands(call: str) -> str:
    lines = ""
    for name in "abc":
        if "{sa" in call or "(sa" in call:
            lines += f"\ts{name} := {{value | value := input.v.{name}[_]}}\n" if name != "c" else ""
        elif name in call.replace("concat", "").split("(", 1)[1]:
            lines += f"\t{name} := input.v.{name}\n"
    return lines


OPERATORS = ["==", "!=", "<", "<=", ">", ">=", "+", "-", "%"]
SMALL = st.fixed_dictionaries(
    {
        "v": st.dictionaries(
            st.sampled_from("ab"),
            st.one_of(
                st.none(),
                st.booleans(),
                st.integers(-(2**31), 2**31),
                st.sampled_from(["", "a", "b"]),
                st.lists(st.integers(0, 3), max_size=2),
            ),
        )
    }
)


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator_answers_equally(both: Both, operator: str) -> None:
    policy = source(
        f"trust_claims := value if {{\n\tvalue := input.v.a {operator} input.v.b\n}}\n\n"
        f"extensions := 1 if input.v.a {operator} input.v.b"
    )

    @BOUNDED
    @given(SMALL)
    def check(document: dict[str, Any]) -> None:
        same(both, policy, document)

    check()


CONSTRUCTS = {
    "some in": "trust_claims := [v | some v in input.v.a]",
    "some key in": "trust_claims := {k: v | some k, v in input.v.a}",
    "some wildcard in": "trust_claims := [k | some k, _ in input.v.a]",
    "some key in, then more": "trust_claims := [w | some k, v in input.v.a; some w in v; w != k]",
    "some literal in": "trust_claims := [k | some k, 1 in input.v.a]",
    "some literal key in": 'trust_claims := [v | some "a", v in input.v.a]',
    "key bound outside": "trust_claims := [k, [v | some k, v in input.v.a]] if k := input.v.b",
    "value bound outside": "trust_claims := [v, [v | some v in input.v.a]] if v := input.v.b",
    "declared in a loop": "trust_claims := [[x, i] | x := input.v.a[_]; some i; input.v.b[i] == x]",
    "some in a call": "trust_claims := [v | some v in object.keys(input.v.a)]",
    "some in a function": "trust_claims := [v | some v in f(input.v.a)]\n\nf(x) := x.a",
    "some in without braces": "trust_claims := 2 if some v in input.v.a",
    "some in over lines": "trust_claims := 2 if {\n\tsome k,\n\t\tv in input.v.a\n\tv == k\n}",
    "some in under every": "trust_claims := 2 if every x in input.v.a { some y in x; y != 1 }",
    "nested some in": "trust_claims := [y | some x in input.v.a; some y in x]",
    "some in a set": "trust_claims := [v | some v in {x | x := input.v.a[_]}]",
    "index": "trust_claims := v if { k := input.v.b; v := input.v.a[k] }",
    "wildcard": "trust_claims := [v | v := input.v.a[_][_]]",
    "declared index": "trust_claims := [[i, v] | some i; v := input.v.a[i]]",
    "field of anything": "trust_claims := input.v.a.a.b",
    "every": "trust_claims := 2 if every v in input.v.a { v == 1 }",
    "every key": "trust_claims := 2 if every k, v in input.v.a { k != v }",
    "in": "trust_claims := 2 if input.v.a in input.v.b",
    "not": "trust_claims := 2 if not input.v.a",
    "not equal": "trust_claims := 2 if not input.v.a == input.v.b",
    "not in": "trust_claims := 2 if { a := input.v.a; b := input.v.b; not a in b }",
    "not call": "trust_claims := 2 if { a := input.v.a; not f(a) }\n\nf(x) if x.a == 1",
    "else": "trust_claims := 1 if input.v.a == 1 else := 2 if input.v.b else := 3",
    "default": "default trust_claims := 7\n\ntrust_claims := input.v.a if input.v.b",
    "clauses that may disagree": "trust_claims := 1 if input.v.a\n\ntrust_claims := 2 if input.v.b",
    "default and disagreement": "default trust_claims := 9\n\n"
    "trust_claims := 1 if input.v.a\n\ntrust_claims := 2 if input.v.b",
    "many solutions": "trust_claims := v if { v := input.v.a[_] }",
    "set rule": "trust_claims := s\n\ns contains v if v := input.v.a[_]",
    "object rule": "trust_claims := o\n\no[k] := v if some k, v in input.v.a",
    "set operations": "trust_claims := {v | v := input.v.a[_]} & {v | v := input.v.b[_]}",
    "set difference": "trust_claims := {v | v := input.v.a[_]} - {v | v := input.v.b[_]}",
    "set union": "trust_claims := {v | v := input.v.a[_]} | {v | v := input.v.b[_]}",
    "unification": "trust_claims := [x, y] if [x, y] = input.v.a",
    "function clauses": "trust_claims := f(input.v.a)\n\nf(1) := 10\n\nf(x) := x if x != 1",
    "undefined function": "trust_claims := f(input.v.a)\n\nf(x) := 1 if x == 1",
    "in as a value": 'trust_claims := v if { a := input.v.a; v := (a in {1, "a"}) }',
    "false assigned": "trust_claims := 2 if { v := input.v.a }",
    "reference list": 'trust_claims := query_reference_value("n")',
    "reference in": 'trust_claims := 2 if input.v.a in query_reference_value("n")',
    "reference not in": "trust_claims := 2 if { a := input.v.a; "
    'v := query_reference_value("n"); not a in v }',
    "reference at least": 'trust_claims := 2 if input.v.a >= query_reference_value("n")',
    "reference differs": 'trust_claims := 2 if input.v.a != query_reference_value("n")',
    "reference iterated": 'trust_claims := [v | some v in query_reference_value("n")]',
    "reference object": "trust_claims := [[k, e.value] | some k, e in input.reference.n]",
}
ENTRIES = st.dictionaries(
    st.sampled_from(["1", "2", "a"]),
    st.fixed_dictionaries({"value": SCALARS}, optional={"scalar": st.booleans()}),
    max_size=3,
)


@pytest.mark.parametrize("construct", CONSTRUCTS.values(), ids=CONSTRUCTS.keys())
def test_a_construct_answers_equally(both: Both, construct: str) -> None:
    policy = source(construct)

    @BOUNDED
    @given(
        st.fixed_dictionaries(
            {"v": st.dictionaries(st.sampled_from("abc"), OPERANDS)},
            optional={"reference": st.dictionaries(st.just("n"), ENTRIES)},
        )
    )
    def check(document: dict[str, Any]) -> None:
        same(both, policy, document)

    check()


@pytest.mark.parametrize(
    ("entries", "value"),
    [
        (None, {}),
        ({}, {}),
        ({"1": {"value": 1}}, [1]),
        ({"1": {"value": 1}, "2": {"value": 2}}, [1, 2]),
        ({"1": {"value": 1, "scalar": True}}, 1),
        ({"x": {"value": False, "scalar": True}}, False),
        ({"1": {"value": 1, "scalar": True}, "2": {"value": 2, "scalar": True}}, {}),
    ],
)
def test_query_reference_value(both: Both, entries: Any, value: Any) -> None:
    policy = source('trust_claims := query_reference_value("n")')
    reference = {} if entries is None else {"n": entries}
    answer = same(both, policy, {"reference": reference})
    assert answer == ({} if value == {} else {"data.policy.trust_claims": value})


def test_a_minimum_without_a_reference_value_is_not_met(both: Both) -> None:
    policy = source('trust_claims := 2 if input.v.svn >= query_reference_value("minimum")')
    assert same(both, policy, {"v": {"svn": 4}, "reference": {}}) == {}


def test_a_value_that_looks_like_undefined_is_a_value(both: Both) -> None:
    policy = source('trust_claims := "<undefined>"')
    assert same(both, policy, {}) == {"data.policy.trust_claims": "<undefined>"}
    assert same(both, source("trust_claims := input.v.a"), {}) == {}


@pytest.mark.parametrize(
    "text",
    [
        "package policy\ntrust_claims := {",
        "package policy\n\ntrust_claims := x\n",
        'package policy\n\ntrust_claims := {"hardware": 2} if { not a; a := input.x }\n',
        "package policy\n\nallow { true }\n",
        "package other\n\ntrust_claims := {}\n",
        "package policy\n\nreasons := 1\n",
        "package policy.sub\n\ntrust_claims := {}\n",
        'package policy["a b"]\n\ntrust_claims := {}\n',
        "package policy\n\ntrust_claims contains 1\n",
        "package policy\n\ntrust_claims(x) := x\n",
        "package policy\n\ntrust_claims := {} if count(1, 2)\n",
        'package policy\n\ntrust_claims := {"a": f(1, 2)}\n\nf(x) := x\n',
    ],
)
def test_what_one_engine_refuses_the_other_refuses(both: Both, text: str) -> None:
    for engine in both:
        with pytest.raises(TouchstoneError) as caught:
            engine.compile(PolicySource(PolicyKind.APPRAISAL, text))
        assert caught.value.code in ("policy.syntax", "policy.rejected")
