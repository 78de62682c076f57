"""One suite for both engines: what they accept, refuse and answer must be equal (abuse cases 6, 38)."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from policy import shipped
from policy.errors import (
    PolicyEngineUnavailable,
    PolicyEvaluationFailed,
    PolicyNotFound,
    PolicyRejected,
    PolicySyntax,
)
from policy.opa_engine import OpaEngine
from policy.port import PolicyEngine, PolicyKind, PolicySource
from testkit.daemon import free_port

SHIPPED = [
    (PolicyKind.APPRAISAL, "default"),
    (PolicyKind.APPRAISAL, "default_cpu"),
    (PolicyKind.RELEASE, "default"),
    (PolicyKind.TRUST, "default"),
]


def appraisal(rules: str) -> PolicySource:
    return PolicySource(PolicyKind.APPRAISAL, f"package policy\n\nimport rego.v1\n\n{rules}\n")


def evaluate(engine: PolicyEngine, source: PolicySource, document: Any) -> dict[str, Any]:
    return dict(engine.compile(source).evaluate(json.dumps(document).encode()))


def snp(**changes: Any) -> dict[str, Any]:
    claims = {
        "measurement": "aa",
        "policy_debug_allowed": False,
        "policy_migrate_ma": False,
        "vmpl": 0,
        "reported_tcb_bootloader": 4,
        "reported_tcb_microcode": 219,
        "reported_tcb_snp": 27,
        "reported_tcb_tee": 0,
    }
    return {
        "snp": claims | changes,
        "verification": {
            "bound": "session",
            "failed": [],
            "identity": "snp-chip:00",
            "init_data": "absent",
            "tee": "snp",
        },
        "reference": {"snp_launch_measurement": {"aa": {"value": "aa"}}},
    }


@pytest.mark.parametrize(("kind", "name"), SHIPPED)
def test_every_shipped_policy_compiles_and_denies_an_empty_input(
    engine: PolicyEngine, kind: PolicyKind, name: str
) -> None:
    result = evaluate(engine, shipped.load(kind, name), {})
    if kind is PolicyKind.APPRAISAL:
        claims = result["data.policy.trust_claims"]
        assert min(claims[claim] for claim in ("executables", "hardware", "configuration")) >= 32
    if kind is PolicyKind.RELEASE:
        assert result["data.policy.allow"] is False
        assert result["data.policy.reasons"]


def test_the_default_policy_affirms_a_known_measurement(engine: PolicyEngine) -> None:
    claims = evaluate(engine, shipped.load(PolicyKind.APPRAISAL, "default"), snp())[
        "data.policy.trust_claims"
    ]
    assert claims["executables"] == 3
    assert claims["hardware"] == claims["instance-identity"] == 2
    assert claims["configuration"] == 3


@pytest.mark.parametrize(
    ("change", "claim", "value"),
    [
        ({"measurement": "bb"}, "executables", 96),
        ({"policy_debug_allowed": True}, "configuration", 36),
        ({"policy_migrate_ma": True}, "configuration", 36),
        ({"vmpl": 3}, "configuration", 36),
    ],
)
def test_the_default_policy_denies_each_difference(
    engine: PolicyEngine, change: dict[str, Any], claim: str, value: int
) -> None:
    source = shipped.load(PolicyKind.APPRAISAL, "default")
    assert evaluate(engine, source, snp(**change))["data.policy.trust_claims"][claim] == value


@pytest.mark.parametrize("bound", ["unbound", "", None])
def test_unbound_evidence_has_no_identity(engine: PolicyEngine, bound: Any) -> None:
    document = snp()
    document["verification"]["bound"] = bound
    source = shipped.load(PolicyKind.APPRAISAL, "default")
    assert evaluate(engine, source, document)["data.policy.trust_claims"]["instance-identity"] == 97


def test_coco_style_runs_unmodified(engine: PolicyEngine) -> None:
    source = shipped.load(PolicyKind.APPRAISAL, "default_cpu")
    document = snp()
    document["reference"] |= {
        "snp_bootloader": {"4": {"value": 4}, "5": {"value": 5}},
        "snp_microcode": {"219": {"value": 219}},
        "snp_snp_svn": {"27": {"value": 27}},
        "snp_tee_svn": {"0": {"value": 0}},
    }
    for values in document["reference"].values():
        for entry in values.values():
            entry["groups"] = ["release"]
    claims = evaluate(engine, source, document)["data.policy.trust_claims"]
    assert (claims["executables"], claims["hardware"], claims["configuration"]) == (3, 2, 3)
    document["reference"]["snp_snp_svn"] = {"27": {"value": "27"}}  # the text is not the number
    assert evaluate(engine, source, document)["data.policy.trust_claims"]["hardware"] == 97


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"3": {"value": 3, "scalar": True}}, 2),
        ({"5": {"value": 5, "scalar": True}}, 97),
        ({}, 97),
        (None, 97),
        ({"3": {"value": 3, "scalar": True}, "4": {"value": 4, "scalar": True}}, 97),
    ],
)
def test_a_single_reference_value_can_be_a_minimum(
    engine: PolicyEngine, entries: dict[str, Any] | None, expected: int
) -> None:
    source = appraisal(
        "default hardware := 97\n\n"
        'hardware := 2 if input.snp.svn >= query_reference_value("minimum_svn")\n\n'
        'trust_claims := {"hardware": hardware}'
    )
    reference = {} if entries is None else {"minimum_svn": entries}
    result = evaluate(engine, source, {"snp": {"svn": 4}, "reference": reference})
    assert result["data.policy.trust_claims"] == {"hardware": expected}


def test_names_are_found_in_both_styles(engine: PolicyEngine) -> None:
    source = appraisal(
        'a if input.snp.m in query_reference_value("one")\n\nb if input.reference.two[input.snp.m]\n\n'
        'c if input.reference["three"][input.snp.m]\n\ntrust_claims := {"executables": 3} if { a; b; c }'
    )
    assert engine.compile(source).reference_names == {"one", "two", "three"}


def test_an_undefined_decision_is_absent(engine: PolicyEngine) -> None:
    source = appraisal('trust_claims := {"hardware": 2} if input.snp.nothing')
    assert evaluate(engine, source, {"snp": {}}) == {}


def test_a_policy_cannot_return_the_text_for_undefined(engine: PolicyEngine) -> None:
    source = appraisal('trust_claims := "<undefined>"')
    assert evaluate(engine, source, {}).get("data.policy.trust_claims") in (None, "<undefined>")


REFUSED = {
    "http.send": 'x := http.send({"method": "get", "url": "http://127.0.0.1"})',
    "net": 'x := net.lookup_ip_addr("example.org")',
    "opa.runtime": "x := opa.runtime()",
    "io.jwt": 'x := io.jwt.decode("a.b.c")',
    "rego.parse_module": 'x := rego.parse_module("a", "package a")',
    "time": "x := time.now_ns()",
    "rand": 'x := rand.intn("a", 3)',
    "uuid": 'x := uuid.rfc4122("a")',
    "crypto": 'x := crypto.sha256("a")',
    "walk": "x := [v | walk(input.snp, [_, v])]",
    "numbers.range": "x := numbers.range(1, 10000000)",
    "regex": "x if regex.match(input.snp.p, input.snp.m)",
    "trace": 'x := trace("a")',
    "print": 'x if { print("a") }',
    "with": 'x if y with input as {"snp": {}}\n\ny := 1',
    "data": "x := data[input.snp.m]",
    "dynamic name": "x if input.snp.m in query_reference_value(input.snp.name)",
    "dynamic reference": "x if input.reference[input.snp.name]",
    "whole input": "x := input",
    "recursion": "x := y\n\ny := x",
    "not call": "x if not count(input.snp.list) == 0",
    "shim redefined": "query_reference_value(_) := [1]",
    "nested loops": "x if { some a in input.snp.l; some b in input.snp.l; a == b }",
    "import": "import data.other as policy2\n\nx := 1",
}


@pytest.mark.parametrize("rule", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_outside_the_profile_is_refused_at_upload(engine: PolicyEngine, rule: str) -> None:
    text = "package policy\n\nimport rego.v1\n"
    rest = rule
    source = PolicySource(PolicyKind.APPRAISAL, f'{text}\n{rest}\n\ntrust_claims := {{"hardware": 2}}\n')
    with pytest.raises(PolicyRejected):
        engine.compile(source)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (PolicyKind.APPRAISAL, "package other\n\ntrust_claims := {}\n"),
        (PolicyKind.APPRAISAL, "package policy\n\nallow := true\n"),
        (PolicyKind.RELEASE, "package policy\n\ntrust_claims := {}\n"),
        (PolicyKind.TRUST, "package policy\n\nallow := true\n"),
        (PolicyKind.RELEASE, "package policy\n\nallow := true\n" + "# x\n" * 200_000),
    ],
)
def test_package_entry_point_and_size_are_demanded(
    engine: PolicyEngine, kind: PolicyKind, text: str
) -> None:
    with pytest.raises(PolicyRejected):
        engine.compile(PolicySource(kind, text))


@pytest.mark.parametrize(
    "text", ["", "package policy\n\nallow { true }\n", "package policy\nallow :=", "\x00"]
)
def test_what_is_not_rego_v1_is_refused_with_its_place(engine: PolicyEngine, text: str) -> None:
    with pytest.raises((PolicySyntax, PolicyRejected)):
        engine.compile(PolicySource(PolicyKind.RELEASE, text))


def test_conflicting_rules_never_affirm(both: tuple[PolicyEngine, PolicyEngine]) -> None:
    source = appraisal(
        "hardware := 2 if input.snp.a\n\nhardware := 97 if input.snp.b\n\n"
        'trust_claims := {"hardware": hardware}'
    )
    for engine in both:
        with pytest.raises(PolicyEvaluationFailed):
            evaluate(engine, source, {"snp": {"a": True, "b": True}})


def test_a_policy_is_compiled_once(engine: PolicyEngine) -> None:
    source = shipped.load(PolicyKind.RELEASE, "default")
    assert engine.compile(source) is engine.compile(PolicySource(source.kind, str(source.text)))


def test_threads_evaluate_side_by_side(engine: PolicyEngine) -> None:
    compiled = engine.compile(shipped.load(PolicyKind.APPRAISAL, "default"))
    document = json.dumps(snp()).encode()
    expected = compiled.evaluate(document)
    answers: list[Any] = []

    def work() -> None:
        answers.extend(compiled.evaluate(document) == expected for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 80


def test_an_unreachable_opa_is_a_typed_error() -> None:
    engine = OpaEngine(f"http://127.0.0.1:{free_port()}", timeout_s=0.5)
    with pytest.raises(PolicyEngineUnavailable):
        engine.compile(shipped.load(PolicyKind.RELEASE, "default"))


def test_an_unknown_shipped_policy_is_not_found() -> None:
    with pytest.raises(PolicyNotFound):
        shipped.load(PolicyKind.TRUST, "nothing")
