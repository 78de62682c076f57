"""SLSA Verification Summary Attestations (VSA) v1 and v0.2, strictly: somebody else's verdict.

``summary_of`` gives one ``Summary`` for either version. Required members must be there with their types;
members that the specification does not name are ignored, as it demands of consumers.

Levels: ``SLSA_<TRACK>_LEVEL_<n>`` of a track that is known here implies the levels below it;
``SLSA_LEVEL_<n>`` is v0.2's one ladder. A level of another SLSA track never counts, whatever its number.
What does not begin with ``SLSA_`` is the verifier's own, and counts only as the very text that a trust
policy names.

Not done here: whether the verifier may say so, and about what (``provenance.trust.vsa_rules``).

Sources: slsa.dev/spec/v1.1/verification_summary; slsa.dev/verification_summary/v0.2.
"""

from __future__ import annotations

import re
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Final

import msgspec

from provenance.errors import PredicateUnexpected
from provenance.instants import rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.model import Statement

VSA_V1: Final = "https://slsa.dev/verification_summary/v1"
VSA_V02: Final = "https://slsa.dev/verification_summary/v0.2"
VSA_TYPES: Final = (VSA_V1, VSA_V02)
PASSED: Final = "PASSED"
FAILED: Final = "FAILED"
MAX_ENTRIES: Final = 4096
_RESERVED: Final = "SLSA_"
# Tracks of slsa.dev/spec/v1.1 (build) and v1.2 (source); the empty one is the ladder of v0.1 to v0.2.
_TRACKS: Final = ("BUILD", "SOURCE", "")
_LEVEL: Final = re.compile(r"SLSA_(?:(?P<track>[A-Z]+)_)?LEVEL_(?P<level>[0-9])\Z")
# Go writes nine digits; a datetime holds six, and nothing here depends on the rest.
_BEYOND_MICROSECONDS: Final = re.compile(r"(\.[0-9]{6})[0-9]{1,3}(?=Z|[+-])")


class Verifier(msgspec.Struct):
    """``verifier``."""

    id: str


class Descriptor(msgspec.Struct):
    """``policy`` or a member of ``inputAttestations``."""

    uri: str = ""
    digest: dict[str, str] = {}


class VsaV1(msgspec.Struct, rename="camel"):
    """A v1 predicate."""

    verifier: Verifier
    time_verified: str
    resource_uri: str
    policy: Descriptor
    verification_result: str
    verified_levels: tuple[str, ...]
    input_attestations: tuple[Descriptor, ...] | None = None
    dependency_levels: dict[str, int] | None = None
    slsa_version: str | None = None


class VsaV02(msgspec.Struct):
    """A v0.2 predicate."""

    verifier: Verifier
    time_verified: str
    resource_uri: str
    policy: Descriptor
    verification_result: str
    policy_level: str
    dependency_levels: dict[str, int]
    input_attestations: tuple[Descriptor, ...] | None = None


class Summary(msgspec.Struct, frozen=True):
    """What a VSA states.

    Attributes:
        verifier: URI of who verified.
        time: when, by the verifier's word.
        resource: URI of what the artefact was verified as.
        result: ``PASSED`` or ``FAILED``.
        levels: as stated.
        policy: URI of the policy that was applied.
        policy_digest: its digests.
        inputs: attestations that it rests on: URI and digests.
        dependencies: number of transitive dependencies by level.
    """

    verifier: str
    time: datetime
    resource: str
    result: str
    levels: tuple[str, ...]
    policy: str
    policy_digest: dict[str, str] = {}
    inputs: tuple[Descriptor, ...] = ()
    dependencies: dict[str, int] = {}


def summary_of(statement: Statement) -> Summary | None:
    """The summary in a statement; None for another predicate type.

    Raises:
        PredicateUnexpected: the predicate is not of its type's schema.
    """
    try:
        if statement.predicate_type == VSA_V1:
            new = msgspec.convert(statement.predicate, VsaV1)
            return _summary(new, new.verified_levels)
        if statement.predicate_type == VSA_V02:
            old = msgspec.convert(statement.predicate, VsaV02)
            return _summary(old, (old.policy_level,))
    except msgspec.ValidationError as error:
        raise PredicateUnexpected(f"the verification summary is malformed: {str(error)[:200]}") from error
    return None


def is_level(text: str) -> bool:
    """Whether a trust policy can ask for this level: a known track's, or a verifier's own."""
    if not text or not text.isprintable() or text == FAILED:
        return False
    return not text.startswith(_RESERVED) or _rung(text) is not None


def reaches(stated: Sequence[str], wanted: str) -> bool:
    """Whether one of the stated levels is the wanted one, or above it on the same known track."""
    rung = _rung(wanted)
    if rung is None:
        return not wanted.startswith(_RESERVED) and wanted in stated
    track, level = rung
    return any(found[0] == track and found[1] >= level for found in map(_rung, stated) if found is not None)


def _rung(text: str) -> tuple[str, int] | None:
    """Track and level, of a known track."""
    match = _LEVEL.match(text)
    track = None if match is None else match["track"] or ""
    return (track, int(match["level"])) if match is not None and track in _TRACKS else None


def _summary(predicate: VsaV1 | VsaV02, levels: tuple[str, ...]) -> Summary:
    time = rfc3339(_BEYOND_MICROSECONDS.sub(r"\1", predicate.time_verified))
    if time is None:
        raise PredicateUnexpected("the time of verification is not RFC 3339")
    if predicate.verification_result not in (PASSED, FAILED):
        raise PredicateUnexpected("the verification result is neither PASSED nor FAILED")
    if not (predicate.verifier.id and predicate.resource_uri and predicate.policy.uri):
        raise PredicateUnexpected("verifier, resource or policy is empty")
    inputs, dependencies = predicate.input_attestations or (), predicate.dependency_levels or {}
    if max(len(levels), len(inputs), len(dependencies)) > MAX_ENTRIES:
        raise PredicateUnexpected(f"the verification summary has more than {MAX_ENTRIES} entries of a kind")
    _require_inputs(inputs, dependencies)
    return Summary(
        verifier=predicate.verifier.id,
        time=time,
        resource=predicate.resource_uri,
        result=predicate.verification_result,
        levels=levels,
        policy=predicate.policy.uri,
        policy_digest=predicate.policy.digest,
        inputs=inputs,
        dependencies=dependencies,
    )


def _require_inputs(inputs: Sequence[Descriptor], dependencies: Mapping[str, int]) -> None:
    if not all(item.digest for item in inputs):
        raise PredicateUnexpected("an input attestation has no digest")
    if any(count < 0 for count in dependencies.values()):
        raise PredicateUnexpected("a number of dependencies is negative")
