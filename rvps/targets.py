"""What a retraction aims at, which attestations it covers, and which new ones it keeps out.

A target covers an attestation that it names itself (its digest, one of its signers or their keys, its
builder, its source, one of its materials), one whose reference-value statement names such an attestation,
builder or source as an origin, and, whatever their own date, all that rest on a covered one in turn. A
rule, a tool, a submitter and a reference value are no property of an attestation: they cover values,
whatever attestation those are of.

``since`` is compared with the attestation's log time. Where none was logged it is compared with the
instant at which the signature was judged: a verified timestamp, or, of a bare signature, its first arrival
here; never with a time that the signer only claims. Of a submitter it is compared with the arrival here.
Of an origin that is not known here the time is not known either; the statement that names it is younger,
so its own time is taken, which can only cover more.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import and_, or_, select

from common import strict_json
from common.encoding import hex_decode
from common.errors import Malformed, TooLarge
from rvps.tables import (
    attestation,
    attestation_material,
    attestation_origin,
    attestation_signer,
    retraction,
)
from storage.database import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import CTE, ColumnElement, Connection, Row, Select

_SHA256_BYTES: Final = 32
_ID_HEX_CHARS: Final = 32
MAX_TEXT: Final = 2048


class TargetKind(StrEnum):
    """What ``RetractionTarget.value`` is."""

    ATTESTATION = "attestation"
    SIGNER = "signer"
    KEY = "key"
    BUILDER = "builder"
    SOURCE_REVISION = "source_revision"
    SOURCE_URI = "source_uri"
    MATERIAL = "material"
    RULE = "rule"
    TOOL = "tool"
    SUBMITTER = "submitter"
    REFERENCE_VALUE = "reference_value"


# Kinds of which there may be more to come, which a standing retraction then keeps out.
_DATED: Final = frozenset(
    {
        TargetKind.SIGNER,
        TargetKind.KEY,
        TargetKind.BUILDER,
        TargetKind.SOURCE_REVISION,
        TargetKind.SOURCE_URI,
        TargetKind.MATERIAL,
        TargetKind.SUBMITTER,
    }
)
# Kinds that cover values, not attestations.
OF_VALUES: Final = frozenset(
    {TargetKind.RULE, TargetKind.TOOL, TargetKind.SUBMITTER, TargetKind.REFERENCE_VALUE}
)
# Few enough parameters for either database.
_IN_CHUNK: Final = 500


class RetractionTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is retracted. Compared exactly: no patterns, no prefixes.

    Attributes:
        kind: what ``value`` is.
        value: attestation digest (hex), signer identity (SAN, or ``key:<sha256>``), SHA-256 of a key's
            SubjectPublicKeyInfo or of a signing certificate (hex), builder id, commit digest, source
            repository, a material's URI or digest (hex, with or without ``<algorithm>:``), rule or tool
            (``name/version``), who submitted it, or reference-value id.
        issuer: of a signer: only with this OIDC issuer; any, if absent.
        since: of signer, key, builder, source and material: only what was logged (or judged) then or
            later; of a submitter: only what arrived then or later.
    """

    kind: TargetKind
    value: str
    issuer: str | None = None
    since: datetime | None = None

    @property
    def since_micros(self) -> int | None:
        """``since`` as it is stored."""
        return None if self.since is None else to_micros(self.since)

    @property
    def id(self) -> str:
        """The retraction's id: equal targets have equal ids."""
        text = [self.kind.value, self.value, self.issuer, self.since_micros]
        return f"rt-{hashlib.sha256(strict_json.canonical(text)).hexdigest()[:_ID_HEX_CHARS]}"

    def check(self) -> None:
        """Check what types cannot say.

        Raises:
            Malformed: not a digest, not printable, a member that this kind does not have, a naive time.
            TooLarge: more than ``MAX_TEXT`` characters.
        """
        for text in (self.value, self.issuer):
            if text is not None:
                printable(text, what="the retraction's target")
        if self.kind is TargetKind.ATTESTATION:
            hex_decode(self.value, what="the attestation's digest", length=_SHA256_BYTES)
        if self.kind is TargetKind.KEY:
            hex_decode(self.value, what="the digest of key or certificate", length=_SHA256_BYTES)
        if self.kind in (TargetKind.RULE, TargetKind.TOOL) and ("/" not in self.value or " " in self.value):
            raise Malformed(f"a {self.kind} is a name and a version, with a slash between them")
        if self.issuer is not None and self.kind is not TargetKind.SIGNER:
            raise Malformed(f"a retraction of a {self.kind} takes no issuer")
        if self.since is not None and self.kind not in _DATED:
            raise Malformed(f"a retraction of a {self.kind} takes no since: it is the whole of it")
        if self.since is not None and self.since.tzinfo is None:
            raise Malformed("since has no time zone")


class Facts(msgspec.Struct, frozen=True):
    """What of an attestation a standing retraction is held against.

    Attributes:
        attestations: its digest and those of its origins.
        signers: identity and issuer of each signer.
        builders: its builder and its origins'.
        source_uris: likewise.
        source_revisions: likewise.
        keys: SHA-256 of the signers' keys and certificates, hex.
        materials: what its materials are found by, see ``material_names``.
        parts: rules and tools of the values that come with it.
        effective_at: log time, else when its signature was judged; microseconds.
        submitter: who submits it now.
        submitted_at: when; microseconds.
    """

    attestations: frozenset[str]
    signers: frozenset[tuple[str, str | None]]
    builders: frozenset[str]
    source_uris: frozenset[str]
    source_revisions: frozenset[str]
    keys: frozenset[str]
    materials: frozenset[str]
    parts: frozenset[str]
    effective_at: int
    submitter: str = ""
    submitted_at: int = 0


