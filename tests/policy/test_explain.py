"""Which clause decided: line, text and value, and where the others failed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import Malformed
from policy import shipped
from policy.port import PolicyEngine, PolicyKind, PolicySource, RuleTrace
from policy.regorus_engine import RegorusEngine

KNOWN = "aa" * 48


def document(**snp: Any) -> bytes:
    claims = {"measurement": KNOWN, "policy_debug_allowed": False, "policy_migrate_ma": False, "vmpl": 0}
    verification = {
        "tee": "snp",
        "bound": "session",
        "identity": "snp-chip:00",
        "failed": [],
        "init_data": "absent",
    }
    reference = {"snp_launch_measurement": {KNOWN: {"value": KNOWN}}}
    value = {"snp": claims | snp, "verification": verification, "reference": reference}
    return json.dumps(value).encode()


def traces(
    policy: PolicySource, data: bytes, engine: PolicyEngine | None = None
) -> dict[str, list[RuleTrace]]:
    found: dict[str, list[RuleTrace]] = {}
    for trace in (engine or RegorusEngine()).compile(policy).explain(data):
        found.setdefault(trace.rule.rpartition(".")[2], []).append(trace)
    return found


@pytest.mark.parametrize("name", ["default", "default_cpu"])
def test_every_claim_of_the_vector_is_explained_with_its_clause(engine: PolicyEngine, name: str) -> None:
    policy = shipped.load(PolicyKind.APPRAISAL, name)
    compiled = engine.compile(policy)
    claims = compiled.evaluate(document())["data.policy.trust_claims"]
    found = traces(policy, document(), engine)
    lines = policy.text.split("\n")
    for claim, value in claims.items():
        decided = [trace for trace in found.get(claim.replace("-", "_"), []) if trace.decided]
        if not decided:  # a literal in trust_claims itself
            decided = [trace for trace in found["trust_claims"] if trace.value[claim] == value]
            assert f'"{claim}": {value}' in decided[0].text
            continue
        assert [trace.value for trace in decided] == [value]
        assert lines[decided[0].line - 1] == decided[0].text.split("\n")[0]


def test_a_denial_names_the_default_and_the_statement_that_failed() -> None:
    policy = shipped.load(PolicyKind.APPRAISAL, "default")
    found = traces(policy, document(measurement="bb"))["executables"]
    decided = [trace for trace in found if trace.decided]
    assert [(trace.text, trace.value) for trace in decided] == [("default executables := 96", 96)]
    failed = [trace for trace in found if not trace.decided]
    assert failed[0].text == "input.reference.snp_launch_measurement[measurement].value == measurement"
    assert policy.text.split("\n")[failed[0].line - 1].strip() == failed[0].text


def test_a_release_denial_names_each_reason() -> None:
    policy = shipped.load(PolicyKind.RELEASE, "default")
    found = traces(policy, b'{"ear": {}, "resource": {"id": "a"}}')
    reasons = [value for trace in found["reasons"] if trace.decided for value in trace.value]
    assert "the attestation result does not affirm hardware" in reasons
    assert [trace.value for trace in found["allow"] if trace.decided] == [False]


def test_an_else_chain_stops_at_the_clause_that_held() -> None:
    text = (
        "package policy\n\nallow := a == 2\n\na := 1 if {\n\tinput.x\n\tinput.y\n}\n"
        "else := 2 if input.x\nelse := 3\n"
    )
    found = traces(PolicySource(PolicyKind.RELEASE, text), b'{"x": 1}')["a"]
    assert [(trace.line, trace.text, trace.value, trace.decided) for trace in found] == [
        (7, "input.y", None, False),
        (9, "else := 2 if input.x", 2, True),
    ]


def test_iterations_are_traced_in_the_words_of_the_source() -> None:
    text = (
        "package policy\n\nallow if some v in input.l\n\nreasons contains v if {\n"
        "\tsome k, v in input.l\n\tk > 0\n\tv in {1, 2}\n}\n"
    )
    policy = PolicySource(PolicyKind.RELEASE, text)
    found = traces(policy, b'{"l": [1, 2, 3]}')
    assert found["allow"][0].decided
    assert found["reasons"][0].value == [2]
    failed = traces(policy, b'{"l": "text"}')
    assert [trace.text for trace in failed["allow"]] == ["some v in input.l"]
    assert [trace.text for trace in failed["reasons"]] == ["some k, v in input.l"]


def test_a_policy_whose_evaluation_fails_is_still_explained_as_far_as_it_goes() -> None:
    text = "package policy\n\nallow if a == 1\n\na := 1 if input.x\n\na := 2 if input.y\n"
    found = traces(PolicySource(PolicyKind.RELEASE, text), b'{"x": 1, "y": 1}')
    assert [trace.value for trace in found["a"]] == [1, 2]


def test_an_input_that_is_not_json_is_malformed() -> None:
    with pytest.raises(Malformed):
        traces(shipped.load(PolicyKind.RELEASE, "default"), b"{")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["measurement", "policy_debug_allowed", "policy_migrate_ma", "vmpl"]),
        st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.sampled_from([KNOWN, "bb"])),
    )
)
def test_the_explanation_never_contradicts_the_decision(snp: dict[str, Any]) -> None:
    policy = shipped.load(PolicyKind.APPRAISAL, "default")
    claims = RegorusEngine().compile(policy).evaluate(document(**snp))["data.policy.trust_claims"]
    found = traces(policy, document(**snp))
    for claim, value in claims.items():
        decided = [trace.value for trace in found[claim.replace("-", "_")] if trace.decided]
        assert decided == [value]
