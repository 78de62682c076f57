"""Trust vectors: what a policy may return, and how floors and tiers work (abuse cases 5, 6)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.claims import CLAIM_NAMES, apply_floors, parse_trust_claims, status, tier
from policy.errors import PolicyRejected, PolicyResultInvalid
from policy.port import PolicyEngine, PolicyKind, PolicySource


@pytest.mark.parametrize("value", [258, 2.0, "2", True, None, [2], {"value": 2}, 128, -129, 2**64, 10**40])
def test_a_claim_that_is_not_a_small_integer_is_refused(value: Any) -> None:
    with pytest.raises(PolicyResultInvalid):
        parse_trust_claims({"hardware": value})


@pytest.mark.parametrize(
    "value", [None, {}, [], "affirming", 2, True, {"hardware": 2, "hardwares": 2}, {1: 2}]
)
def test_a_result_of_another_shape_is_refused(value: Any) -> None:
    with pytest.raises(PolicyResultInvalid):
        parse_trust_claims(value)


@pytest.mark.parametrize(
    "rules",
    [
        'value := 258\n\ntrust_claims := {"hardware": value}',
        'trust_claims := {"hardware": "2"}',
        'trust_claims := {"hardware": true}',
        'value := 2.5\n\ntrust_claims := {"hardware": value}',
        'name := "hardwares"\n\ntrust_claims := {name: 2}',
        'value := -129\n\ntrust_claims := {"hardware": value}',
        'trust_claims := {"hardware": input.snp.big}',
        'trust_claims := ["hardware"]',
        'trust_claims := "<undefined>"',
    ],
)
def test_what_a_policy_returns_outside_ar4si_is_an_error_and_never_cast(
    engine: PolicyEngine, rules: str
) -> None:
    source = PolicySource(PolicyKind.APPRAISAL, f"package policy\n\n{rules}\n")
    result = engine.compile(source).evaluate(b'{"snp": {"big": 18446744073709551618}}')
    with pytest.raises(PolicyResultInvalid):
        parse_trust_claims(result["data.policy.trust_claims"])


def test_an_integral_float_literal_is_refused_at_upload(engine: PolicyEngine) -> None:
    source = PolicySource(PolicyKind.APPRAISAL, 'package policy\n\ntrust_claims := {"hardware": 2.0}\n')
    with pytest.raises(PolicyRejected):
        engine.compile(source)


def test_left_out_claims_are_no_claim() -> None:
    assert parse_trust_claims({"hardware": 2}) == dict.fromkeys(CLAIM_NAMES, 0) | {"hardware": 2}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-128, "contraindicated"), (-97, "contraindicated"), (-96, "warning"), (-33, "warning"),
        (-32, "affirming"), (-2, "affirming"), (-1, "none"), (0, "none"), (1, "none"),
        (2, "affirming"), (31, "affirming"), (32, "warning"), (95, "warning"),
        (96, "contraindicated"), (127, "contraindicated"),
    ],
)  # fmt: skip
def test_tiers_are_those_of_ar4si(value: int, expected: str) -> None:
    assert tier(value) == expected


@given(
    st.dictionaries(st.sampled_from(CLAIM_NAMES), st.integers(-128, 127), min_size=1),
    st.dictionaries(st.sampled_from(CLAIM_NAMES), st.integers(-128, 127)),
)
def test_no_policy_improves_on_a_floor(claims: dict[str, int], floors: dict[str, int]) -> None:
    order = ["affirming", "none", "warning", "contraindicated"]
    floored = apply_floors(parse_trust_claims(claims), floors)
    for name, floor in floors.items():
        assert order.index(tier(floored[name])) >= order.index(tier(floor))
    assert status(floored) == "contraindicated" or "contraindicated" not in map(tier, floors.values())
