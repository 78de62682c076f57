"""Facts out of provenance predicates of both versions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance.errors import PredicateUnexpected
from provenance.model import Statement, Subject
from provenance.predicates import slsa
from provenance.predicates.slsa import BuildFacts

SOURCE = "https://github.com/acme/cvm"
SHA = "a" * 40
SUBJECTS = (Subject("x", {"sha256": "ab" * 32}),)


def facts(predicate: dict[str, Any], kind: str = slsa.SLSA_V1) -> BuildFacts:
    found = slsa.facts_of(Statement("https://in-toto.io/Statement/v1", SUBJECTS, kind, predicate))
    assert found is not None
    return found


def v1(build_type: str, external: Any, dependencies: Any = (), internal: Any = None) -> dict[str, Any]:
    return {
        "buildDefinition": {
            "buildType": build_type,
            "externalParameters": external,
            "internalParameters": internal or {},
            "resolvedDependencies": list(dependencies),
        },
        "runDetails": {"builder": {"id": "https://builder.example/b"}, "vendor_extension": {}},
    }


def git(ref: str = "@refs/tags/v1", sha: str = SHA, uri: str = SOURCE) -> dict[str, Any]:
    return {"uri": f"git+{uri}{ref}", "digest": {"gitCommit": sha}}


def test_other_predicates_have_no_facts() -> None:
    other = Statement("https://in-toto.io/Statement/v1", SUBJECTS, "https://example.org/x", {})
    assert slsa.facts_of(other) is None


def test_unknown_build_type_takes_the_only_git_source_and_recognises_nothing() -> None:
    found = facts(v1("https://builder.example/type/v1", {"a": 1, "b": 2}, [git(), {"uri": "pkg:npm/x"}]))
    assert (found.source_uri, found.source_ref, found.source_revision) == (SOURCE, "refs/tags/v1", SHA)
    assert found.unrecognised == ("a", "b")


def test_several_git_sources_are_no_source() -> None:
    found = facts(v1("https://builder.example/type/v1", {}, [git(), git(uri="https://github.com/o/p")]))
    assert (found.source_uri, found.source_revision) == (None, None)


def test_materials_are_the_resolved_dependencies_as_stated() -> None:
    base = {"uri": "pkg:oci/base", "digest": {"sha256": "ab" * 32, "sha512": "cd" * 64}}
    found = facts(v1("https://builder.example/type/v1", {}, [git(), base, {"name": "nothing said"}]))
    assert [item.uri for item in found.materials] == [f"git+{SOURCE}@refs/tags/v1", "pkg:oci/base"]
    assert found.materials[1].digest == base["digest"]


def test_materials_of_v02_are_its_materials() -> None:
    predicate = {
        "builder": {"id": "https://builder.example/b"},
        "buildType": "https://builder.example/type/v1",
        "materials": [{"uri": "pkg:oci/base"}, {"digest": {"sha256": "ab" * 32}}],
    }
    found = facts(predicate, slsa.SLSA_V02)
    assert [(item.uri, item.digest) for item in found.materials] == [
        ("pkg:oci/base", {}),
        (None, {"sha256": "ab" * 32}),
    ]


@pytest.mark.parametrize(
    "dependencies",
    [
        [{"uri": "pkg:" + "a" * 2100}],
        [{"uri": "pkg:a\u0000b"}],
        [{"uri": "pkg:a", "digest": {"sha256": "a" * 300}}],
        [{"uri": "pkg:a", "digest": {"": "aa"}}],
        [{"uri": "pkg:a", "digest": {f"a{index}": "aa" for index in range(9)}}],
        [{"uri": f"pkg:{index}"} for index in range(slsa.MAX_MATERIALS + 1)],
    ],
)
def test_materials_that_could_not_be_found_again_are_refused(dependencies: Any) -> None:
    with pytest.raises(PredicateUnexpected):
        facts(v1("https://builder.example/type/v1", {}, dependencies))


def test_two_revisions_of_one_source_are_refused() -> None:
    with pytest.raises(PredicateUnexpected):
        facts(v1("https://builder.example/type/v1", {}, [git(), git(sha="b" * 40)]))


def test_container_build_names_source_and_configuration() -> None:
    external = {
        "source": {"uri": f"git+{SOURCE}@refs/tags/v1", "digest": {"sha1": SHA}},
        "builderImage": {},
        "configPath": "build.toml",
        "buildConfig": {},
    }
    found = facts(v1(slsa.CONTAINER_BUILD_TYPES[0], external, [git()]))
    assert (found.source_uri, found.entry_point, found.unrecognised) == (SOURCE, "build.toml", ())
    assert found.source_revision == SHA


def test_delegated_build_takes_the_entry_point_that_the_runner_recorded() -> None:
    internal = {"GITHUB_WORKFLOW_REF": "acme/cvm/.github/workflows/r.yml@refs/tags/v1", "GITHUB_REF": "x"}
    found = facts(v1(slsa.DELEGATOR_BUILD_TYPE, {"inputs": {"a": 1}, "vars": {}}, [git()], internal))
    assert found.entry_point == ".github/workflows/r.yml"
    assert (found.unrecognised, found.dispatch_inputs) == ((), {})


def test_release_event_names_the_branch_by_its_target() -> None:
    internal = {"GITHUB_EVENT_PAYLOAD": {"release": {"target_commitish": "main"}}}
    found = facts(v1(slsa.DELEGATOR_BUILD_TYPE, {}, [git()], internal))
    assert found.branch == "refs/heads/main"


def v02(**changes: Any) -> dict[str, Any]:
    return {
        "builder": {"id": "https://builder.example/b"},
        "buildType": "https://github.com/slsa-framework/slsa-github-generator/generic@v1",
        "invocation": {
            "configSource": {
                "uri": f"git+{SOURCE}@refs/tags/v1",
                "digest": {"sha1": SHA},
                "entryPoint": ".github/workflows/r.yml",
            },
            "parameters": {},
            "environment": {"github_event_payload": {"base_ref": "refs/heads/main"}},
        },
        "materials": [{"uri": f"git+{SOURCE}@refs/tags/v1", "digest": {"sha1": SHA}}],
    } | changes


def test_v02_gives_the_same_facts() -> None:
    found = facts(v02(), slsa.SLSA_V02)
    assert (found.source_uri, found.source_ref, found.source_revision) == (SOURCE, "refs/tags/v1", SHA)
    assert (found.entry_point, found.branch) == (".github/workflows/r.yml", "refs/heads/main")


def test_v02_contradiction_and_unknown_parameters() -> None:
    with pytest.raises(PredicateUnexpected):
        facts(
            v02(materials=[{"uri": f"git+{SOURCE}@refs/tags/v1", "digest": {"sha1": "b" * 40}}]),
            slsa.SLSA_V02,
        )
    invocation = {"parameters": {"flag": 1, "event_inputs": {"who": "me"}}}
    found = facts(v02(invocation=invocation, materials=[]), slsa.SLSA_V02)
    assert (found.unrecognised, found.dispatch_inputs, found.source_uri) == (("flag",), {"who": "me"}, None)


@pytest.mark.parametrize(
    "predicate",
    [{}, {"buildDefinition": {}}, v1("t", []), v1("t", {}, [{"uri": 7}]), {"runDetails": None}],
    ids=str,
)
def test_malformed_predicate_is_refused(predicate: dict[str, Any]) -> None:
    with pytest.raises(PredicateUnexpected):
        facts(predicate)


_json = st.recursive(
    st.none() | st.integers() | st.sampled_from(["", SOURCE, f"git+{SOURCE}@x", "git+", "a/b/c@d"]),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["workflow", "ref", "repository", "path", "uri", "digest", "gitCommit", "inputs"]
            ),
            children,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(
    kind=st.sampled_from(
        [
            *slsa.WORKFLOW_BUILD_TYPES,
            *slsa.CONTAINER_BUILD_TYPES,
            slsa.DELEGATOR_BUILD_TYPE,
        ]
    ),
    external=_json,
    dependencies=st.lists(_json, max_size=2),
    internal=st.dictionaries(
        st.sampled_from(["GITHUB_EVENT_PAYLOAD", "GITHUB_REF", "GITHUB_WORKFLOW_REF", "github"]), _json
    ),
)
@settings(max_examples=200, deadline=None)
def test_any_predicate_gives_facts_or_our_error(
    kind: str, external: Any, dependencies: list[Any], internal: dict[str, Any]
) -> None:
    for predicate, version in (
        (v1(kind, external, dependencies, internal), slsa.SLSA_V1),
        (v02(invocation=external, materials=dependencies), slsa.SLSA_V02),
    ):
        try:
            facts(predicate, version)
        except TouchstoneError:
            continue
