"""A proposed policy admits its example and its release line, and nothing else."""

from __future__ import annotations

import json
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import StatementError
from provenance import trust
from provenance.errors import BuilderUntrusted, PredicateUnexpected
from provenance.pipeline import Pipeline
from provenance.trust import proposal, toml_text
from testkit.authority import TestAuthority, TestKey, github_claims, sign_dsse
from tests.provenance.builds import IDENTITY, NOW, REF, REPOSITORY, WORKFLOW, sign, statement

GENERATOR = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
LATER = NOW + timedelta(days=1)


def roots(authority: TestAuthority) -> list[dict[str, Any]]:
    return [{"name": "root", "kind": "sigstore", "trusted_root": authority.trusted_root()}]


def propose(authority: TestAuthority, envelope: bytes) -> proposal.Proposal:
    authentic = proposal.authenticate(envelope, roots(authority), NOW)
    return proposal.propose(authentic, roots(authority), name="releases", now=NOW)


def written(authority: TestAuthority, envelope: bytes, folder: Path) -> Pipeline:
    """The policy as its file says it."""
    (folder / "root.json").write_bytes(authority.trusted_root_json())
    files = [{"name": "root", "kind": "sigstore", "trusted_root_file": "root.json"}]
    (folder / "trust.toml").write_text(toml_text.render(propose(authority, envelope), files))
    return Pipeline(trust.load_file(folder / "trust.toml"))


def build(authority: TestAuthority, identity: str = IDENTITY, **changes: Any) -> bytes:
    repository = identity.partition("/.github/")[0]
    ref = identity.partition("@")[2]
    path = ".github/" + identity.partition("/.github/")[2].partition("@")[0]
    payload = statement(builder=identity, source_uri=repository, ref=ref, workflow=path, **changes)
    return sign(authority, payload, identity=identity)


def test_example_and_the_next_release_are_admitted(authority: TestAuthority, tmp_path: Path) -> None:
    pipeline = written(authority, build(authority), tmp_path)
    for identity in (IDENTITY, f"{WORKFLOW}@refs/tags/v2.0.0", f"{WORKFLOW}@refs/tags/v10"):
        assert pipeline.admit(build(authority, identity), LATER).builder == identity


@pytest.mark.parametrize(
    "identity",
    [
        f"{WORKFLOW}@refs/heads/main",
        f"{WORKFLOW}@refs/heads/v1.2.3",
        f"{WORKFLOW}@refs/tags/nightly",
        f"{WORKFLOW}@refs/tags/v1/evil",
        f"{WORKFLOW}@refs/pull/1/merge",
        f"{REPOSITORY}/.github/workflows/other.yml@{REF}",
        f"{REPOSITORY}.evil/.github/workflows/build.yml@{REF}",
        f"https://github.com/evil/cvm/.github/workflows/build.yml@{REF}",
    ],
)
def test_other_repositories_refs_and_workflows_are_refused(
    authority: TestAuthority, tmp_path: Path, identity: str
) -> None:
    pipeline = written(authority, build(authority), tmp_path)
    with pytest.raises(StatementError):
        pipeline.admit(build(authority, identity), LATER)


def test_reusable_builder_is_bound_to_the_calling_repository_and_workflow(
    authority: TestAuthority, tmp_path: Path
) -> None:
    builder = f"{GENERATOR}generator_generic_slsa3.yml@refs/tags/v2.1.0"

    def call(caller: str = WORKFLOW, repository: str = REPOSITORY) -> bytes:
        claims = github_claims(builder) | {
            "source_repository_uri": repository,
            "source_repository_ref": REF,
            "build_config_uri": f"{caller}@{REF}",
        }
        path = caller.removeprefix(f"{repository}/")
        payload = statement(builder=builder, source_uri=repository, workflow=path)
        return sign(authority, payload, identity=builder, claims=claims)

    pipeline = written(authority, call(), tmp_path)
    assert pipeline.admit(call(), LATER).source_uri == REPOSITORY
    evil = "https://github.com/evil/cvm"
    for other in (call(f"{REPOSITORY}/.github/workflows/other.yml"), call(f"{evil}/.github/x.yml", evil)):
        with pytest.raises(StatementError):
            pipeline.admit(other, LATER)


def test_delegated_builder_names_its_delegator(authority: TestAuthority, tmp_path: Path) -> None:
    delegator = f"{GENERATOR}delegator_generic_slsa3.yml@refs/tags/v2.1.0"
    maven = f"{GENERATOR}builder_maven_slsa3.yml@refs/tags/v2.1.0"
    claims = github_claims(IDENTITY) | {"build_signer_uri": delegator}
    example = sign(authority, statement(builder=maven), identity=delegator, claims=claims)
    assert written(authority, example, tmp_path).admit(example, LATER).builder == maven
    (entry,) = propose(authority, example).members["builders"]
    assert entry["delegated_by"] == delegator.partition("@")[0]


