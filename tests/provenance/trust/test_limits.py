"""Serials, ends, levels, domains, environments, exceptions: what a policy may not say."""

from __future__ import annotations

from typing import Any

import pytest

from provenance.errors import TrustPolicyInvalid
from testkit.authority import GITHUB_ISSUER, TestAuthority
from tests.provenance.builds import REPOSITORY, WORKFLOW, policy

SLSA = "https://slsa.dev/provenance/v1"
EXCEPTION: dict[str, Any] = {
    "name": "old-build",
    "reason": "built before the policy",
    "attestation": "ab" * 32,
    "rules": ["trust.age"],
    "expires": "2027-01-01T00:00:00Z",
}
SIGNER = {"name": "ci", "root": "ours", "issuer": GITHUB_ISSUER, "identity": f"{WORKFLOW}@refs/tags/*"}


@pytest.mark.parametrize(
    "changes",
    [
        {"serial": 0},
        {"serial": -1},
        {"serial": "1"},
        {"serial": True},
        {"serial": 2**53},
        {"expires": "2027-01-01"},
        {"expires": "tomorrow"},
        {"expires": "2027-13-01T00:00:00Z"},
        {"required_domains": 0},
        {"required_domains": 2},
        {"required_domains_for": {SLSA: 2}},
        {"required_domains_for": {"https://example.org/other": 1}},
        {"signers": [SIGNER | {"domain": "a b"}]},
        {"signers": [SIGNER | {"domain": ""}]},
        {"signers": [SIGNER | {"domain": "x" * 65}]},
        {"required_predicates": ["https://example.org/other"]},
        {"supporting_predicates": ["https://example.org/other"]},
        {"supporting_predicates": [SLSA, "https://slsa.dev/provenance/v0.2"]},
        {"min_level": 5},
        {"min_level": -1},
        {"min_level": 3},
        {"builders": [{"id": WORKFLOW, "level": 9}]},
        {"parameter_values": {"debug": []}},
        {"sources": [{"uri": REPOSITORY, "workflows": ["/abs.yml"]}]},
        {"sources": [{"uri": REPOSITORY, "workflows": ["build.yml@refs/tags/v1"]}]},
        {"exceptions": [EXCEPTION | {"attestation": "AB" * 32}]},
        {"exceptions": [EXCEPTION | {"attestation": "*"}]},
        {"exceptions": [EXCEPTION | {"reason": " "}]},
        {"exceptions": [EXCEPTION | {"rules": []}]},
        {"exceptions": [EXCEPTION | {"rules": ["trust.signers"]}]},
        {"exceptions": [EXCEPTION | {"rules": ["bundle.signature"]}]},
        {"exceptions": [EXCEPTION | {"expires": "never"}]},
        {"exceptions": [{name: EXCEPTION[name] for name in EXCEPTION if name != "expires"}]},
        {"exceptions": [EXCEPTION, EXCEPTION]},
        {"environments": {"prod": {"unknown": 1}}},
        {"environments": {"prod": {"signers": [SIGNER]}}},
        {"environments": {"prod": {"threshold": 2}}},
        {"environments": {"prod": {"min_level": 3}}},
        {"environments": {"prod": {"sources": [{"uri": "ssh://x/y"}]}}},
        {"environments": {"a/b": {}}},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_policy_that_says_too_little_or_too_much_is_refused(
    authority: TestAuthority, changes: dict[str, Any]
) -> None:
    with pytest.raises(TrustPolicyInvalid):
        policy(authority, **changes)


def test_more_domains_than_are_counted_are_refused(authority: TestAuthority) -> None:
    signers = [SIGNER | {"name": f"s{number}", "domain": f"d{number}"} for number in range(17)]
    policy(authority, signers=signers[:16])
    with pytest.raises(TrustPolicyInvalid):
        policy(authority, signers=signers)


def test_environment_changes_what_it_names_and_nothing_else(authority: TestAuthority) -> None:
    whole = policy(
        authority,
        max_age_seconds=3600,
        environments={"prod": {"max_age_seconds": 60}, "dev": {"allow_self_hosted": True, "sources": []}},
    )
    production, development = whole.used_in("prod"), whole.used_in("dev")
    assert production.document.max_age_seconds == 60
    assert production.document.sources == whole.document.sources
    assert (development.document.max_age_seconds, development.document.sources) == (3600, ())
    assert production.digest == development.digest == whole.digest


@pytest.mark.parametrize("name", [None, "staging", ""])
def test_policy_with_environments_is_used_in_one_of_them(
    authority: TestAuthority, name: str | None
) -> None:
    with pytest.raises(TrustPolicyInvalid, match="environment"):
        policy(authority, environments={"prod": {}}).used_in(name)


def test_policy_without_environments_is_the_same_in_all(authority: TestAuthority) -> None:
    assert policy(authority).used_in("prod").document == policy(authority).document
