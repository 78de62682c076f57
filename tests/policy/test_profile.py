"""The profile and the gate before it: hostile and unequal policies are refused at upload (abuse 38)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from policy import lexical, profile, shipped
from policy.errors import PolicyRejected, PolicySyntax
from policy.modules import prepare
from policy.port import PolicyKind, PolicySource
from policy.profile import problems
from policy.tree import parse

HEAD = "package policy\n\nimport rego.v1\n\n"


def codes(rules: str, kind: PolicyKind = PolicyKind.APPRAISAL) -> set[str]:
    return {problem.code for problem in problems(parse(HEAD + rules + "\n"), kind)}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("x := " + "[" * 200 + "1" + "]" * 200, 1),
        ("x := " + "{" * 200 + "1" + "}" * 200, 1),
        ("x := " + "(" * 200 + "1" + ")" * 200, 1),
        ("x := [" + ",\n".join(["[" * 9 + "1" + "]" * 9] * 300) + "]", 1),
        ("x := input" + ".a" * 30_000, 1),
        ("x := 1" + " +\n1" * 15_000, 1),
        ("x := 1" + "\n+ 1" * 15_000, 1),
        ("x if 1" + " in [1]" * 140, 1),
        ("x if 1" + " in\n[1]" * 9_000, 1),
        ("".join(f"r{i} := 1\n" for i in range(2000)), 2),
        ("\n" * 10_000, 1),
        ("x := 1 # " + "é" * 2000, 1),
        ("x := " + "-" * 5000 + "1", 1),
        ("x := " + "count(" * 60 + "[]" + ")" * 60, 1),
    ],
)
def test_what_would_stall_or_crash_the_parser_is_refused_in_time(text: str, seconds: int) -> None:
    started = time.perf_counter()
    with pytest.raises((PolicyRejected, PolicySyntax)):
        prepare(PolicySource(PolicyKind.APPRAISAL, HEAD + text + '\ntrust_claims := {"hardware": 2}\n'))
    assert time.perf_counter() - started < seconds


def test_a_policy_at_the_limits_still_parses_in_time() -> None:
    lines = [f'r{i} if input.snp.claim == [1, [2, [3, {{"k": [{i}]}}]]]' for i in range(280)]
    started = time.perf_counter()
    module = parse(HEAD + "\n".join(lines) + "\n")
    assert len(module.rules) == 280
    assert time.perf_counter() - started < 3


@pytest.mark.parametrize("text", ['x := "a', "x := `a", 'x := "a\n"'])
def test_an_unterminated_string_is_named_with_its_place(text: str) -> None:
    with pytest.raises(PolicySyntax) as caught:
        parse(HEAD + text)
    assert caught.value.details["line"] == 5


@pytest.mark.parametrize("text", ["\ufeff" + HEAD, HEAD + "x := 1 \x00", HEAD + "x := 1 \x1b[2J", "\ud800"])
def test_control_characters_are_refused(text: str) -> None:
    with pytest.raises(PolicySyntax):
        parse(text)


@pytest.mark.parametrize(
    "name", sorted({*profile.REFUSED} - {"base64", "hex", "json", "time", "regex", "http", "net", "io"})
)
def test_every_refused_builtin_says_why(name: str) -> None:
    called = name if "." in name or name in _PLAIN else f"{name}.something"
    found = problems(parse(f"{HEAD}x := {called}(input.snp.a)\n"), PolicyKind.APPRAISAL)
    assert [problem.code for problem in found] == ["builtin"]
    assert profile.REFUSED[name] in found[0].message
    assert (found[0].line, found[0].column) == (5, 6)


_PLAIN = {"walk", "print", "trace", "lower", "upper", "replace", "product", "round", "substring", "sum"} | {
    "to_number",
    "indexof",
}


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ('x := sprintf("%d", [1])', "builtin"),
        ('x := sprintf("%999999999v", [1])', "builtin"),
        ("x := sprintf(input.snp.format, [1])", "builtin"),
        ("x := unheard.of(1)", "builtin"),
        ('x := [v | some {"a": v} in input.snp.l]', "pattern"),
        ("x := [v | some [v, _] in input.snp.l]", "pattern"),
        ('x if { {"a": v} := input.snp.a; v }', "pattern"),
        ('x if { [1, {"a": v}] = input.snp.a; v }', "pattern"),
        ("x if input.snp.k, input.snp.v in input.snp.l", "operator"),
        ("x if { y := input.snp.a; y == 1 }\n\ny := 2", "name"),
        ("x if { some y in input.snp.a; y == 1 }\n\ny := 2", "name"),
        ("x if { i := 1; z := [i | some i; input.snp.l[i]]; z }", "name"),
        ("f(i) if { some i; input.snp.l[i] }\n\nx := f(1)", "name"),
        ("x := y", "unknown"),
        ("x if f\n\nf(a) if a", "unknown"),
        ("x := data.policy.y\n\ny := 1", "data"),
        ("x if y with input.snp as 1\n\ny := 1", "with"),
        ("x := [v | v := y with input.snp as 1]\n\ny := 1", "with"),
        ("x if every v in input.snp.l { v == 1 with input.snp as 1 }", "with"),
        ("x := 2.0", "number"),
        ("x := 1e3", "number"),
        ("x := 1234567890123456", "number"),
        ("x := input.snp.a * 2", "operator"),
        ("x := input.snp.a / 2", "operator"),
        ("x := input", "input"),
        ("x := input[input.snp.a]", "input"),
        ('x := object.get(input, ["reference", "n"], 1)', "input"),
        ("x := [v | v := input[_]]", "input"),
        ("x := input.reference", "reference"),
        ("x := input.reference[input.snp.a]", "reference"),
        ("x if { some n; input.reference[n].a }", "reference"),
        ("x := query_reference_value(input.snp.a)", "reference"),
        ('x := query_reference_value(concat("", ["a", "b"]))', "reference"),
        ('x if { n := "a"; input.snp.a in query_reference_value(n) }', "reference"),
        ("default f(_) := 1\n\nf(a) := a", "default"),
        ("touchstone_result := 1", "name"),
        ("query_reference_value(n) := [1]", "name"),
        ("count := 1", "name"),
        ("http := 1", "name"),
        ("a.b := 1", "name"),
        ("x := 1\n\nx contains 2", "name"),
        ("x := y\n\ny := x", "cost"),
        ("f(a) := g(a)\n\ng(a) := f(a)\n\nx := f(1)", "cost"),
        ("x if { a := input.snp.l[_]; b := input.snp.m[_]; a == b }", "cost"),
        ("x if { some a in input.snp.l; some b in input.snp.l; a != b }", "cost"),
        ("x := [[a, b] | a := input.snp.l[_]; b := input.snp.m[_]]", "cost"),
        ("x if { every a in input.snp.l { a in input.snp.m } }", "cost"),
        ("x := input.snp.l[_]", "iteration"),
        ("x := input.snp.l[i] if input.snp.a", "iteration"),
        ("x if not input.snp.a in input.snp.b", "undefined-operand"),
        ('x if not input.snp.a in query_reference_value("n")', "undefined-operand"),
        ("x if not count(input.snp.l) > 1", "undefined-operand"),
        ('x if not startswith(input.snp.a, "a")', "undefined-operand"),
        ("x if not f(input.snp.a)\n\nf(a) if a", "undefined-operand"),
        ("x if not input.snp.l[input.snp.i]", "undefined-operand"),
        ("x if not y in {1}\n\ny := input.snp.y", "undefined-operand"),
        ("x := (input.snp.a in input.snp.b)", "undefined-operand"),
        ("x if { v := (input.snp.a in [1]); v == false }", "undefined-operand"),
    ],
)  # fmt: skip
def test_what_the_engines_could_answer_unequally_is_refused(rules: str, code: str) -> None:
    assert code in codes(rules)


@pytest.mark.parametrize(
    "rules",
    [
        "x if not input.snp.debug",
        "x if not input.snp.a == 1",
        "x if { a := input.snp.a; not a in {1, 2} }",
        'x if { v := query_reference_value("n"); a := input.snp.a; not a in v }',
        "x if { n := count(input.snp.l); not n > 1 }",
        "x if { a := input.snp.a; not known[a] }\n\nknown := {1, 2}",
        "x if { a := input.snp.a; not f(a) }\n\nf(a) if a == 1",
        "x if { some i, v in input.snp.l; v.a == i }",
        "x if some v in input.snp.l",
        "x if input.snp.l[i].a == i",
        "x contains v if v := input.snp.l[_].digests[_]",
        "x[k] := v if some k, v in input.snp.l",
        "x := [v | some v in input.snp.l; v in allowed]\n\nallowed := {1, 2, 3}",
        "x if every v in input.snp.l { v in {1, 2} }",
        "x := input.snp.a - 1 if input.snp.a % 2 == 0",
        "x if { [a, b] := [1, 2]; a < b }",
        'x if input["az-snp-vtpm"].measurement == "a"',
        "f(1) := 2\n\nf(a) := a if a > 1\n\nx := f(input.snp.a)",
        "x := 1 if input.snp.a else := 2 if input.snp.b else := 3",
        'x := sprintf("%v is not %v, 100%%", [input.snp.a, 1])',
        "x := -1",
        "x := 1.5",
    ],
)
def test_ordinary_rego_is_accepted(rules: str) -> None:
    assert codes(rules) == set()
    prepare(PolicySource(PolicyKind.APPRAISAL, f'{HEAD}{rules}\n\ntrust_claims := {{"hardware": 2}}\n'))


def test_release_policies_may_look_at_the_whole_input_but_have_no_reference_values() -> None:
    assert codes('x := object.get(input, ["ear"], 1)', PolicyKind.RELEASE) == set()
    assert codes('x := query_reference_value("n")', PolicyKind.RELEASE) == {"builtin"}


def test_every_finding_is_reported_in_source_order() -> None:
    text = f"{HEAD}x := http.send({{}})\n\ny := opa.runtime()\n"
    with pytest.raises(PolicyRejected) as caught:
        prepare(PolicySource(PolicyKind.APPRAISAL, text))
    listed = caught.value.details["problems"]
    assert isinstance(listed, list)
    assert [(item["line"], item["code"]) for item in listed] == [
        (1, "entry-point"),
        (5, "builtin"),
        (7, "builtin"),
    ]


def chain(first: str, link: str, length: int) -> str:
    """``first``, then ``link`` with ``{this}`` and ``{last}`` numbered."""
    links = (link.format(this=number, last=number - 1) for number in range(1, length))
    return "\n".join([first, *links])


@pytest.mark.parametrize(
    "rules",
    [
        chain("a0 := input.snp.l", "a{this} := array.concat(a{last}, a{last})", 60),
        chain("a0 := input.snp.s", 'a{this} := concat(a{last}, [a{last}, "x"])', 30),
        chain("f0(v) := v", "f{this}(v) := [f{last}(v), f{last}(v)]", 60) + "\nx := f59(1)",
        chain(
            "a0 := {{1, 2}}".format(), "a{this} := {{[p, q] | some p in a{last}; some q in a{last}}}", 20
        ),
    ],
    ids=["concat", "text", "functions", "products"],
)
def test_chains_that_double_a_value_are_refused(rules: str) -> None:
    assert "cost" in codes(rules)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_any_text_gives_a_policy_or_a_typed_error(text: str) -> None:
    _prepare_or_refuse(text)
    _prepare_or_refuse(HEAD + text)


_PIECES = st.sampled_from(
    [token.group().decode() for token in lexical._TOKEN.finditer(
        "\n".join(shipped.load(kind, name).text for kind, name in shipped.names()).encode()
    )]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(_PIECES, max_size=40), st.integers(0, 4))
def test_any_sequence_of_rego_tokens_gives_a_policy_or_a_typed_error(pieces: list[str], which: int) -> None:
    kind, name = shipped.names()[which % len(shipped.names())]
    text = shipped.load(kind, name).text
    cut = len(text) // 2
    _prepare_or_refuse(HEAD + "".join(pieces))
    _prepare_or_refuse(text[:cut] + "".join(pieces) + text[cut:])


def _prepare_or_refuse(text: str) -> None:
    try:
        prepare(PolicySource(PolicyKind.APPRAISAL, text))
    except TouchstoneError:
        pass
