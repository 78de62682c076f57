"""What a retraction aims at, which attestations it covers, and which new ones it keeps out.

A target covers an attestation that it names itself (its digest, one of its signers, its builder, its
source), one whose reference-value statement names such an attestation, builder or source as an origin,
and, whatever their own date, all that rest on a covered one in turn.

``since`` is compared with the attestation's log time, or with the time of its signature where none was
logged. Of an origin that is not known here the time is not known either; the statement that names it is
younger, so its own time is taken, which can only cover more.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import and_, or_, select

from common import strict_json
from common.encoding import hex_decode
from common.errors import Malformed, TooLarge
from rvps.tables import attestation, attestation_origin, attestation_signer, retraction
from storage.database import to_micros

if TYPE_CHECKING:
    from sqlalchemy import CTE, ColumnElement, Connection

_SHA256_BYTES: Final = 32
_ID_HEX_CHARS: Final = 32
MAX_TEXT: Final = 2048


class TargetKind(StrEnum):
    """What ``RetractionTarget.value`` is."""

    ATTESTATION = "attestation"
    SIGNER = "signer"
    BUILDER = "builder"
    SOURCE_REVISION = "source_revision"
    SOURCE_URI = "source_uri"
    REFERENCE_VALUE = "reference_value"


# Kinds of which there may be more to come, which a standing retraction then keeps out.
_DATED: Final = frozenset(
    {TargetKind.SIGNER, TargetKind.BUILDER, TargetKind.SOURCE_REVISION, TargetKind.SOURCE_URI}
)


class RetractionTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is retracted. Compared exactly: no patterns, no prefixes.

    Attributes:
        kind: what ``value`` is.
        value: attestation digest (hex), signer identity (SAN, or ``key:<sha256>``), builder id, commit
            digest, source repository, or reference-value id.
        issuer: of a signer: only with this OIDC issuer; any, if absent.
        since: of signer, builder and source: only what was logged (or signed) then or later.
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
        effective_at: log time, else time of signature; microseconds.
    """

    attestations: frozenset[str]
    signers: frozenset[tuple[str, str | None]]
    builders: frozenset[str]
    source_uris: frozenset[str]
    source_revisions: frozenset[str]
    effective_at: int


def covered(target: RetractionTarget) -> CTE:
    """The digests of the attestations that a target covers, as a (recursive) common table expression."""
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
        (TargetKind.BUILDER, facts.builders),
        (TargetKind.SOURCE_URI, facts.source_uris),
        (TargetKind.SOURCE_REVISION, facts.source_revisions),
    )
    conditions = [
        and_(retraction.c.kind == kind.value, retraction.c.value.in_(sorted(values)))
        for kind, values in named
        if values
    ]
    found = connection.execute(
        select(retraction.c.id, retraction.c.kind, retraction.c.value, retraction.c.issuer)
        .where(or_(*conditions))
        .where(or_(retraction.c.since.is_(None), retraction.c.since <= facts.effective_at))
        .order_by(retraction.c.epoch)
    )
    for row in found:
        if row.kind != TargetKind.SIGNER.value or row.issuer is None:
            return str(row.id)
        if (row.value, row.issuer) in facts.signers:
            return str(row.id)
    return _retracted_origin(connection, facts)


def printable(text: str, *, what: str) -> str:
    """``text``, if it may be stored and shown: 1 to ``MAX_TEXT`` characters, none of them a control.

    Raises:
        Malformed: empty, or not printable.
        TooLarge: longer.
    """
    if len(text) > MAX_TEXT:
        raise TooLarge(f"{what} has {len(text)} characters, the limit is {MAX_TEXT}")
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
    elif target.kind is TargetKind.REFERENCE_VALUE:
        named = digests.in_([])
    else:
        # The three remaining kinds are columns of the same name in both tables.
        column = target.kind.value
        named = or_(
            attestation.c[column] == target.value,
            digests.in_(origins.where(attestation_origin.c[column] == target.value)),
        )
    if target.since_micros is None:
        return named
    return and_(named, attestation.c.effective_at >= target.since_micros)
