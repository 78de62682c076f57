"""Ends, levels, workflows, parameter values, environments and exceptions of a trust policy."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest

from common.checks import Verdict
from common.errors import StatementError
from policy.regorus_engine import RegorusEngine
from provenance.errors import (
    BuilderLevelTooLow,
    BuilderUntrusted,
    PredicateUnexpected,
    SourceUntrusted,
    TrustPolicyExpired,
    TrustPolicyInvalid,
    TrustRefused,
)
from provenance.pipeline import Pipeline
from testkit.authority import GITHUB_ISSUER, TestAuthority, TestKey, github_claims, sign_dsse
from tests.provenance.builds import IDENTITY, NOW, REF, REPOSITORY, WORKFLOW, admit, policy, sign, statement

SPDX = "https://acme.example/bill-of-materials/v1"
WORKFLOW_PATH = ".github/workflows/build.yml"


def workflow_with(**parameters: Any) -> dict[str, Any]:
    workflow = {"ref": REF, "repository": REPOSITORY, "path": WORKFLOW_PATH}
    return {"workflow": workflow} | parameters


# --- the policy's own end ------------------------------------------------------------------------


def test_expired_policy_admits_nothing(authority: TestAuthority) -> None:
    envelope = sign(authority)
    end = NOW + timedelta(hours=1)
    text = end.isoformat()
    admit(authority, envelope, now=end - timedelta(seconds=1), expires=text)
    for late in (timedelta(0), timedelta(days=1)):
        with pytest.raises(TrustPolicyExpired):
            admit(authority, envelope, now=end + late, expires=text)


# --- builders and levels -------------------------------------------------------------------------


def test_level_is_of_signer_and_builder_together(authority: TestAuthority) -> None:
    envelope = sign(authority)
    signers = [
        {"name": "ci", "root": "ours", "issuer": GITHUB_ISSUER, "identity": f"{WORKFLOW}@refs/tags/*"},
        {"name": "other", "root": "ours", "issuer": GITHUB_ISSUER, "identity": f"{WORKFLOW}@refs/heads/x"},
    ]
    trusted = [{"id": WORKFLOW, "level": 3, "signers": ["ci"]}]
    assert admit(authority, envelope, signers=signers, builders=trusted, min_level=3).builder == IDENTITY
    for builders in (
        [{"id": WORKFLOW, "level": 2}],
        [{"id": WORKFLOW}, {"id": "https://other.example", "level": 3}],
        [{"id": WORKFLOW, "level": 3, "signers": ["other"]}, {"id": WORKFLOW, "level": 1}],
    ):
        with pytest.raises(BuilderLevelTooLow):
            admit(authority, envelope, signers=signers, builders=builders, min_level=3)


def test_statement_that_is_no_provenance_is_by_the_workflow_that_the_certificate_proves(
    authority: TestAuthority,
) -> None:
    sbom = json.loads(statement()) | {"predicateType": SPDX, "predicate": {"parts": 3}}
    payload = json.dumps(sbom).encode()
    types = [SPDX]
    admitted = admit(authority, sign(authority, payload), predicate_types=types)
    assert (admitted.builder, admitted.source_uri) == (IDENTITY, REPOSITORY)
    with pytest.raises(BuilderUntrusted):
        admit(authority, sign(authority, payload), predicate_types=types, builders=[{"id": WORKFLOW + "x"}])


def test_what_only_supports_need_not_state_builder_and_source_and_what_it_states_counts() -> None:
    key = TestKey()
    review = json.loads(statement()) | {"predicateType": SPDX, "predicate": {"parts": 3}}
    envelope = sign_dsse(json.dumps(review).encode(), [(key, key.spki_sha256)])
    built = sign_dsse(statement(), [(key, key.spki_sha256)])
    slsa = "https://slsa.dev/provenance/v1"
    members: dict[str, Any] = {
        "roots": [key.root("k")],
        "signers": [{"name": "k", "root": "k"}],
        "predicate_types": [slsa, SPDX],
        "builders": [{"id": "https://other.example/v1"}],
    }
    with pytest.raises(BuilderUntrusted):
        Pipeline(policy(None, **members)).admit(envelope, NOW)
    assert Pipeline(policy(None, **members, supporting_predicates=[SPDX])).admit(envelope, NOW).supporting
    with pytest.raises(BuilderUntrusted):
        Pipeline(policy(None, **members, supporting_predicates=[slsa])).admit(built, NOW)


# --- workflow ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [WORKFLOW_PATH, ".github/workflows/*", ".github/*/build.yml"])
def test_workflow_in_the_source_is_the_certificates(authority: TestAuthority, pattern: str) -> None:
    sources = [{"uri": REPOSITORY, "refs": ["refs/tags/v*"], "workflows": [pattern]}]
    assert admit(authority, sign(authority), sources=sources).source_uri == REPOSITORY


@pytest.mark.parametrize("pattern", ["build.yml", "*", ".github/workflows/release.yml", "*/build.yml"])
def test_other_workflows_are_refused(authority: TestAuthority, pattern: str) -> None:
    with pytest.raises(SourceUntrusted):
        admit(authority, sign(authority), sources=[{"uri": REPOSITORY, "workflows": [pattern]}])


def test_workflow_that_no_certificate_proves_is_unknown(authority: TestAuthority) -> None:
    claims = {name: value for name, value in github_claims(IDENTITY).items() if name != "build_config_uri"}
    sources = [{"uri": REPOSITORY, "workflows": [WORKFLOW_PATH]}]
    with pytest.raises(SourceUntrusted):
        admit(authority, sign(authority, claims=claims), sources=sources)


def test_workflow_is_named_as_a_whole_across_sources(authority: TestAuthority) -> None:
    # Ref of one entry and workflow of another do not add up.
    sources = [
        {"uri": REPOSITORY, "refs": ["refs/heads/main"], "workflows": [WORKFLOW_PATH]},
        {"uri": REPOSITORY, "refs": ["refs/tags/v*"], "workflows": ["other.yml"]},
    ]
    with pytest.raises(SourceUntrusted):
        admit(authority, sign(authority), sources=sources)


# --- parameters ----------------------------------------------------------------------------------


def test_parameter_has_one_of_the_accepted_values(authority: TestAuthority) -> None:
    envelope = sign(authority, statement(external_parameters=workflow_with(debug=True, level=1)))
    values = {"debug": [True], "level": [1, 2]}
    assert admit(authority, envelope, parameter_values=values).builder == IDENTITY
    for wrong in (
        {"debug": [False], "level": [1]},
        {"debug": [1], "level": [1]},
        {"debug": ["true"], "level": [1]},
        {"debug": [True], "level": [True]},
        {"debug": [True], "level": [1], "absent": [None]},
    ):
        with pytest.raises(PredicateUnexpected):
            admit(authority, envelope, parameter_values=wrong)


def test_parameter_without_accepted_values_is_still_unexpected(authority: TestAuthority) -> None:
    envelope = sign(authority, statement(external_parameters=workflow_with(debug=True, extra=1)))
    with pytest.raises(PredicateUnexpected):
        admit(authority, envelope, parameter_values={"debug": [True]})


# --- environments --------------------------------------------------------------------------------


def test_environment_decides_and_is_recorded(authority: TestAuthority) -> None:
    envelope = sign(authority, claims=github_claims(IDENTITY) | {"runner_environment": "self-hosted"})
    whole = policy(authority, environments={"prod": {}, "dev": {"allow_self_hosted": True}})
    admitted = Pipeline(whole, environment="dev").admit(envelope, NOW)
    assert [check.observed for check in admitted.checks if check.name == "trust.environment"] == ["dev"]
    assert admitted.trust_policy == whole.digest
    with pytest.raises(BuilderUntrusted):
        Pipeline(whole, environment="prod").admit(envelope, NOW)
    with pytest.raises(TrustPolicyInvalid):
        Pipeline(whole)


def test_rego_sees_environment_level_workflow_policy_domain_and_exceptions(
    authority: TestAuthority,
) -> None:
    envelope = sign(authority)
    rego = f"""package trust

