"""The default release policy: named claims, never the status alone (abuse case 5)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from policy import shipped
from policy.port import PolicyEngine, PolicyKind

NAMED = ("instance-identity", "configuration", "executables", "hardware")


def document(**vector: int) -> dict[str, Any]:
    affirmed = dict.fromkeys(NAMED, 2) | {name.replace("_", "-"): value for name, value in vector.items()}
    return {
        "ear": {
            "submods": {"cpu0": {"ear.status": "affirming", "ear.trustworthiness-vector": affirmed}},
            "touchstone": {"bound": "session", "reference_values": ["rv-1"]},
        },
        "resource": {"kind": "resource", "id": "default/key/1", "version": 1},
    }


def decide(engine: PolicyEngine, value: Any) -> tuple[Any, list[str]]:
    compiled = engine.compile(shipped.load(PolicyKind.RELEASE, "default"))
    result = compiled.evaluate(json.dumps(value).encode())
    return result["data.policy.allow"], result["data.policy.reasons"]


@pytest.mark.parametrize("value", [2, 3, 31, -2, -32])
def test_an_affirming_vector_is_allowed_without_reasons(engine: PolicyEngine, value: int) -> None:
    assert decide(engine, document(executables=value)) == (True, [])


@pytest.mark.parametrize("claim", NAMED)
@pytest.mark.parametrize(
    "value", [0, 1, -1, 32, 33, 96, 97, 99, -33, -128, 127, 258, "2", None, True, 2.5e9]
)
def test_a_claim_that_is_not_affirmed_denies_and_is_named(
    engine: PolicyEngine, claim: str, value: Any
) -> None:
    asked = document()
    asked["ear"]["submods"]["cpu0"]["ear.trustworthiness-vector"][claim] = value
    allowed, reasons = decide(engine, asked)
    assert allowed is False
    assert reasons == [f"the attestation result does not affirm {claim}"]


@pytest.mark.parametrize("claim", NAMED)
def test_a_claim_that_is_left_out_denies(engine: PolicyEngine, claim: str) -> None:
    asked = document()
    del asked["ear"]["submods"]["cpu0"]["ear.trustworthiness-vector"][claim]
    assert decide(engine, asked)[0] is False


@pytest.mark.parametrize("status", ["warning", "none", "contraindicated", "", None, ["affirming"]])
def test_another_status_denies(engine: PolicyEngine, status: Any) -> None:
    asked = document()
    asked["ear"]["submods"]["cpu0"]["ear.status"] = status
    allowed, reasons = decide(engine, asked)
    assert allowed is False
    assert "the attestation result has no affirming status" in reasons


@pytest.mark.parametrize("bound", ["report-data", "unbound", None, ["session"]])
def test_evidence_that_is_not_bound_to_a_session_denies(engine: PolicyEngine, bound: Any) -> None:
    asked = document()
    asked["ear"]["touchstone"]["bound"] = bound
    assert decide(engine, asked) == (False, ["the evidence is not bound to a session key of the guest"])


@pytest.mark.parametrize("values", [[], None])
def test_a_result_that_rests_on_no_reference_value_denies(engine: PolicyEngine, values: Any) -> None:
    asked = document()
    asked["ear"]["touchstone"]["reference_values"] = values
    assert decide(engine, asked)[0] is False


@pytest.mark.parametrize("gone", ["ear", "resource"])
def test_a_missing_part_denies_with_a_reason(engine: PolicyEngine, gone: str) -> None:
    asked = document()
    del asked[gone]
    allowed, reasons = decide(engine, asked)
    assert allowed is False
    assert reasons
