"""Trust rules that no Rego can loosen: abuse case 35 and its neighbours."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from common.errors import TouchstoneError
from provenance.errors import (
    BuilderUntrusted,
    PredicateUnexpected,
    SignerUntrusted,
    SourceUntrusted,
    TrustRefused,
)
from testkit.authority import GITHUB_ISSUER, TestAuthority, github_claims
from tests.provenance.builds import IDENTITY, NOW, REF, REPOSITORY, WORKFLOW, admit, sign, statement

GENERATOR = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
DELEGATOR = GENERATOR + "delegator_generic_slsa3.yml"
MAVEN = GENERATOR + "builder_maven_slsa3.yml"


def claims(**changes: str | None) -> dict[str, str]:
    merged = github_claims(IDENTITY) | changes
    return {name: value for name, value in merged.items() if value is not None}


def test_admitted_statement_carries_what_the_certificate_proves(authority: TestAuthority) -> None:
    admitted = admit(authority, sign(authority))
    assert (admitted.builder, admitted.source_uri) == (IDENTITY, REPOSITORY)
    assert admitted.source_revision == "a" * 40


# --- signer ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "identity",
    [
        f"{WORKFLOW}@refs/heads/main",
        f"{WORKFLOW}@refs/tags/a/b/evil",
        f"{REPOSITORY}.evil/.github/workflows/build.yml@{REF}",
        f"{REPOSITORY}/.github/workflows/other.yml@{REF}",
        f"https://github.com/evil/cvm/.github/workflows/build.yml@{REF}",
    ],
)
def test_other_identities_are_refused(authority: TestAuthority, identity: str) -> None:
    envelope = sign(authority, statement(builder=identity), identity=identity)
    with pytest.raises(SignerUntrusted):
        admit(authority, envelope)


@pytest.mark.parametrize(
    "issuer",
    ["https://evil.example", GITHUB_ISSUER + ".evil.example", GITHUB_ISSUER + "/", "https://token"],
)
def test_issuer_is_exact(authority: TestAuthority, issuer: str) -> None:
    with pytest.raises(SignerUntrusted):
        admit(authority, sign(authority, issuer=issuer, claims=claims()))


# --- builder -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "builder",
    [
        "https://github.com/slsa-framework/builder/.github/workflows/trusted.yml@refs/tags/v1",
        f"{WORKFLOW}@refs/heads/main",
        f"{IDENTITY}.evil",
        WORKFLOW,
        IDENTITY.replace("acme", "Acme"),
        "https://github.com/actions/runner/self-hosted",
    ],
)
def test_builder_that_the_certificate_does_not_name_is_refused(
    authority: TestAuthority, builder: str
) -> None:
    with pytest.raises(BuilderUntrusted):
        # The policy trusts the claimed builder; the certificate does not prove it.
        admit(authority, sign(authority, statement(builder=builder)), builders=[{"id": builder}])


def test_builder_is_no_prefix(authority: TestAuthority) -> None:
    admit(authority, sign(authority), builders=[{"id": WORKFLOW}])
    for prefix in (WORKFLOW[:-1], WORKFLOW.removesuffix(".yml"), REPOSITORY, "https://github.com/"):
        with pytest.raises(BuilderUntrusted):
            admit(authority, sign(authority), builders=[{"id": prefix}])


def test_builder_without_a_ref_is_taken_at_tags_only(authority: TestAuthority) -> None:
    identity = f"{WORKFLOW}@refs/heads/main"
    signers = [{"name": "ci", "root": "ours", "issuer": GITHUB_ISSUER, "identity": identity}]
    envelope = sign(authority, statement(builder=identity, ref="refs/heads/main"), identity=identity)
    anywhere = [{"uri": REPOSITORY}]
    with pytest.raises(BuilderUntrusted):
        admit(authority, envelope, signers=signers, sources=anywhere)
    pinned = [{"id": WORKFLOW, "ref": "refs/heads/main"}]
    assert (
        admit(authority, envelope, signers=signers, sources=anywhere, builders=pinned).builder == identity
    )


def test_unpinned_reusable_workflow_is_refused(authority: TestAuthority) -> None:
    with pytest.raises(BuilderUntrusted):
        admit(
            authority,
            sign(
                authority,
                statement(builder=WORKFLOW),
                identity=WORKFLOW,
                claims=claims(build_signer_uri=WORKFLOW),
            ),
            signers=[{"name": "ci", "root": "ours", "issuer": GITHUB_ISSUER, "identity": WORKFLOW}],
        )


def test_exact_builder_with_its_ref(authority: TestAuthority) -> None:
    assert admit(authority, sign(authority), builders=[{"id": IDENTITY}]).builder == IDENTITY
    with pytest.raises(BuilderUntrusted):
        admit(authority, sign(authority), builders=[{"id": IDENTITY + "4"}])


@pytest.mark.parametrize("runner", ["self-hosted", None])
def test_self_hosted_runner_needs_the_policys_word(authority: TestAuthority, runner: str | None) -> None:
    envelope = sign(authority, claims=claims(runner_environment=runner))
    with pytest.raises(BuilderUntrusted, match="runner"):
        admit(authority, envelope)
    assert admit(authority, envelope, allow_self_hosted=True).builder == IDENTITY


def test_runner_in_the_statement_counts_too(authority: TestAuthority) -> None:
    payload = statement(internal_parameters={"github": {"runner_environment": "self-hosted"}})
    with pytest.raises(BuilderUntrusted, match="runner"):
        admit(authority, sign(authority, payload))


def test_runner_builder_id_is_bound_to_the_runner_claim(authority: TestAuthority) -> None:
    hosted = "https://github.com/actions/runner/github-hosted"
    payload = statement(builder=hosted)
    assert admit(authority, sign(authority, payload), builders=[{"id": hosted}]).builder == hosted
    with pytest.raises(BuilderUntrusted):
        admit(
            authority,
            sign(authority, payload, claims=claims(runner_environment="self-hosted")),
            builders=[{"id": hosted}],
            allow_self_hosted=True,
        )


def test_signer_uri_claim_must_be_the_identity(authority: TestAuthority) -> None:
    other = claims(build_signer_uri=f"{WORKFLOW}@refs/tags/v9")
    with pytest.raises(BuilderUntrusted, match="signer_uri"):
        admit(authority, sign(authority, claims=other))


def delegated(authority: TestAuthority, identity: str, **changes: Any) -> Any:
    seen = claims(build_signer_uri=identity)
    envelope = sign(
        authority, statement(builder=f"{MAVEN}@refs/tags/v2.1.0"), identity=identity, claims=seen
    )
    signers = [
        {"name": "d", "root": "ours", "issuer": GITHUB_ISSUER, "identity": f"{GENERATOR}*@refs/tags/*"},
        {"name": "m", "root": "ours", "issuer": GITHUB_ISSUER, "identity": f"{GENERATOR}*@refs/heads/*"},
    ]
    builder = {"id": MAVEN, "delegated_by": DELEGATOR} | changes
    return admit(authority, envelope, signers=signers, builders=[builder])


def test_delegation_is_explicit_exact_and_at_a_tag(authority: TestAuthority) -> None:
    assert delegated(authority, f"{DELEGATOR}@refs/tags/v2.1.0").builder == f"{MAVEN}@refs/tags/v2.1.0"
    for identity in (
        f"{DELEGATOR}@refs/heads/main",
        f"{GENERATOR}delegator_generic_slsa3.yml.evil@refs/tags/v2.1.0",
    ):
        with pytest.raises(BuilderUntrusted):
            delegated(authority, identity)
    with pytest.raises(BuilderUntrusted):
        delegated(authority, f"{DELEGATOR}@refs/tags/v2.1.0", delegated_by=None)
    with pytest.raises(BuilderUntrusted):
        delegated(authority, f"{DELEGATOR}@refs/tags/v2.1.0", delegator_ref="refs/tags/v9")


def test_github_builder_needs_a_github_certificate(authority: TestAuthority) -> None:
    signers = [
        {"name": "x", "root": "ours", "issuer": "https://idp.example", "identity": "ci@acme.example"}
    ]
    envelope = sign(authority, identity="ci@acme.example", issuer="https://idp.example")
    with pytest.raises(BuilderUntrusted):
        admit(authority, envelope, signers=signers)


# --- source ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"source_repository_uri": "https://github.com/evil/cvm"},
        {"source_repository_ref": "refs/heads/main"},
        {"source_repository_digest": "b" * 40},
        {"build_config_uri": f"{REPOSITORY}/.github/workflows/other.yml@{REF}"},
        {"source_repository_uri": None},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_statement_that_the_certificate_contradicts_is_refused(
    authority: TestAuthority, changes: dict[str, str | None]
) -> None:
    with pytest.raises(SourceUntrusted):
        admit(authority, sign(authority, claims=claims(**changes)), sources=[])


def test_old_certificates_name_the_source_by_their_old_claims(authority: TestAuthority) -> None:
    old = {
        "runner_environment": "github-hosted",
        "github_workflow_repository": "acme/cvm",
        "github_workflow_ref": REF,
        "github_workflow_sha": "a" * 40,
    }
    assert admit(authority, sign(authority, claims=old)).source_uri == REPOSITORY
    with pytest.raises(SourceUntrusted):
        admit(authority, sign(authority, claims=old | {"github_workflow_repository": "evil/cvm"}))


@pytest.mark.parametrize(
    "sources",
    [
        [{"uri": "https://github.com/acme/cvm.evil"}],
        [{"uri": "https://github.com/acme/cv"}],
        [{"uri": "https://github.com/acme"}],
        [{"uri": "https://github.com/Acme/cvm"}],
        [{"uri": REPOSITORY, "refs": ["refs/heads/v1.2.3"]}],
        [{"uri": REPOSITORY, "refs": ["refs/tags/v1"]}],
        [{"uri": REPOSITORY, "branches": ["refs/heads/main"]}],
    ],
    ids=str,
)
def test_other_sources_refs_and_branches_are_refused(
    authority: TestAuthority, sources: list[dict[str, Any]]
) -> None:
    with pytest.raises(SourceUntrusted):
        admit(authority, sign(authority), sources=sources)


def test_branch_of_a_tag_build_is_the_builders_record(authority: TestAuthority) -> None:
    payload = statement(internal_parameters={"GITHUB_EVENT_PAYLOAD": {"base_ref": "refs/heads/main"}})
    on_main = [{"uri": REPOSITORY, "branches": ["refs/heads/main"]}]
    assert admit(authority, sign(authority, payload), sources=on_main).source_uri == REPOSITORY
    with pytest.raises(SourceUntrusted):
        admit(
            authority,
            sign(authority, payload),
            sources=[{"uri": REPOSITORY, "branches": ["refs/heads/release"]}],
        )


def test_recorded_branch_cannot_override_the_certificates(authority: TestAuthority) -> None:
    identity, ref = f"{WORKFLOW}@refs/heads/feature", "refs/heads/feature"
    payload = statement(
        builder=identity,
        ref=ref,
        internal_parameters={"GITHUB_EVENT_PAYLOAD": {"base_ref": "refs/heads/main"}},
    )
    with pytest.raises(SourceUntrusted):
        admit(
            authority,
            sign(authority, payload, identity=identity),
            signers=[{"name": "ci", "root": "ours", "issuer": GITHUB_ISSUER, "identity": identity}],
            builders=[{"id": WORKFLOW, "ref": ref}],
            sources=[{"uri": REPOSITORY, "branches": ["refs/heads/main"]}],
        )


# --- predicate ---------------------------------------------------------------------------------


def test_predicate_type_is_one_of_the_policys(authority: TestAuthority) -> None:
    with pytest.raises(PredicateUnexpected):
        admit(authority, sign(authority), predicate_types=["https://example.org/x"])


def workflow_with(**parameters: Any) -> dict[str, Any]:
    workflow = {"ref": REF, "repository": REPOSITORY, "path": ".github/workflows/build.yml"}
    return {"workflow": workflow} | parameters


def test_unrecognised_external_parameter_is_refused_unless_expected(authority: TestAuthority) -> None:
    envelope = sign(authority, statement(external_parameters=workflow_with(debug="true")))
    with pytest.raises(PredicateUnexpected):
        admit(authority, envelope)
    assert admit(authority, envelope, external_parameters=["debug"]).builder == IDENTITY


def test_inputs_that_a_person_typed_are_refused_unless_expected(authority: TestAuthority) -> None:
    typed = sign(authority, statement(external_parameters=workflow_with(inputs={"target": "prod"})))
    event = sign(
        authority,
        statement(internal_parameters={"GITHUB_EVENT_PAYLOAD": {"inputs": {"target": "prod"}}}),
    )
    for envelope in (typed, event):
        with pytest.raises(PredicateUnexpected):
            admit(authority, envelope)
        with pytest.raises(PredicateUnexpected):
            admit(authority, envelope, dispatch_inputs={"target": "dev"})
        admit(authority, envelope, dispatch_inputs={"target": "prod"})
        admit(authority, envelope, dispatch_inputs={"target": None})


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"workflow": "x"},
        {"workflow": {"ref": REF}},
        {"workflow": {"ref": 1, "repository": "", "path": ""}},
    ],
)
def test_malformed_workflow_parameters_are_refused(
    authority: TestAuthority, parameters: dict[str, Any]
) -> None:
    with pytest.raises(PredicateUnexpected):
        admit(authority, sign(authority, statement(external_parameters=parameters)))


def test_too_old_a_signature_is_refused_by_logged_time(authority: TestAuthority) -> None:
    envelope = sign(authority)
    admit(authority, envelope, now=NOW + timedelta(hours=1), max_age_seconds=3600)
    with pytest.raises(TrustRefused):
        admit(authority, envelope, now=NOW + timedelta(hours=1, seconds=6), max_age_seconds=3600)


def test_refusal_carries_every_check_before_it(authority: TestAuthority) -> None:
    with pytest.raises(TouchstoneError) as caught:
        admit(authority, sign(authority), sources=[{"uri": "github.com/other/thing"}])
    names = [check.name for check in caught.value.checks]
    assert names[-1] == "trust.source"
    assert {"log.inclusion", "certificate.sct", "bundle.signature", "github.builder"} <= set(names)
