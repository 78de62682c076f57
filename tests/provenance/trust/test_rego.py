"""The Rego of a trust policy: it can refuse, it can never let in."""

from __future__ import annotations

import json

import pytest

from common.errors import PolicyError
from provenance.errors import BuilderUntrusted, TrustRefused
from provenance.model import AdmittedStatement
from provenance.pipeline import Pipeline
from testkit.authority import TestAuthority
from tests.provenance.builds import NOW, policy, sign, statement

RegorusEngine = pytest.importorskip("policy.regorus_engine").RegorusEngine
HEAD = "package trust\n\nimport rego.v1\n\n"


def admit(authority: TestAuthority, rules: str, envelope: bytes | None = None) -> AdmittedStatement:
    pipeline = Pipeline(policy(authority, rego=HEAD + rules), RegorusEngine())
    return pipeline.admit(envelope or sign(authority), NOW)


def test_allow_admits_and_is_recorded(authority: TestAuthority) -> None:
    admitted = admit(authority, "default allow := false\n\nallow if input.origin.proven\n")
    assert admitted.checks[-1].name == "trust.rego"


@pytest.mark.parametrize(
    "rules",
    [
        "default allow := false\n",
        "allow if input.origin.source_uri == 1\n",
        'allow := "true"\n',
        "allow := 1\n",
        'allow := true\n\ndeny contains "not on a Friday"\n',
    ],
)
def test_anything_but_allow_refuses(authority: TestAuthority, rules: str) -> None:
    with pytest.raises((TrustRefused, PolicyError)):
        admit(authority, rules)


def test_reasons_are_those_of_the_policy(authority: TestAuthority) -> None:
    with pytest.raises(TrustRefused, match="not on a Friday"):
        admit(authority, 'allow := true\n\ndeny contains "not on a Friday"\n')


@pytest.mark.parametrize("deny", ["deny := 1", "deny contains 1", 'deny := "x"'])
def test_deny_that_is_no_set_of_reasons_is_an_error(authority: TestAuthority, deny: str) -> None:
    with pytest.raises(PolicyError):
        admit(authority, f"allow := true\n\n{deny}\n")


def test_rego_cannot_loosen_a_fixed_rule(authority: TestAuthority) -> None:
    borrowed = statement(builder="https://github.com/acme/cvm/.github/workflows/build.yml@refs/tags/v9")
    with pytest.raises(BuilderUntrusted):
        admit(authority, "allow := true\n", sign(authority, borrowed))


def test_input_is_what_the_documentation_says(authority: TestAuthority) -> None:
    document = json.dumps(
        {
            "predicate_type": "https://slsa.dev/provenance/v1",
            "signer": "ci",
            "claim": "github-hosted",
            "ref": "refs/tags/v1.2.3",
            "entry_point": ".github/workflows/build.yml",
            "subject": {"sha256": "ab" * 32},
        }
    )
    rules = f"""expected := {document}

default allow := false

allow if {{
	input.statement.predicate_type == expected.predicate_type
	input.statement.subjects[0].digest == expected.subject
	input.signers[0].name == expected.signer
	input.signers[0].claims.runner_environment == expected.claim
	input.origin.source_ref == expected.ref
	input.build.entry_point == expected.entry_point
	input.build.runner_environment == null
	input.log.age_seconds == -5
	is_string(input.now)
}}
"""
    assert admit(authority, rules).checks[-1].name == "trust.rego"