def covered(target: RetractionTarget) -> CTE:
    """The digests of the attestations that a target covers, as a (recursive) common table expression.

    None, for a target that covers values.
    """
    direct = select(attestation.c.digest).where(_direct(target)).cte("covered", recursive=True)
    return direct.union(
        select(attestation_origin.c.attestation).join(
            direct, attestation_origin.c.origin == direct.c.digest
        )
    )


def standing(connection: Connection, facts: Facts) -> str | None:
    """Id of a retraction that keeps such an attestation out, if there is one."""
    named: tuple[tuple[TargetKind, frozenset[str]], ...] = (
        (TargetKind.ATTESTATION, facts.attestations),
        (TargetKind.SIGNER, frozenset(identity for identity, _ in facts.signers)),
        (TargetKind.KEY, facts.keys),
        (TargetKind.BUILDER, facts.builders),
        (TargetKind.SOURCE_URI, facts.source_uris),
        (TargetKind.SOURCE_REVISION, facts.source_revisions),
        (TargetKind.MATERIAL, facts.materials),
        (TargetKind.RULE, facts.parts),
        (TargetKind.TOOL, facts.parts),
        (TargetKind.SUBMITTER, frozenset({facts.submitter})),
    )
    found = [
        row
        for kind, values in named
        for row in _of_kind(connection, kind, sorted(values))
        if row.since is None
        or row.since <= (facts.submitted_at if kind is TargetKind.SUBMITTER else facts.effective_at)
    ]
    for row in sorted(found, key=lambda row: row.epoch):
        if row.kind != TargetKind.SIGNER.value or row.issuer is None:
            return str(row.id)
        if (row.value, row.issuer) in facts.signers:
            return str(row.id)
    return _retracted_origin(connection, facts)


def material_names(uri: str | None, digests: Mapping[str, str]) -> set[str]:
    """Every text by which a retraction may name a material."""
    names = {name for algorithm, digest in digests.items() for name in (digest, f"{algorithm}:{digest}")}
    return names if uri is None else names | {uri}


def _of_kind(connection: Connection, kind: TargetKind, values: Sequence[str]) -> Iterator[Row[Any]]:
    for start in range(0, len(values), _IN_CHUNK):
        yield from connection.execute(
            select(retraction).where(
                retraction.c.kind == kind.value, retraction.c.value.in_(values[start : start + _IN_CHUNK])
            )
        )


def printable(text: str, *, what: str, limit: int = MAX_TEXT) -> str:
    """``text``, if it may be stored and shown: 1 to ``limit`` characters, none of them a control.

    Raises:
        Malformed: empty, or not printable.
        TooLarge: longer.
    """
    if len(text) > limit:
        raise TooLarge(f"{what} has {len(text)} characters, the limit is {limit}")
    if not text or not text.isprintable():
        raise Malformed(f"{what} is empty or not printable")
    return text


def _retracted_origin(connection: Connection, facts: Facts) -> str | None:
    found = connection.execute(
        select(attestation.c.retraction)
        .where(attestation.c.digest.in_(sorted(facts.attestations)))
        .where(attestation.c.retraction.is_not(None))
        .limit(1)
    ).scalar_one_or_none()
    return None if found is None else str(found)


def _direct(target: RetractionTarget) -> ColumnElement[bool]:
    digests = attestation.c.digest
    origins = select(attestation_origin.c.attestation)
    if target.kind is TargetKind.ATTESTATION:
        named = or_(
            digests == target.value,
            digests.in_(origins.where(attestation_origin.c.origin == target.value)),
        )
    elif target.kind is TargetKind.SIGNER:
        signed = select(attestation_signer.c.attestation).where(
            attestation_signer.c.identity == target.value
        )
        if target.issuer is not None:
            signed = signed.where(attestation_signer.c.issuer == target.issuer)
        named = digests.in_(signed)
    elif target.kind is TargetKind.KEY:
        signed = select(attestation_signer.c.attestation)
        named = or_(
            digests.in_(signed.where(attestation_signer.c.key == target.value)),
            digests.in_(signed.where(attestation_signer.c.certificate == target.value)),
        )
    elif target.kind is TargetKind.MATERIAL:
        named = or_(*(digests.in_(query) for query in _using(target.value)))
    elif target.kind in OF_VALUES:
        named = digests.in_([])
    else:
        # The three remaining kinds are columns of the same name in both tables.
        column = target.kind.value
        named = or_(
            attestation.c[column] == target.value,
            digests.in_(origins.where(attestation_origin.c[column] == target.value)),
        )
    if target.since_micros is None or target.kind in OF_VALUES:
        return named
    return and_(named, attestation.c.effective_at >= target.since_micros)


def _using(value: str) -> list[Select[Any]]:
    """Attestations with a material of that URI or digest."""
    using = select(attestation_material.c.attestation)
    algorithm, _, digest = value.partition(":")
    found = [
        using.where(attestation_material.c.uri == value),
        using.where(attestation_material.c.digest == value),
    ]
    if digest:
        named = (attestation_material.c.algorithm == algorithm, attestation_material.c.digest == digest)
        found.append(using.where(*named))
    return found