def test_branch_build_is_proposed_for_that_branch_alone(authority: TestAuthority, tmp_path: Path) -> None:
    main = f"{WORKFLOW}@refs/heads/main"
    pipeline = written(authority, build(authority, main), tmp_path)
    pipeline.admit(build(authority, main), LATER)
    for identity in (f"{WORKFLOW}@refs/heads/main2", IDENTITY):
        with pytest.raises(StatementError):
            pipeline.admit(build(authority, identity), LATER)


def test_parameters_are_proposed_with_their_values(authority: TestAuthority, tmp_path: Path) -> None:
    workflow = {"ref": REF, "repository": REPOSITORY, "path": ".github/workflows/build.yml"}

    def with_level(level: int, **inputs: str) -> bytes:
        given = {"workflow": workflow, "level": level, "matrix": {"a": 1}, "inputs": inputs}
        return sign(authority, statement(external_parameters=given))

    pipeline = written(authority, with_level(1, target="prod"), tmp_path)
    pipeline.admit(with_level(1, target="prod"), LATER)
    for other in (with_level(2, target="prod"), with_level(1, target="dev"), with_level(1, extra="x")):
        with pytest.raises(PredicateUnexpected):
            pipeline.admit(other, LATER)


def test_self_hosted_example_says_so_in_the_policy(authority: TestAuthority) -> None:
    claims = github_claims(IDENTITY) | {"runner_environment": "self-hosted"}
    found = propose(authority, sign(authority, claims=claims))
    assert found.members["allow_self_hosted"] is True
    assert "MIND" in toml_text.render(found, found.roots[:0])


def test_raw_key_example() -> None:
    key = TestKey()
    other = TestKey()
    root = [key.root("k")]
    envelope = sign_dsse(statement(), [(key, key.spki_sha256)])
    found = proposal.propose(proposal.authenticate(envelope, root, NOW), root, name="x", now=NOW)
    policy = trust.parse(json.dumps(found.members | {"roots": root}).encode())
    assert Pipeline(policy).admit(envelope, NOW).source_uri == REPOSITORY
    with pytest.raises(StatementError):
        Pipeline(policy).admit(sign_dsse(statement(), [(other, other.spki_sha256)]), NOW)


def test_example_that_no_policy_admits_gives_none() -> None:
    key = TestKey()
    root = [key.root("k")]
    # A workflow without a ref is whatever its default branch holds: no policy can name it.
    envelope = sign_dsse(statement(builder=WORKFLOW), [(key, key.spki_sha256)])
    authentic = proposal.authenticate(envelope, root, NOW)
    with pytest.raises(BuilderUntrusted):
        proposal.propose(authentic, root, name="x", now=NOW)


def test_example_of_a_stranger_is_refused_first(authority: TestAuthority, stranger: TestAuthority) -> None:
    with pytest.raises(StatementError):
        propose(authority, build(stranger))
    tampered = build(authority).replace(b'"payload":"e', b'"payload":"f', 1)
    with pytest.raises(StatementError):
        propose(authority, tampered)


def test_example_that_its_certificate_contradicts_gives_no_policy(authority: TestAuthority) -> None:
    borrowed = sign(authority, statement(builder="https://github.com/other/x/.github/workflows/b.yml@main"))
    lying = sign(authority, statement(source_uri="https://github.com/other/x"))
    with pytest.raises(StatementError):
        propose(authority, lying)
    # A builder that the workflow would have to speak for is shown as what it is: a delegation.
    (entry,) = propose(authority, borrowed).members["builders"]
    assert entry["delegated_by"] == WORKFLOW


@pytest.mark.parametrize(
    ("ref", "glob"),
    [
        ("refs/tags/v1.2.3", "refs/tags/v*"),
        ("refs/tags/1.0", "refs/tags/*"),
        ("refs/tags/image/v3", "refs/tags/image/v*"),
        ("refs/tags/stable", "refs/tags/stable"),
        ("refs/heads/release-1", "refs/heads/release-1"),
    ],
)
def test_tag_is_narrowed_to_its_release_line(ref: str, glob: str) -> None:
    assert proposal.narrowed(ref) == glob


@given(
    st.recursive(
        st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    )
)
@settings(max_examples=150, deadline=None)
def test_whatever_a_build_states_reads_back_as_written(authority: TestAuthority, value: Any) -> None:
    found = _example(authority)
    changed = proposal.Proposal({"dispatch_inputs": {"x": value}}, (), found.authentic)
    assert tomllib.loads(toml_text.render(changed, []))["dispatch_inputs"]["x"] == value


_CACHE: list[proposal.Proposal] = []


def _example(authority: TestAuthority) -> proposal.Proposal:
    if not _CACHE:
        _CACHE.append(propose(authority, build(authority)))
    return _CACHE[0]
