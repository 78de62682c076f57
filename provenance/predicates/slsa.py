"""SLSA provenance v0.2 and v1, strictly, and the facts that a trust policy asks about.

``facts_of`` gives one ``BuildFacts`` for either version: builder, build type, source, ref, revision,
branch, entry point, parameters. A fact that the predicate does not state is None; nothing is guessed.
What a build type's external parameters mean is known for the GitHub builders; for others the source is
the one that every ``git+`` dependency agrees on, and all parameters count as unrecognised.

Shape and types are strict where a fact is read. Members that the specifications do not name are ignored,
as both demand of consumers (extension fields); external parameters are the exception, see above.

These are claims of the signer. ``provenance.predicates.github`` holds them against the certificate.

Sources: slsa.dev/spec/v1.0/provenance, slsa.dev/spec/v0.2/provenance;
slsa-framework/github-actions-buildtypes and actions/buildtypes (workflow/v1);
slsa-framework/slsa-github-generator, internal/builders (generic@v1, go@v1, container@v1,
delegator-generic@v0); slsa.dev/container-based-build/v0.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from provenance.errors import PredicateUnexpected
from provenance.model import Material
from provenance.predicates import slsa_schema, source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provenance.model import Statement

SLSA_V02: Final = "https://slsa.dev/provenance/v0.2"
SLSA_V1: Final = "https://slsa.dev/provenance/v1"
SLSA_TYPES: Final = (SLSA_V02, SLSA_V1)

# Build types whose externalParameters.workflow names repository, ref and path.
WORKFLOW_BUILD_TYPES: Final = (
    "https://actions.github.io/buildtypes/workflow/v1",
    "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1",
)
CONTAINER_BUILD_TYPES: Final = (
    "https://slsa.dev/container-based-build/v0.1?draft",
    "https://slsa.dev/container-based-build/v0.1",
)
DELEGATOR_BUILD_TYPE: Final = "https://github.com/slsa-framework/slsa-github-generator/delegator-generic@v0"
# External parameters whose meaning is known here; others need the policy's word.
_KNOWN_PARAMETERS: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(WORKFLOW_BUILD_TYPES, frozenset({"workflow", "inputs", "vars"})),
    **dict.fromkeys(
        CONTAINER_BUILD_TYPES, frozenset({"source", "builderImage", "configPath", "buildConfig"})
    ),
    DELEGATOR_BUILD_TYPE: frozenset({"inputs", "vars"}),
}
_GIT_DIGESTS: Final = ("gitCommit", "sha1")  # digest_set.md; v0.2 builders wrote sha1
# A lock file has some thousands of entries. Beyond, a part would be left out, and its retraction missed.
MAX_MATERIALS: Final = 8192
_MAX_DIGESTS: Final = 8
_MAX_URI_BYTES: Final = 2048
_MAX_ALGORITHM_CHARS: Final = 64
_MAX_DIGEST_CHARS: Final = 256
_BRANCH_PREFIX: Final = "refs/heads/"


class BuildFacts(msgspec.Struct, frozen=True):
    """What a provenance predicate states, in one form for both versions.

    Attributes:
        builder: builder id.
        build_type: URI.
        source_uri: normalised (``provenance.predicates.source``).
        source_ref: ``refs/...`` of the source.
        source_revision: commit digest, hex.
        branch: branch that the source was built from (``refs/heads/...``), also where a tag triggered
            the build and the builder recorded the tag's branch.
        entry_point: workflow or configuration path.
        parameters: external parameters.
        unrecognised: names of external parameters whose meaning is not known for the build type.
        dispatch_inputs: inputs that a person typed when starting the build, by name.
        runner_environment: ``github-hosted`` or ``self-hosted``, where stated.
        invocation: URI of the run.
        materials: resolved dependencies (v1) or materials (v0.2), in order; at most ``MAX_MATERIALS``.
        trigger: what started the build, where the builder names it (Google Cloud Build).
    """

    builder: str
    build_type: str
    source_uri: str | None = None
    source_ref: str | None = None
    source_revision: str | None = None
    branch: str | None = None
    entry_point: str | None = None
    parameters: dict[str, Any] = {}
    unrecognised: tuple[str, ...] = ()
    dispatch_inputs: dict[str, Any] = {}
    runner_environment: str | None = None
    invocation: str | None = None
    materials: tuple[Material, ...] = ()
    trigger: str | None = None


def facts_of(statement: Statement) -> BuildFacts | None:
    """The build facts of a SLSA provenance statement; None for another predicate type.

    Raises:
        PredicateUnexpected: the predicate is not of its type's schema, or contradicts itself.
        SourceUntrusted: a source URI cannot be normalised.
    """
    try:
        if statement.predicate_type == SLSA_V1:
            return _facts_v1(msgspec.convert(statement.predicate, slsa_schema.ProvenanceV1))
        if statement.predicate_type == SLSA_V02:
            return _facts_v02(msgspec.convert(statement.predicate, slsa_schema.ProvenanceV02))
    except msgspec.ValidationError as error:
        raise PredicateUnexpected(f"the provenance predicate is malformed: {str(error)[:200]}") from error
    return None


def _facts_v1(predicate: slsa_schema.ProvenanceV1) -> BuildFacts:
    definition, run = predicate.build_definition, predicate.run_details
    parameters = definition.external_parameters
    internal = definition.internal_parameters or {}
    dependencies = definition.resolved_dependencies or ()
    stated = _stated_source(definition.build_type, parameters)
    located = _located_source(stated, internal, dependencies)
    known = _KNOWN_PARAMETERS.get(definition.build_type, frozenset())
    metadata = run.metadata
    github = _object(internal.get("github"))
    return BuildFacts(
        builder=run.builder.id,
        build_type=definition.build_type,
        source_uri=located.uri,
        source_ref=located.ref,
        source_revision=_revision(located.uri, stated.digest, dependencies),
        branch=_branch(located.ref, _object(internal.get("GITHUB_EVENT_PAYLOAD"))),
        entry_point=stated.entry_point or _workflow_path(internal),
        parameters=parameters,
        unrecognised=tuple(sorted(set(parameters) - known)),
        dispatch_inputs=_dispatch_inputs(definition.build_type, parameters, internal),
        runner_environment=_optional_text(github.get("runner_environment")),
        invocation=None if metadata is None else metadata.invocation_id or metadata.invocation_id_old,
        materials=materials_of(dependencies),
    )


class _Stated(msgspec.Struct):
    """Source as the external parameters state it."""

    uri: str | None = None
    ref: str | None = None
    digest: dict[str, str] = {}
    entry_point: str | None = None


def _stated_source(build_type: str, parameters: Mapping[str, Any]) -> _Stated:
    if build_type in WORKFLOW_BUILD_TYPES:
        workflow = parameters.get("workflow")
        if not isinstance(workflow, dict) or set(workflow) != {"ref", "repository", "path"}:
            raise PredicateUnexpected("externalParameters.workflow is not ref, repository and path")
        return _Stated(
            uri=source.normalise(_text(workflow["repository"], "repository")),
            ref=_text(workflow["ref"], "ref"),
            entry_point=_text(workflow["path"], "path"),
        )
    if build_type in CONTAINER_BUILD_TYPES:
        resource = msgspec.convert(parameters.get("source"), slsa_schema.Resource)
        located = source.split(_text(resource.uri, "source.uri"))
        return _Stated(
            uri=located.uri,
            ref=located.ref,
            digest=resource.digest,
            entry_point=_optional_text(parameters.get("configPath")),
        )
    return _Stated()


def _located_source(
    stated: _Stated, internal: Mapping[str, Any], dependencies: Iterable[slsa_schema.Resource]
) -> source.SourceRef | _Stated:
    if stated.uri is not None:
        return stated
    git = [item.uri for item in dependencies if item.uri and item.uri.startswith("git+")]
    refs = {source.split(uri) for uri in git}
    if len(refs) != 1:
        return _Stated()  # none, or several: which is the source is not stated
    (found,) = refs
    recorded = _optional_text(internal.get("GITHUB_REF"))
    return source.SourceRef(uri=found.uri, ref=found.ref or recorded)


def _facts_v02(predicate: slsa_schema.ProvenanceV02) -> BuildFacts:
    invocation = predicate.invocation
    config = invocation.config_source
    located = source.split(config.uri) if config.uri else source.SourceRef(uri="", ref=None)
    environment = invocation.environment or {}
    payload = _object(environment.get("github_event_payload"))
    parameters = invocation.parameters or {}
    revision = _git_digest(config.digest)
    materials = predicate.materials or ()
    if located.uri:
        logged = _revision(located.uri, {}, materials)
        if revision and logged and revision != logged:
            raise PredicateUnexpected("configSource and materials name two revisions of one source")
        revision = revision or logged
    metadata = predicate.metadata
    return BuildFacts(
        builder=predicate.builder.id,
        build_type=predicate.build_type,
        source_uri=located.uri or None,
        source_ref=located.ref or _optional_text(environment.get("github_ref")),
        source_revision=revision,
        branch=_branch(located.ref or _optional_text(environment.get("github_ref")), payload),
        entry_point=config.entry_point,
        parameters=parameters,
        # v0.2 parameters of the GitHub builders are the dispatch event's; others are unrecognised.
        unrecognised=tuple(sorted(set(parameters) - {"event_inputs", "inputs", "vars"})),
        dispatch_inputs=_object(parameters.get("event_inputs")) or _object(payload.get("inputs")),
        invocation=None
        if metadata is None
        else metadata.build_invocation_id or metadata.build_invocation_id_camel,
        materials=materials_of(materials),
    )


def materials_of(stated: Iterable[slsa_schema.Resource]) -> tuple[Material, ...]:
    """The materials, each at most as long as the store can find it by."""
    found = tuple(
        Material(uri=item.uri or None, digest=item.digest) for item in stated if item.uri or item.digest
    )
    if len(found) > MAX_MATERIALS:
        raise PredicateUnexpected(f"the predicate names more than {MAX_MATERIALS} materials")
    for item in found:
        if (
            len((item.uri or "").encode("utf-8", "replace")) > _MAX_URI_BYTES
            or not (item.uri or "").isprintable()
        ):
            raise PredicateUnexpected("a material's URI is too long, or not printable")
        if len(item.digest) > _MAX_DIGESTS or not all(_is_digest(*pair) for pair in item.digest.items()):
            raise PredicateUnexpected("a material's digests are too many, too long, or not printable")
    return found


def _is_digest(algorithm: str, digest: str) -> bool:
    return (
        0 < len(algorithm) <= _MAX_ALGORITHM_CHARS
        and 0 < len(digest) <= _MAX_DIGEST_CHARS
        and (algorithm + digest).isprintable()
        and (algorithm + digest).isascii()
    )


def _branch(ref: str | None, payload: Mapping[str, Any]) -> str | None:
    """The branch: the ref itself, or what the event recorded for a tag.

    GitHub's push event of a tag has ``base_ref``, its release event ``release.target_commitish``.
    """
    if ref is not None and ref.startswith(_BRANCH_PREFIX):
        return ref
    base = _optional_text(payload.get("base_ref"))
    if base is not None:
        return base
    target = _optional_text(_object(payload.get("release")).get("target_commitish"))
    if target is None:
        return None
    return target if target.startswith(_BRANCH_PREFIX) else _BRANCH_PREFIX + target


def _dispatch_inputs(
    build_type: str, parameters: Mapping[str, Any], internal: Mapping[str, Any]
) -> dict[str, Any]:
    # The delegator's ``inputs`` are the calling workflow's, under review in the source; an event
    # payload's are typed by a person.
    typed = _object(_object(internal.get("GITHUB_EVENT_PAYLOAD")).get("inputs"))
    if build_type in WORKFLOW_BUILD_TYPES:
        typed = typed | _object(parameters.get("inputs"))
    return typed


def _workflow_path(internal: Mapping[str, Any]) -> str | None:
    # GITHUB_WORKFLOW_REF is owner/name/path@ref.
    recorded = _optional_text(internal.get("GITHUB_WORKFLOW_REF"))
    if recorded is None:
        return None
    parts = recorded.partition("@")[0].split("/", 2)
    return parts[2] if len(parts) == 3 else None  # noqa: PLR2004 (owner, name, path)


def _revision(
    uri: str | None, stated: Mapping[str, str], dependencies: Iterable[slsa_schema.Resource]
) -> str | None:
    if uri is None:
        return None
    found = {
        digest
        for item in dependencies
        if item.uri and item.uri.startswith("git+") and source.normalise(item.uri) == uri
        for digest in (_git_digest(item.digest),)
        if digest
    }
    if digest := _git_digest(stated):
        found.add(digest)
    if len(found) > 1:
        raise PredicateUnexpected("the predicate names two revisions of one source")
    return found.pop() if found else None


def _git_digest(digest: Mapping[str, str]) -> str | None:
    return next((digest[name] for name in _GIT_DIGESTS if digest.get(name)), None)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise PredicateUnexpected(f"{what} is not a string")
    return value


def _optional_text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
