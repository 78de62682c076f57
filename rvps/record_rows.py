"""Rows of the store as the records that queries return."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import select

from common.checks import Check
from rvps import quorum
from rvps.records import (
    AttestationState,
    AttestationSummary,
    Event,
    EventKind,
    OriginRecord,
    RetractionRecord,
    SignerRecord,
    ValueRecord,
    ValueState,
)
from rvps.rows import reference_values, rfc3339, rfc3339_of, with_materials
from rvps.tables import (
    NEVER,
    attestation_document,
    attestation_origin,
    attestation_signer,
    retraction,
    retraction_attestation,
)
from storage.database import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection, Row

    from rvps.model import ReferenceValue

_CHECKS = msgspec.json.Decoder(tuple[Check, ...])


def value_records(
    connection: Connection, rows: Sequence[Row[Any]], now: datetime
) -> tuple[ValueRecord, ...]:
    """Values in rows of ``values_with_lineage``, in their state at ``now``."""
    values = with_materials(connection, reference_values(connection, rows))
    waiting = waiting_for(connection, rows, now)
    wanted = {row.retraction for row in rows if row.retraction is not None}
    found = _retractions(connection, wanted)
    moment = to_micros(now)
    return tuple(
        _record(row, value, found.get(row.retraction), moment, waiting.get(row.id, 0))
        for row, value in zip(rows, values, strict=True)
    )


def _record(
    row: Row[Any], value: ReferenceValue, retracted: RetractionRecord | None, moment: int, waiting: int
) -> ValueRecord:
    return ValueRecord(
        id=value.id,
        state=_state(row, moment, waiting),
        name=value.name,
        value=value.value,
        tee=value.tee,
        group=value.group,
        not_before=rfc3339(value.not_before),
        epoch=row.epoch,
        lineage=value.lineage,
        scalar=value.scalar,
        expires=None if value.expires is None else rfc3339(value.expires),
        retraction=retracted,
        unverified=bool(row.unverified),
        waiting_for=waiting,
    )


def waiting_for(connection: Connection, rows: Sequence[Row[Any]], now: datetime) -> dict[str, int]:
    """Ids of the values that too few trust domains attest at ``now``, each with how many more it needs."""
    contests = {
        row.id: quorum.contest_of(row.name, row.value, row.tee, scalar=row.scalar)
        for row in rows
        if row.retraction is None and not row.unverified
    }
    if not contests or not quorum.any_contest(connection):
        return {}
    found = quorum.ballots(connection, contests.values())
    moment = to_micros(now)
    missing = {key: found[item].missing(moment) for key, item in contests.items() if item in found}
    return {key: count for key, count in missing.items() if count}


def _state(row: Row[Any], moment: int, waiting: int) -> ValueState:
    if row.retraction is not None:
        return ValueState.RETRACTED
    if row.expires <= moment:
        return ValueState.EXPIRED
    if row.not_before > moment:
        return ValueState.PENDING
    if row.unverified:
        return ValueState.UNVERIFIED
    return ValueState.WAITING if waiting else ValueState.LIVE


def events_of(
    row: Row[Any], record: ValueRecord, covering: Iterable[RetractionRecord], now: datetime
) -> tuple[Event, ...]:
    """All that happened to a value up to ``now``, in order of time; ``covering`` its attestation."""
    retractions = {item.id: item for item in covering}
    if record.retraction is not None:
        retractions.setdefault(record.retraction.id, record.retraction)
    events = [Event(EventKind.INGESTED, rfc3339_of(row.submitted_at), row.submitted_by, row.epoch)]
    events += [
        Event(EventKind.RETRACTED, item.at, item.by, item.epoch, item) for item in retractions.values()
    ]
    if row.expires != NEVER and row.expires <= to_micros(now):
        events.append(Event(EventKind.EXPIRED, rfc3339_of(row.expires)))
    # Not sorted as text: RFC 3339 with and without a fraction does not sort in order of time.
    return tuple(sorted(events, key=lambda event: datetime.fromisoformat(event.at)))


def _retractions(connection: Connection, ids: Iterable[str]) -> Mapping[str, RetractionRecord]:
    wanted = sorted(ids)
    if not wanted:
        return {}
    rows = connection.execute(select(retraction).where(retraction.c.id.in_(wanted)))
    return {row.id: retraction_record(row) for row in rows}


def retractions_of(
    connection: Connection, digests: Iterable[str]
) -> Mapping[str, tuple[RetractionRecord, ...]]:
    """Every retraction that covers each of the attestations, in order."""
    wanted = sorted(digests)
    if not wanted:
        return {}
    rows = connection.execute(
        select(retraction_attestation.c.attestation, retraction)
        .join(retraction, retraction.c.id == retraction_attestation.c.retraction)
        .where(retraction_attestation.c.attestation.in_(wanted))
        .order_by(retraction.c.epoch)
    )
    found: dict[str, tuple[RetractionRecord, ...]] = {}
    for row in rows:
        found[row.attestation] = (*found.get(row.attestation, ()), retraction_record(row))
    return found


def retraction_record(row: Row[Any]) -> RetractionRecord:
    """A row of ``retraction``."""
    return RetractionRecord(
        id=row.id,
        kind=row.kind,
        target=row.value,
        reason=row.reason,
        by=row.by,
        at=rfc3339_of(row.at),
        epoch=row.epoch,
        issuer=row.issuer,
        since=None if row.since is None else rfc3339_of(row.since),
    )


def summary_of(row: Row[Any]) -> AttestationSummary:
    """A row of ``attestation``."""
    return AttestationSummary(
        attestation=row.digest,
        state=AttestationState.ACTIVE if row.retraction is None else AttestationState.RETRACTED,
        predicate_type=row.predicate_type,
        signer=row.signer,
        signed_at=rfc3339_of(row.signed_at),
        submitted_by=row.submitted_by,
        submitted_at=rfc3339_of(row.submitted_at),
        epoch=row.epoch,
        issuer=row.signer_issuer,
        builder=row.builder,
        source_uri=row.source_uri,
        source_revision=row.source_revision,
        log_index=row.log_index,
        log_time=None if row.log_time is None else rfc3339_of(row.log_time),
        log_id=row.log_id,
        unverified=bool(row.unverified),
    )


def checks_of(connection: Connection, digest: str) -> tuple[Check, ...]:
    """The checks of an attestation's admission."""
    query = select(attestation_document.c.checks).where(attestation_document.c.attestation == digest)
    return _CHECKS.decode(connection.execute(query).scalar_one())


def signers_of(connection: Connection, digest: str) -> tuple[SignerRecord, ...]:
    """The signers of an attestation, in order."""
    rows = connection.execute(
        select(attestation_signer)
        .where(attestation_signer.c.attestation == digest)
        .order_by(attestation_signer.c.ordinal)
    )
    return tuple(
        SignerRecord(
            kind=row.kind,
            identity=row.identity,
            root=row.root,
            issuer=row.issuer,
            claims=msgspec.json.decode(row.claims, type=dict[str, str]),
            certificate=row.certificate,
            serial=row.serial,
            key=row.key,
        )
        for row in rows
    )


def origins_of(connection: Connection, digest: str) -> tuple[OriginRecord, ...]:
    """What an attestation rests on."""
    rows = connection.execute(
        select(attestation_origin)
        .where(attestation_origin.c.attestation == digest)
        .order_by(attestation_origin.c.origin)
    )
    return tuple(
        OriginRecord(
            attestation=row.origin,
            builder=row.builder,
            source_uri=row.source_uri,
            source_revision=row.source_revision,
        )
        for row in rows
    )
