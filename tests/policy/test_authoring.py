"""`policy check` and `policy test`: every problem with its place; cases on any engine."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import Malformed, TouchstoneError
from policy import shipped
from policy.check import check
from policy.port import PolicyEngine, PolicyKind, PolicySource
from policy.regorus_engine import RegorusEngine
from policy.testing import parse_cases, run

CASES = b"""
[[cases]]
name = "affirms a known measurement"
input.verification = { tee = "snp", bound = "session", identity = "x", failed = [], init_data = "absent" }
input.snp = { measurement = "aa", policy_debug_allowed = false, policy_migrate_ma = false, vmpl = 0 }
input.reference.snp_launch_measurement.aa.value = "aa"
expect.trust_claims = { executables = 3, hardware = 2 }

[[cases]]
name = "denies another"
input.verification = { tee = "snp", bound = "session", identity = "x", failed = [], init_data = "absent" }
input.snp = { measurement = "bb", policy_debug_allowed = false, policy_migrate_ma = false, vmpl = 0 }
expect.trust_claims = { executables = 96 }
expect.extensions = "undefined"
"""


@pytest.mark.parametrize(("kind", "name"), shipped.names())
def test_every_shipped_policy_passes_the_check_on_both_engines(
    both: tuple[PolicyEngine, PolicyEngine], kind: PolicyKind, name: str
) -> None:
    report = check(shipped.load(kind, name).text, kind, both)
    assert report.ok
    assert report.problems == ()


def test_every_problem_is_reported_with_line_and_column() -> None:
    text = "package policy\n\nallow if {\n\thttp.send({})\n\tnot count(input.x) > 1\n}\n"
    report = check(text, PolicyKind.RELEASE, [RegorusEngine()])
    assert not report.ok
    assert [(item.line, item.column, item.code) for item in report.problems] == [
        (4, 2, "builtin"),
        (5, 6, "undefined-operand"),
    ]


def test_a_syntax_error_is_reported_with_its_place(both: tuple[PolicyEngine, PolicyEngine]) -> None:
    report = check("package policy\n\nallow if {\n\tinput.x ==\n}\n", PolicyKind.RELEASE, both)
    assert [(item.line, item.code) for item in report.problems] == [(5, "policy.syntax")]


def test_a_missing_entry_point_and_a_wrong_package_are_reported() -> None:
    report = check("package policy\n\nother := 1\n", PolicyKind.RELEASE)
    assert [item.code for item in report.problems] == ["entry-point"]
    report = check("package other\n\nallow := true\n", PolicyKind.RELEASE)
    assert [item.code for item in report.problems] == ["package"]


def test_cases_run_on_both_engines(engine: PolicyEngine) -> None:
    compiled = engine.compile(shipped.load(PolicyKind.APPRAISAL, "default"))
    results = run(compiled, parse_cases(CASES))
    assert [(result.name, result.passed) for result in results] == [
        ("affirms a known measurement", True),
        ("denies another", True),
    ]


def test_a_case_that_does_not_hold_says_what_was_expected_and_found(engine: PolicyEngine) -> None:
    compiled = engine.compile(shipped.load(PolicyKind.APPRAISAL, "default"))
    (result,) = run(
        compiled,
        parse_cases(
            b'{"cases": [{"name": "x", "input": {}, "expect": {"trust_claims": {"hardware": 2}}}]}'
        ),
    )
    assert not result.passed
    assert "expected {'hardware': 2}" in result.failures[0]
    assert "'hardware': 97" in result.failures[0]


def test_a_case_whose_policy_fails_is_a_failure_of_the_case(engine: PolicyEngine) -> None:
    source = PolicySource(PolicyKind.RELEASE, "package policy\n\nallow if count(input.x) > 1\n")
    (result,) = run(
        engine.compile(source),
        parse_cases(b'{"cases": [{"name": "x", "input": {"x": 5}, "expect": {"allow": true}}]}'),
    )
    assert not result.passed
    assert "failed" in result.failures[0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"cases": []}',
        b'{"cases": [{}]}',
        b'{"cases": [{"name": "x", "input": {}, "expect": {}, "more": 1}]}',
        b'{"cases": [], "cases": []}',
        b"cases = 1",
        b"\xff",
    ],
)
def test_a_case_file_of_another_shape_is_refused(data: bytes) -> None:
    with pytest.raises((Malformed, TouchstoneError)):
        parse_cases(data)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes_give_cases_or_a_typed_error(data: bytes) -> None:
    for prefix in (b"", b'{"cases": [', b"[[cases]]\nname = "):
        try:
            parse_cases(prefix + data)
        except TouchstoneError:
            pass
