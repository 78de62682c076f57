"""Warnings of `touchstone policy check`: accepted, and likely not meant."""

from __future__ import annotations

import pytest

from policy import shipped
from policy.check import check
from policy.port import PolicyKind


def warned(body: str, kind: PolicyKind = PolicyKind.APPRAISAL) -> list[tuple[int, str]]:
    first = "trust_claims := {}" if kind is PolicyKind.APPRAISAL else "default allow := false"
    report = check(f"package policy\n\n{first}\n\n{body}\n", kind)
    assert report.ok, report.problems
    return [(item.line, item.code) for item in report.warnings]


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        ('x if input.a.b != query_reference_value("n")', [(5, "absent-reference")]),
        ('x if input.a.b >= query_reference_value("n")', [(5, "absent-reference")]),
        ('x if query_reference_value("n") < input.a.b', [(5, "absent-reference")]),
        (
            'x if {\n\tleast := query_reference_value("n")\n\tinput.a.b > least\n}',
            [(7, "absent-reference")],
        ),
        ('x if not query_reference_value("n")', [(5, "absent-reference")]),
        (
            'x if {\n\tknown := query_reference_value("n")\n\tnot known == 1\n}',
            [],
        ),
        (
            'x if input.a.b == query_reference_value("n")\n\ny if input.a.b in query_reference_value("n")',
            [(7, "two-forms")],
        ),
        ("x if input.a.b in data.reference.n", [(5, "empty-data")]),
        ('x if input.a.b == query_reference_value("n")', []),
        ('x if input.a.b in query_reference_value("n")', []),
        ("x if not input.a.b\n\ny if input.a.b >= 3", []),
    ],
)
def test_what_is_likely_not_meant_is_told(body: str, codes: list[tuple[int, str]]) -> None:
    assert warned(body) == codes


def test_data_of_a_resource_policy_is_meant() -> None:
    assert warned('allow if data.plugin == "resource"', PolicyKind.RESOURCE) == []


@pytest.mark.parametrize(("kind", "name"), shipped.names())
def test_a_shipped_policy_warns_of_minimums_alone(kind: PolicyKind, name: str) -> None:
    for item in check(shipped.load(kind, name).text, kind).warnings:
        assert item.code == "absent-reference"
        assert "minimum" in item.message


@pytest.mark.parametrize(
    ("claims", "line"),
    [
        ('trust_claims := {"no-such-claim": 2}', 3),
        ('trust_claims := {\n\t"hardware": 2,\n\t"executables": 128,\n}', 5),
        ('trust_claims := {"hardware": -129}', 3),
        ('trust_claims := {"hardware": 2.5}', 3),
    ],
)
def test_a_claim_that_cannot_be_is_refused_at_upload(claims: str, line: int) -> None:
    report = check(f"package policy\n\n{claims}\n", PolicyKind.APPRAISAL)
    assert not report.ok
    assert [(item.line, item.code) for item in report.problems] == [(line, "claim")]


def test_every_claim_in_range_is_accepted() -> None:
    text = 'package policy\n\ntrust_claims := {"hardware": -128, "executables": 127, "file-system": 0}\n'
    assert check(text, PolicyKind.APPRAISAL).ok