import rego.v1

default allow := false

allow if {{
	input.environment == "prod"
	input.level == 3
	input.origin.workflow == "{WORKFLOW_PATH}"
	input.policy.serial == 7
	input.policy.name == "test"
	input.signers[0].domain == "github"
	input.exceptions == [{{"name": "x", "rules": ["trust.age"]}}]
}}
"""
    members: dict[str, Any] = {
        "rego": rego,
        "serial": 7,
        "builders": [{"id": WORKFLOW, "level": 3}],
        "signers": [
            {
                "name": "ci",
                "root": "ours",
                "issuer": GITHUB_ISSUER,
                "identity": f"{WORKFLOW}@refs/tags/*",
                "domain": "github",
            }
        ],
        "exceptions": [exception(envelope, "trust.age", name="x")],
    }
    pipeline = Pipeline(policy(authority, **members), RegorusEngine(), environment="prod")
    assert pipeline.admit(envelope, NOW).domains == ("github",)
    with pytest.raises(TrustRefused):
        Pipeline(policy(authority, **members), RegorusEngine(), environment="dev").admit(envelope, NOW)


# --- exceptions ----------------------------------------------------------------------------------


def exception(envelope: bytes, *rules: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": "one-off",
        "reason": "agreed in the review of 2026-01-02",
        "attestation": hashlib.sha256(envelope).hexdigest(),
        "rules": list(rules),
        "expires": (NOW + timedelta(days=30)).isoformat(),
    } | changes


def test_exception_lifts_its_rules_for_its_attestation_and_says_so(authority: TestAuthority) -> None:
    envelope = sign(authority)
    sources = [{"uri": "https://github.com/acme/other"}]
    lifted = exception(envelope, "trust.source")
    admitted = admit(authority, envelope, sources=sources, exceptions=[lifted])
    (record,) = [check for check in admitted.checks if check.name == "trust.exception"]
    assert record.verdict is Verdict.WARNING
    assert (record.observed["exception"], record.observed["rule"]) == ("one-off", "trust.source")
    assert record.observed["observed"]["uri"] == REPOSITORY
    assert lifted["reason"] in record.note
    assert admitted.valid_until == NOW + timedelta(days=30)


def test_exception_is_for_no_other_attestation_and_no_other_rule(authority: TestAuthority) -> None:
    envelope, other = sign(authority), sign(authority)
    sources = [{"uri": "https://github.com/acme/other"}]
    for lifted in (exception(other, "trust.source"), exception(envelope, "trust.builder")):
        with pytest.raises(SourceUntrusted):
            admit(authority, envelope, sources=sources, exceptions=[lifted])


def test_exception_that_ended_does_not_count_and_a_record_says_so(authority: TestAuthority) -> None:
    envelope = sign(authority)
    sources = [{"uri": "https://github.com/acme/other"}]
    lifted = exception(envelope, "trust.source", expires=NOW.isoformat())
    with pytest.raises(SourceUntrusted) as caught:
        admit(authority, envelope, sources=sources, exceptions=[lifted])
    (record,) = [check for check in caught.value.checks if check.name == "trust.exception"]
    assert record.verdict is Verdict.NOT_EVALUATED


def test_exception_never_lifts_a_fixed_rule(authority: TestAuthority) -> None:
    wrong = sign(
        authority, statement(builder="https://github.com/evil/x/.github/workflows/b.yml@refs/tags/v1")
    )
    rules = ["trust.builder", "trust.level", "trust.source", "trust.parameters", "trust.rego"]
    with pytest.raises(BuilderUntrusted):
        admit(authority, wrong, exceptions=[exception(wrong, *rules)])


def test_exception_that_was_not_needed_leaves_no_trace(authority: TestAuthority) -> None:
    envelope = sign(authority)
    admitted = admit(authority, envelope, exceptions=[exception(envelope, "trust.source", "trust.age")])
    assert admitted.valid_until is None
    assert not [check for check in admitted.checks if check.name == "trust.exception"]


def test_exception_from_the_age_of_an_unlogged_signature() -> None:
    key = TestKey()
    payload = statement()
    envelope = sign_dsse(payload, [(key, key.spki_sha256)])
    members: dict[str, Any] = {
        "roots": [key.root("k")],
        "signers": [{"name": "k", "root": "k"}],
        "builders": [],
        "sources": [],
        "max_age_seconds": 60,
    }
    with pytest.raises(StatementError):
        Pipeline(policy(None, **members)).admit(envelope, NOW)
    members["exceptions"] = [exception(envelope, "trust.age")]
    assert Pipeline(policy(None, **members)).admit(envelope, NOW).valid_until is not None


# --- the glob mistake (provenance.md section 0) ---------------------------------------------------


@pytest.mark.parametrize(
    "identity", [f"{WORKFLOW}@refs/tags/a/b/evil", f"{WORKFLOW}@refs/tags/v1/../../heads/evil"]
)
def test_star_never_crosses_a_slash_in_any_glob_of_the_policy(
    authority: TestAuthority, identity: str
) -> None:
    ref = identity.partition("@")[2]
    envelope = sign(authority, statement(builder=identity, ref=ref), identity=identity)
    exact = [{"name": "ci", "root": "ours", "issuer": GITHUB_ISSUER, "identity": identity}]
    with pytest.raises(BuilderUntrusted):
        admit(authority, envelope, signers=exact, sources=[])
    with pytest.raises(SourceUntrusted):
        admit(
            authority,
            envelope,
            signers=exact,
            builders=[{"id": WORKFLOW, "ref": ref}],
            sources=[{"uri": REPOSITORY, "refs": ["refs/tags/*"]}],
        )
