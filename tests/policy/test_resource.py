"""Resource policies: Rego written for the key broker of Confidential Containers, on both engines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.errors import Malformed
from policy import shipped
from policy.documents import resource_data, resource_input
from policy.errors import PolicyRejected, PolicySyntax
from policy.port import PolicyEngine, PolicyKind, PolicySource

ASKED = resource_data("resource", ["default", "key", "1"])
TOKEN: dict[str, Any] = {
    "iss": "an issuer",
    "submods": {
        "cpu0": {"ear.status": "affirming", "ear.veraison.annotated-evidence": {"snp": {"vmpl": 0}}},
        "gpu0": {"ear.status": "affirming", "ear.veraison.annotated-evidence": {"nvidia": {}}},
    },
}
# Each construct of policies in the wild once: `=` for `:=`, no import, a bracketed name of data, negation
# of a reference, iteration over data and over claims, functions, patterns.
EVERYTHING = """# Comments, and empty lines before the package.


package policy

default allow = false

plugin = data.plugin

path := data["resource-path"]

allow if {
	plugin == "resource"
	count(path) == 3
	not input["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["sample"]
	not refused
	known(path[0])
	regex.match("^[a-z]{1,8}$", path[1])
	concat("/", data["resource-path"]) == concat("/", path)
}

allow if {
	data.plugin == "pkcs11"
	some name, value in data.query
	name == "slot"
	value in {"1", "2"}
}

refused if {
	some _, submod in input.submods
	submod["ear.status"] != "affirming"
}

known(repository) if repository == "default"

known(repository) if {
	some other in split(object.get(data.query, "also", ""), ",")
	other == repository
}

reasons contains "a submod is not affirming" if refused
"""


def allowed(engine: PolicyEngine, text: str, claims: object, data: dict[str, Any] = ASKED) -> Any:
    policy = engine.compile(PolicySource(PolicyKind.RESOURCE, text))
    return policy.evaluate(resource_input(json.dumps(claims).encode(), data)).get("data.policy.allow")


def with_status(name: str, status: str) -> dict[str, Any]:
    submods = {key: dict(value) for key, value in TOKEN["submods"].items()}
    submods[name]["ear.status"] = status
    return {**TOKEN, "submods": submods}


@pytest.mark.parametrize(
    ("claims", "data", "expected"),
    [
        (TOKEN, ASKED, True),
        (with_status("gpu0", "warning"), ASKED, False),
        ({"submods": {"cpu0": {"ear.veraison.annotated-evidence": {"sample": {}}}}}, ASKED, False),
        (TOKEN, resource_data("resource", ["default", "key"]), False),
        (TOKEN, resource_data("resource", ["default", "KEY", "1"]), False),
        (TOKEN, resource_data("resource", ["other", "key", "1"]), False),
        (TOKEN, resource_data("resource", ["other", "key", "1"], {"also": "x,other"}), True),
        (TOKEN, resource_data("sample", ["default", "key", "1"]), False),
        (TOKEN, resource_data("pkcs11", ["wrap-key"], {"a": "0", "slot": "2"}), True),
        (TOKEN, resource_data("pkcs11", ["wrap-key"], {"slot": "3"}), False),
        ({}, ASKED, True),
    ],
)
def test_every_construct_of_such_policies_answers_as_in_rego(
    engine: PolicyEngine, claims: object, data: dict[str, Any], expected: bool
) -> None:
    assert allowed(engine, EVERYTHING, claims, data) is expected


def test_a_claim_does_not_pass_for_what_is_asked_for(engine: PolicyEngine) -> None:
    text = 'package policy\n\ndefault allow := false\n\nallow if data["resource-path"] == ["a", "b", "c"]\n'
    forged = {"data": {"resource-path": ["a", "b", "c"]}, "claims": {}, "resource-path": ["a", "b", "c"]}
    assert allowed(engine, text, forged) is False
    assert allowed(engine, text, forged, resource_data("resource", ["a", "b", "c"])) is True


def test_what_is_asked_for_does_not_pass_for_a_claim(engine: PolicyEngine) -> None:
    text = (
        "package policy\n\ndefault allow := false\n\nallow if input.data.plugin\n\nallow if input.plugin\n"
    )
    assert allowed(engine, text, TOKEN) is False


def test_the_whole_input_is_the_claims_and_nothing_else(engine: PolicyEngine) -> None:
    whole = "allow := object.keys(input) == {name | some name, _ in input}\n\nreasons := input"
    text = f"package policy\n\n{whole}\n"
    policy = engine.compile(PolicySource(PolicyKind.RESOURCE, text))
    found = policy.evaluate(resource_input(json.dumps(TOKEN).encode(), ASKED))
    assert found == {"data.policy.allow": True, "data.policy.reasons": TOKEN}


def test_members_of_data_that_are_never_given_are_undefined(engine: PolicyEngine) -> None:
    text = "package policy\n\nallow if data.authorised\n"
    assert allowed(engine, text, {"authorised": True}) is None


def test_text_and_digest_stay_as_they_were_uploaded(engine: PolicyEngine) -> None:
    source = PolicySource(PolicyKind.RESOURCE, EVERYTHING)
    compiled = engine.compile(source)
    assert compiled.source.text == EVERYTHING
    assert engine.compile(source) is compiled


def test_an_explanation_names_the_lines_of_the_text(engine: PolicyEngine) -> None:
    compiled = engine.compile(PolicySource(PolicyKind.RESOURCE, EVERYTHING))
    document = resource_input(json.dumps(with_status("gpu0", "none")).encode(), ASKED)
    failed = [trace for trace in compiled.explain(document) if trace.rule == "data.policy.allow"]
    assert ("not refused", False) in [(trace.text, trace.decided) for trace in failed]
    lines = EVERYTHING.split("\n")
    assert all(trace.text.split("\n")[0] in lines[trace.line - 1] for trace in failed)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "allow if opa.runtime().env.SECRET",
            "opa.runtime is refused: it exposes the server's environment",
        ),
        ('allow if http.send({"url": "x"}).status_code == 200', "does not reach the network"),
        ("allow if time.now_ns() > input.exp", "a decision is a function of its input"),
        ("allow if data.policy.other\n\nother := true", "call rules by name"),
        ("allow if count(data) == 3", "whole or computed data"),
        ("allow if data[input.x]", "whole or computed data"),
        ('allow if query_reference_value("x") == 1', "belongs to appraisal policies"),
        ("allow if {\n\tdata := 1\n\tdata == 1\n}", "data cannot be shadowed"),
        ("allow if {\n\tsome input in [1]\n\tinput == 1\n}", "the name input belongs to Rego"),
        ("allow if f(1)\n\nf(data) if data == 1", "the name data belongs to Rego"),
        ("allow if input.x with data.plugin as 1", "`with`"),
        ("allow if regex.match(input.pattern, input.text)", "literal pattern"),
        ("allow if regex.match(`^\\d+$`, input.text)", "literal pattern"),
        ("other := true", "the rule allow is missing"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_its_reason(
    engine: PolicyEngine, body: str, words: str
) -> None:
    with pytest.raises((PolicyRejected, PolicySyntax)) as raised:
        engine.compile(PolicySource(PolicyKind.RESOURCE, f"package policy\n\n{body}\n"))
    assert words in json.dumps([raised.value.message, raised.value.details])


@pytest.mark.parametrize("body", ["allow {\n\tinput.x\n}", "allow {{{", "allow[x] { x := 1 }"])
def test_older_rego_is_refused_as_by_the_reference(engine: PolicyEngine, body: str) -> None:
    with pytest.raises(PolicySyntax) as raised:
        engine.compile(PolicySource(PolicyKind.RESOURCE, f"package policy\n\n{body}\n"))
    assert "`if` keyword is required" in raised.value.message or "contains" in raised.value.message


def test_another_package_is_refused(engine: PolicyEngine) -> None:
    with pytest.raises(PolicyRejected, match="package policy"):
        engine.compile(PolicySource(PolicyKind.RESOURCE, "package other\n\nallow := true\n"))


@pytest.mark.parametrize("claims", [b"[]", b"", b"{}}", b'{"a":1},"data":{}', b"\xff", b"null", b'{"a":}'])
def test_claims_that_are_no_object_alone_are_refused(claims: bytes) -> None:
    with pytest.raises(Malformed):
        resource_input(claims, ASKED)


SAMPLE = {
    "submods": {"cpu0": {"ear.status": "affirming", "ear.veraison.annotated-evidence": {"sample": {}}}}
}
AT_CPU1 = {"submods": {**TOKEN["submods"], "cpu1": SAMPLE["submods"]["cpu0"]}}
NO_EVIDENCE = {"submods": {"cpu0": {"ear.status": "affirming"}}}


@pytest.mark.parametrize(
    ("name", "claims", "data", "expected"),
    [
        ("default", TOKEN, ASKED, True),
        ("default", SAMPLE, ASKED, False),
        ("default", AT_CPU1, ASKED, False),
        ("default", NO_EVIDENCE, ASKED, False),
        ("default", with_status("cpu0", "warning"), ASKED, False),
        ("default", with_status("cpu0", "none"), ASKED, False),
        ("default", with_status("gpu0", "contraindicated"), ASKED, False),
        ("default", {"submods": {"cpu0": {}}}, ASKED, False),
        ("default", {"submods": {"gpu0": TOKEN["submods"]["gpu0"]}}, ASKED, False),
        ("default", {"submods": {}}, ASKED, False),
        ("default", {"submods": ["affirming"]}, ASKED, False),
        ("default", {}, ASKED, False),
        ("default", TOKEN, resource_data("pkcs11", ["wrap-key"]), False),
        ("affirming", TOKEN, ASKED, True),
        ("affirming", SAMPLE, ASKED, True),
        ("affirming", with_status("gpu0", "none"), ASKED, False),
        ("affirming", {"submods": {"cpu0": {}}}, ASKED, False),
        ("affirming", {}, ASKED, False),
        ("allow_all", {}, ASKED, True),
        ("allow_all", TOKEN, resource_data("pkcs11", ["wrap-key"]), True),
        ("deny_all", TOKEN, ASKED, False),
    ],
)
def test_a_shipped_policy(
    engine: PolicyEngine, name: str, claims: object, data: dict[str, Any], expected: bool
) -> None:
    text = shipped.load(PolicyKind.RESOURCE, name).text
    assert allowed(engine, text, claims, data) is expected
