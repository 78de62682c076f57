"""Google Cloud Build's provenance predicates.

Cloud Build writes SLSA provenance v0.1 (builders ``GoogleHostedWorker@v0.2`` and ``@v0.3``) and v1 (builder
without a version). ``facts_of`` gives the same ``BuildFacts`` as for other SLSA provenance, so that builder
and source rules of a trust policy need not know where a build ran. What is read:

* v0.1: the source is the *first* material, as ``.../commit/<sha>`` (v0.2) or URI and SHA-1 (v0.3); the tag
  is the substitution ``TAG_NAME``. No branch is proven.
* v1: source and ref are ``externalParameters.buildConfigSource``; a tag or branch counts where the system
  substitution says the same. A ``sourceToBuild`` that is another repository or ref leaves the source open:
  which of the two made the artefact is not stated.
* A source that is no ``https`` repository (``gs://`` uploads) is no source that a policy could name.
* Substitutions that a trigger or a person defined (``_NAME``) are external parameters,
  ``substitutions._NAME``.

These are claims of the signer. ``provenance.predicates.gcb_binding`` holds them against the key.

Source: slsa-framework/slsa-verifier v2.7.1, verifiers/internal/gcb (the same relations);
cloud.google.com/build/docs/securing-builds/generate-validate-build-provenance.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from provenance.errors import PredicateUnexpected, SourceUntrusted
from provenance.predicates import slsa_schema, source
from provenance.predicates.slsa import SLSA_V1, BuildFacts, materials_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provenance.model import Statement

PREDICATE_V01: Final = "https://slsa.dev/provenance/v0.1"
BUILDER: Final = "https://cloudbuild.googleapis.com/GoogleHostedWorker"
BUILDERS_V01: Final = (f"{BUILDER}@v0.2", f"{BUILDER}@v0.3")
BUILD_TYPE_V1: Final = "https://cloud.google.com/build/gcb-buildtypes/google-worker/v1"
_GIT_PREFIX: Final = "git+"
_COMMIT: Final = re.compile(r"(?P<uri>https://.+)/commit/(?P<sha>[0-9a-f]{40})\Z")
_SHA1: Final = re.compile(r"[0-9a-f]{40}\Z")
_TAGS: Final = "refs/tags/"
_BRANCHES: Final = "refs/heads/"
_KNOWN_PARAMETERS: Final = frozenset({"buildConfigSource", "sourceToBuild", "substitutions"})


class _Wire(msgspec.Struct, rename="camel"):
    pass


class Recipe(_Wire):
    """v0.1 ``recipe``."""

    type: str
    entry_point: str | None = None
    arguments: dict[str, Any] | None = None


class MetadataV01(_Wire):
    """v0.1 ``metadata``."""

    build_invocation_id: str | None = None


class ProvenanceV01(_Wire):
    """A v0.1 predicate."""

    builder: slsa_schema.Builder
    recipe: Recipe
    metadata: MetadataV01 | None = None
    materials: tuple[slsa_schema.Resource, ...] | None = None


class _ConfigSource(_Wire):
    repository: str
    ref: str
    path: str | None = None


def facts_of(statement: Statement) -> BuildFacts | None:
    """The build facts of a Cloud Build statement; None for another builder's or predicate type.

    Raises:
        PredicateUnexpected: the predicate is not of its type's schema, or contradicts itself.
    """
    try:
        if statement.predicate_type == PREDICATE_V01:
            old = msgspec.convert(statement.predicate, ProvenanceV01)
            return _facts_v01(old) if is_builder(old.builder.id) else None
        if statement.predicate_type == SLSA_V1:
            new = msgspec.convert(statement.predicate, slsa_schema.ProvenanceV1)
            ours = is_builder(new.run_details.builder.id)
            return _facts_v1(new) if ours or new.build_definition.build_type == BUILD_TYPE_V1 else None
    except msgspec.ValidationError as error:
        raise PredicateUnexpected(f"the provenance predicate is malformed: {str(error)[:200]}") from error
    return None


def is_builder(builder_id: str) -> bool:
    """Whether an id names Cloud Build, of whatever version."""
    return builder_id.partition("@")[0] == BUILDER


def _facts_v01(predicate: ProvenanceV01) -> BuildFacts:
    arguments = predicate.recipe.arguments or {}
    substitutions = _object(arguments.get("substitutions"), "substitutions")
    uri, revision = _material(predicate.materials or ())
    tag = _text(substitutions, "TAG_NAME")
    return BuildFacts(
        builder=predicate.builder.id,
        build_type=predicate.recipe.type,
        source_uri=uri,
        source_ref=None if tag is None else _TAGS + tag,
        source_revision=_agreed(revision, _text(substitutions, "COMMIT_SHA")) if uri else None,
        entry_point=predicate.recipe.entry_point or None,
        parameters=arguments | _user_defined(substitutions),
        unrecognised=tuple(_user_defined(substitutions)),
        invocation=None if predicate.metadata is None else predicate.metadata.build_invocation_id,
        trigger=_text(substitutions, "TRIGGER_NAME"),
        materials=materials_of(predicate.materials or ()),
    )


def _material(materials: Iterable[slsa_schema.Resource]) -> tuple[str | None, str | None]:
    first = next(iter(materials), None)
    if first is None or first.uri is None:
        return None, None
    uri, revision = first.uri.removeprefix(_GIT_PREFIX), first.digest.get("sha1")
    if commit := _COMMIT.match(uri):
        uri, revision = commit["uri"], _agreed(revision, commit["sha"])
    return _normalised(uri), revision


def _facts_v1(predicate: slsa_schema.ProvenanceV1) -> BuildFacts:
    definition, run = predicate.build_definition, predicate.run_details
    parameters, internal = definition.external_parameters, definition.internal_parameters or {}
    system = _object(internal.get("systemSubstitutions"), "systemSubstitutions")
    config = msgspec.convert(parameters.get("buildConfigSource"), _ConfigSource)
    uri = _normalised(config.repository.removeprefix(_GIT_PREFIX))
    if not _same_source(config, parameters.get("sourceToBuild")):
        uri = None
    ref = _proven_ref(config.ref, system)
    revision = _resolved(uri, definition.resolved_dependencies or ())
    chosen = _user_defined(_object(parameters.get("substitutions"), "substitutions"))
    metadata = run.metadata
    return BuildFacts(
        builder=run.builder.id,
        build_type=definition.build_type,
        source_uri=uri,
        source_ref=ref if uri else None,
        source_revision=_agreed(revision, _text(system, "COMMIT_SHA")) if uri else None,
        branch=ref if uri and ref and ref.startswith(_BRANCHES) else None,
        entry_point=config.path,
        parameters=parameters | chosen,
        unrecognised=(*sorted(set(parameters) - _KNOWN_PARAMETERS), *chosen),
        invocation=None if metadata is None else metadata.invocation_id or metadata.invocation_id_old,
        trigger=_text(internal, "triggerUri") or _text(system, "TRIGGER_NAME"),
        materials=materials_of(definition.resolved_dependencies or ()),
    )


def _same_source(config: _ConfigSource, built: object) -> bool:
    if built is None:
        return True
    other = msgspec.convert(built, _ConfigSource)
    return (other.repository, other.ref) == (config.repository, config.ref)


def _proven_ref(ref: str, system: Mapping[str, Any]) -> str | None:
    """The ref, if the trigger's substitution says the same; None where there is none.

    Raises:
        PredicateUnexpected: it says something else.
    """
    for prefix, name in ((_TAGS, "TAG_NAME"), (_BRANCHES, "BRANCH_NAME")):
        if not ref.startswith(prefix):
            continue
        stated = _text(system, name)
        if stated is not None and prefix + stated != ref:
            raise PredicateUnexpected(f"buildConfigSource.ref and {name} contradict each other")
        return None if stated is None else ref
    return None


def _resolved(uri: str | None, dependencies: Iterable[slsa_schema.Resource]) -> str | None:
    found = {
        digest
        for item in dependencies
        if uri is not None and _normalised((item.uri or "").removeprefix(_GIT_PREFIX)) == uri
        for digest in (item.digest.get("gitCommit") or item.digest.get("sha1"),)
        if digest
    }
    if len(found) > 1:
        raise PredicateUnexpected("the predicate names two revisions of one source")
    return found.pop() if found else None


def _agreed(*revisions: str | None) -> str | None:
    found = {revision for revision in revisions if revision}
    if len(found) > 1:
        raise PredicateUnexpected("the predicate names two revisions of one source")
    revision = found.pop() if found else None
    if revision is not None and not _SHA1.match(revision):
        raise PredicateUnexpected("the revision of the source is not a commit")
    return revision


def _normalised(uri: str) -> str | None:
    # Uploads (gs://) and registries are no source repositories: no rule on sources can name them.
    try:
        return source.normalise(uri) if uri.startswith("https://") else None
    except SourceUntrusted:
        return None


def _user_defined(substitutions: Mapping[str, Any]) -> dict[str, Any]:
    # cloud.google.com/build/docs/configuring-builds/substitute-variable-values: only these may be chosen.
    return {
        f"substitutions.{name}": substitutions[name] for name in sorted(substitutions) if name[:1] == "_"
    }


def _object(value: object, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PredicateUnexpected(f"{what} is not an object")
    return value


def _text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise PredicateUnexpected(f"{name} is not a string")
    return value or None
