"""What Cloud Build's provenance states, bound to its key, under builders and sources of a trust policy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.errors import TouchstoneError
from provenance.errors import (
    BuilderUntrusted,
    BuildTypeUnexpected,
    PredicateUnexpected,
    RefNotStated,
    SourceUntrusted,
)
from provenance.pipeline import Pipeline
from provenance.predicates import gcb, slsa
from provenance.predicates.slsa import BuildFacts
from provenance.statement import from_document
from testkit.authority import TestAuthority
from tests.provenance.builds import sign
from tests.provenance.gcb.cloud_build import (
    BUILDER,
    COMMIT,
    EAST,
    NOW,
    REPOSITORY,
    SIGNER,
    V1,
    WORKER,
    admit,
    described,
    occurrence,
    pem,
    policy,
    private,
    statement_v01,
    statement_v1,
)

RegorusEngine = pytest.importorskip("policy.regorus_engine").RegorusEngine


def signed_v01(**changes: Any) -> dict[str, Any]:
    return described(occurrence(statement_v01(**changes)))


def signed_v1(statement: dict[str, Any]) -> dict[str, Any]:
    return described(occurrence(statement, named=WORKER))


def arguments(**substitutions: Any) -> dict[str, Any]:
    recipe = statement_v01()["predicate"]["recipe"]
    recipe["arguments"]["substitutions"] = substitutions
    return recipe


def old_builder(**changes: Any) -> dict[str, Any]:
    """The predicate as builder v0.2 wrote it."""
    recipe = statement_v01()["predicate"]["recipe"] | {"type": f"{BUILDER}@v0.2"}
    materials = [{"uri": f"{REPOSITORY}/commit/{COMMIT}"}]
    return {"builder": {"id": f"{BUILDER}@v0.2"}, "recipe": recipe, "materials": materials} | changes


def facts_of(statement: dict[str, Any]) -> BuildFacts:
    found = gcb.facts_of(from_document(statement))
    assert found is not None
    return found


def test_both_versions_give_the_same_facts() -> None:
    for statement in (statement_v01(), statement_v1(), statement_v01(**old_builder())):
        facts = facts_of(statement)
        assert (facts.source_uri, facts.source_revision) == (REPOSITORY, COMMIT)
        assert (facts.source_ref, facts.entry_point) == ("refs/tags/v1.2.3", "cloudbuild.yaml")
        assert facts.unrecognised == ()
        assert facts.trigger in ("Tag", "projects/1/triggers/2")
        assert facts.materials


def test_other_predicates_and_builders_are_not_read_as_cloud_builds() -> None:
    github = statement_v1()
    github["predicate"]["runDetails"]["builder"]["id"] = "https://github.com/acme/b"
    github["predicate"]["buildDefinition"]["buildType"] = "https://example.com/other"
    assert gcb.facts_of(from_document(github)) is None
    assert slsa.facts_of(from_document(github)) is not None
    strange = statement_v01(builder={"id": "https://example.com/builder"})
    assert gcb.facts_of(from_document(strange)) is None
    assert gcb.facts_of(from_document(strange | {"predicateType": "https://example.com/x"})) is None


# --- builder and build type --------------------------------------------------------------------


@pytest.mark.parametrize(
    "builder",
    [
        f"{BUILDER}@v0.1",
        f"{BUILDER}@v0.33",
        BUILDER,
        f"{BUILDER}@refs/tags/v1",
        "https://cloudbuild.googleapis.com/CustomerWorker@v0.3",
        "https://example.com/builder",
        "https://github.com/acme/cvm/.github/workflows/build.yml@refs/tags/v1",
    ],
)
def test_builder_that_the_key_does_not_sign_for_is_refused(builder: str) -> None:
    with pytest.raises(BuilderUntrusted):
        admit(signed_v01(builder={"id": builder}), builders=[])


@pytest.mark.parametrize("builder", [f"{BUILDER}@v0.3", "https://example.com/builder"])
def test_builder_of_v1_has_no_version(builder: str) -> None:
    statement = statement_v1()
    statement["predicate"]["runDetails"]["builder"]["id"] = builder
    with pytest.raises(BuilderUntrusted):
        admit(signed_v1(statement), builders=[])


@pytest.mark.parametrize(
    ("builder", "admitted"),
    [
        (BUILDER, True),
        (f"{BUILDER}@v0.3", True),
        (f"{BUILDER}@v0.2", False),
        (f"{BUILDER}@v0", False),
        (BUILDER[:-1], False),
        (f"{BUILDER}/", False),
    ],
)
def test_policy_names_the_builder_whole_or_without_version(builder: str, admitted: bool) -> None:
    if admitted:
        assert admit(signed_v01(), builders=[{"id": builder}]).builder == f"{BUILDER}@v0.3"
    else:
        with pytest.raises(BuilderUntrusted):
            admit(signed_v01(), builders=[{"id": builder}])


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": arguments() | {"type": "https://cloudbuild.googleapis.com/CloudBuildOther@v0.1"}},
        {"recipe": arguments() | {"type": f"{BUILDER}@v0.3"}},
        {"recipe": arguments() | {"type": ""}},
        old_builder(recipe=arguments()),
        old_builder(recipe=arguments() | {"type": f"{BUILDER}@v0.3"}),
    ],
)
def test_build_type_of_another_builder_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BuildTypeUnexpected):
        admit(signed_v01(**changes))


def test_build_type_of_v1_is_exact() -> None:
    statement = statement_v1()
    statement["predicate"]["buildDefinition"]["buildType"] += "/"
    with pytest.raises(BuildTypeUnexpected):
        admit(signed_v1(statement))


@pytest.mark.parametrize("value", ["type.googleapis.com/google.devtools.cloudbuild.v2.Build", "", 1, None])
def test_arguments_of_another_type_are_refused(value: object) -> None:
    recipe = arguments()
    recipe["arguments"]["@type"] = value
    with pytest.raises(BuilderUntrusted):
        admit(signed_v01(recipe=recipe))


def test_certificate_cannot_speak_for_cloud_build(authority: TestAuthority) -> None:
    statement = json.dumps(statement_v1()).encode()
    issuer = "https://accounts.example.com"
    envelope = sign(authority, statement, identity="ci@example.com", issuer=issuer, claims={})
    changes = {
        "roots": [{"name": "ours", "kind": "sigstore", "trusted_root": authority.trusted_root()}],
        "signers": [{"name": "ci", "root": "ours", "issuer": issuer, "identity": "ci@example.com"}],
    }
    with pytest.raises(BuilderUntrusted):
        Pipeline(policy(**changes)).admit(envelope, NOW)


# --- source ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "https://github.com/acme/cv",
        "https://github.com/acme/cvm2",
        "https://github.com/evil/cvm",
        "https://github.com/acme",
        f"{REPOSITORY}/commit",
    ],
)
def test_other_sources_are_refused(uri: str) -> None:
    for document in (signed_v01(), signed_v01(**old_builder()), signed_v1(statement_v1())):
        with pytest.raises(SourceUntrusted):
            admit(document, sources=[{"uri": uri}])


@pytest.mark.parametrize("uri", [f"git+{REPOSITORY}", f"{REPOSITORY}.git", f"git+{REPOSITORY}.git"])
def test_spellings_of_the_source_are_one(uri: str) -> None:
    materials = [{"uri": uri, "digest": {"sha1": COMMIT}}]
    assert admit(signed_v01(materials=materials)).source_uri == REPOSITORY
    assert admit(signed_v01(), sources=[{"uri": uri.removeprefix("git+https://")}]).source_uri == REPOSITORY


@pytest.mark.parametrize(
    "materials",
    [
        None,
        [],
        [{"digest": {"sha1": COMMIT}}],
        [{"uri": "gs://acme_cloudbuild/source/1.tgz#1"}],
        [{"uri": "http://github.com/acme/cvm"}],
        [{"uri": f"{REPOSITORY}/../evil"}],
        [{"uri": "https://github.com/evil/x"}, {"uri": REPOSITORY}],
        [{"uri": f"https://github.com/evil/x/commit/{COMMIT}?{REPOSITORY}"}],
    ],
)
def test_uploads_and_other_first_materials_are_no_source(materials: Any) -> None:
    with pytest.raises(SourceUntrusted):
        admit(signed_v01(materials=materials))


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": arguments(COMMIT_SHA="b" * 40)},
        {"materials": [{"uri": f"{REPOSITORY}/commit/{'b' * 40}", "digest": {"sha1": COMMIT}}]},
        {"materials": [{"uri": REPOSITORY, "digest": {"sha1": "main"}}], "recipe": arguments()},
        {"recipe": arguments(TAG_NAME=1)},
        {"recipe": arguments() | {"arguments": []}},
        {"recipe": {"type": 1}},
        {"builder": {}},
    ],
)
def test_predicate_that_contradicts_itself_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PredicateUnexpected):
        admit(signed_v01(**changes))


def test_contradictions_of_v1_are_refused() -> None:
    for wrong in (
        statement_v1(TAG_NAME="v9"),
        statement_v1(COMMIT_SHA="b" * 40),
        statement_v1("refs/heads/main", BRANCH_NAME="other"),
    ):
        with pytest.raises(PredicateUnexpected):
            admit(signed_v1(wrong))


def test_a_second_repository_leaves_the_source_open() -> None:
    statement = statement_v1()
    parameters = statement["predicate"]["buildDefinition"]["externalParameters"]
    parameters["sourceToBuild"] = dict(parameters["buildConfigSource"])
    assert admit(signed_v1(statement)).source_uri == REPOSITORY
    parameters["sourceToBuild"]["repository"] = "https://github.com/evil/x"
    with pytest.raises(SourceUntrusted):
        admit(signed_v1(statement))


# --- tags and branches -------------------------------------------------------------------------


def of(**members: Any) -> list[dict[str, Any]]:
    return [{"uri": REPOSITORY, **members}]


@pytest.mark.parametrize("document", [signed_v01(), signed_v1(statement_v1())])
def test_tags_are_those_that_the_trigger_names(document: dict[str, Any]) -> None:
    assert admit(document, sources=of(refs=["refs/tags/v1.*"])).builder
    assert admit(document, sources=of(workflows=["cloudbuild.yaml"])).builder
    for refs in (["refs/tags/v1"], ["refs/tags/v2.*"], ["refs/heads/v1.2.3"]):
        with pytest.raises(SourceUntrusted) as refused:
            admit(document, sources=of(refs=refs))
        assert refused.value.code == "statement.untrusted_source"


@pytest.mark.parametrize(
    ("document", "members"),
    [
        (signed_v01(recipe=arguments(BRANCH_NAME="main")), {"branches": ["refs/heads/main"]}),
        (signed_v01(recipe=arguments(BRANCH_NAME="main")), {"refs": ["refs/heads/main"]}),
        (signed_v01(recipe=arguments()), {"refs": ["refs/tags/*"]}),
        (signed_v1(statement_v1(TAG_NAME="")), {"refs": ["refs/tags/*"]}),
        (signed_v1(statement_v1("refs/heads/main", TAG_NAME="main")), {"branches": ["refs/heads/main"]}),
        (signed_v1(statement_v1()), {"branches": ["refs/heads/main"]}),
    ],
)
def test_ref_that_is_not_proven_has_a_code_of_its_own(
    document: dict[str, Any], members: dict[str, Any]
) -> None:
    assert admit(document).builder
    with pytest.raises(RefNotStated):
        admit(document, sources=of(**members))


def test_branch_of_v1_counts_where_the_trigger_names_it_too() -> None:
    document = signed_v1(statement_v1("refs/heads/main", BRANCH_NAME="main", TAG_NAME=""))
    assert admit(document, sources=of(branches=["refs/heads/main"])).builder
    with pytest.raises(SourceUntrusted):
        admit(document, sources=of(branches=["refs/heads/other"]))


# --- parameters, and what else decides ---------------------------------------------------------


def test_substitutions_that_somebody_chose_are_external_parameters() -> None:
    statement = statement_v1()
    statement["predicate"]["buildDefinition"]["externalParameters"]["substitutions"] = {"_TARGET": "evil"}
    for document in (signed_v01(recipe=arguments(_TARGET="evil")), signed_v1(statement)):
        with pytest.raises(PredicateUnexpected):
            admit(document)
        assert admit(document, external_parameters=["substitutions._TARGET"]).builder
        assert admit(document, parameter_values={"substitutions._TARGET": ["evil"]}).builder
        with pytest.raises(PredicateUnexpected):
            admit(document, parameter_values={"substitutions._TARGET": ["good"]})


def test_rego_sees_google_behind_the_source() -> None:
    rego = (
        "package trust\nimport rego.v1\ndefault allow := false\n"
        'allow if { input.origin.proven; input.build.trigger == "Tag"; input.signers[0].kind == "key" }'
    )
    document = json.dumps(signed_v01()).encode()
    assert Pipeline(policy(rego=rego), RegorusEngine()).admit(document, NOW).source_uri == REPOSITORY


def test_raw_key_with_the_same_words_is_not_google() -> None:
    root = {
        "name": "own",
        "kind": "public-key",
        "algorithm": "ecdsa-p256-sha256",
        "key": pem(private(EAST)),
    }
    changes = {"roots": [root], "signers": [{"name": "own", "root": "own"}]}
    with pytest.raises(TouchstoneError):
        admit(signed_v01(), **changes)
    envelope = occurrence(statement_v1(), named=SIGNER)["envelope"]
    envelope["signatures"][0]["keyid"] = ""
    signer = {**root, "key": pem(private(SIGNER))}
    admitted = Pipeline(policy(roots=[signer], signers=changes["signers"], predicate_types=[V1])).admit(
        json.dumps(envelope).encode(), NOW
    )
    # What such a key's holder states is taken as that, and is not proven.
    assert admitted.authentic.signers[0].claims == {}
