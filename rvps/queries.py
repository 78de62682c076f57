"""Read side for people and tools: listings, single records, histories. Never on an appraisal's path.

Listings are newest first and page by key (``after`` is the place where the last part ended), so that a
page costs as much in a large store as in a small one, and what arrives meanwhile moves nothing. Each call
is one snapshot; states are those at ``now``.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import func, select

from common.checks import Check
from common.errors import Malformed, TooLarge
from rvps.errors import UnknownAttestation, UnknownReferenceValue
from rvps.records import (
    AttestationRecord,
    AttestationState,
    AttestationSummary,
    Event,
    EventKind,
    OriginRecord,
    Page,
    RetractionRecord,
    SignerRecord,
    ValueHistory,
    ValueRecord,
    ValueState,
)
from rvps.rows import reference_values, rfc3339, rfc3339_of, values_with_lineage
from rvps.tables import (
    NEVER,
    attestation,
    attestation_document,
    attestation_origin,
    attestation_signer,
    reference_value,
    retraction,
    retraction_attestation,
)
from storage.database import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Column, Connection, Row, Select

    from rvps.model import ReferenceValue
    from storage.database import Database

MAX_PAGE: Final = 500
DEFAULT_PAGE: Final = 100
_MAX_CURSOR_DIGITS: Final = 18
_CHECKS = msgspec.json.Decoder(tuple[Check, ...])


def list_attestations(
    database: Database,
    *,
    state: AttestationState | None = None,
    after: str | None = None,
    limit: int = DEFAULT_PAGE,
) -> Page[AttestationSummary]:
    """Attestations.

    Raises:
        Malformed, TooLarge: ``after`` or ``limit``.
    """
    query = select(attestation)
    if state is AttestationState.ACTIVE:
        query = query.where(attestation.c.retraction.is_(None))
    elif state is AttestationState.RETRACTED:
        query = query.where(attestation.c.retraction.is_not(None))
    with database.read() as connection:
        rows, following = _page(connection, query, attestation.c.epoch, after, limit)
    return Page(tuple(_summary(row) for row in rows), following)


def get_attestation(database: Database, digest: str) -> AttestationRecord:
    """One attestation.

    Raises:
        UnknownAttestation: none has that digest.
    """
    query = select(attestation).where(attestation.c.digest == _storable(digest))
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
        if row is None:
            raise UnknownAttestation("no attestation has that digest")
        return AttestationRecord(
            summary=_summary(row),
            trust_policy=row.trust_policy,
            signers=_signers(connection, digest),
            origins=_origins(connection, digest),
            reference_values=connection.execute(
                select(func.count()).where(reference_value.c.attestation == digest)
            ).scalar_one(),
            retractions=_retractions_of(connection, (digest,)).get(digest, ()),
            checks=_CHECKS.decode(
                connection.execute(
                    select(attestation_document.c.checks).where(
                        attestation_document.c.attestation == digest
                    )
                ).scalar_one()
            ),
        )


def get_envelope(database: Database, digest: str) -> bytes:
    """The envelope's bytes, as they were received.

    Raises:
        UnknownAttestation: no attestation has that digest.
    """
    query = select(attestation_document.c.envelope).where(
        attestation_document.c.attestation == _storable(digest)
    )
    with database.read() as connection:
        found: bytes | None = connection.execute(query).scalar_one_or_none()
    if found is None:
        raise UnknownAttestation("no attestation has that digest")
    return found


def list_reference_values(
    database: Database,
    *,
    now: datetime,
    name: str | None = None,
    tee: str | None = None,
    group: str | None = None,
    state: ValueState | None = None,
    attestation: str | None = None,
    after: str | None = None,
    limit: int = DEFAULT_PAGE,
) -> Page[ValueRecord]:
    """Reference values that meet every filter given; filters are exact.

    Raises:
        Malformed, TooLarge: ``after`` or ``limit``.
    """
    query = _filtered(name=name, tee=tee, group=group, attestation=attestation)
    if state is not None:
        query = _in_state(query, state, to_micros(now))
    with database.read() as connection:
        rows, following = _page(connection, query, reference_value.c.seq, after, limit)
        return Page(_records(connection, rows, now), following)


def get_reference_value(database: Database, id: str, *, now: datetime) -> ValueRecord:  # noqa: A002
    """One reference value.

    Raises:
        UnknownReferenceValue: none has that id.
    """
    query = _filtered(id=id)
    with database.read() as connection:
        rows = connection.execute(query).all()
        if not rows:
            raise UnknownReferenceValue("no reference value has that id")
        return _records(connection, rows, now)[0]


def history(
    database: Database,
    *,
    now: datetime,
    name: str | None = None,
    id: str | None = None,  # noqa: A002
    attestation: str | None = None,
    after: str | None = None,
    limit: int = DEFAULT_PAGE,
) -> Page[ValueHistory]:
    """Values by exactly one of name, id and attestation, each with all that happened to it.

    Raises:
        UnknownReferenceValue, UnknownAttestation: nothing has that id or digest.
        Malformed, TooLarge: none or several of the three are given; ``after``; ``limit``.
    """
    if sum(item is not None for item in (name, id, attestation)) != 1:
        raise Malformed("give exactly one of name, id and attestation")
    query = _filtered(name=name, attestation=attestation, id=id)
    with database.read() as connection:
        rows, following = _page(connection, query, reference_value.c.seq, after, limit)
        if not rows and after is None:
            _demand(connection, id, attestation)
        records = _records(connection, rows, now)
        covering = _retractions_of(connection, {row.attestation for row in rows})
        histories = tuple(
            ValueHistory(record, _events(row, record, covering.get(row.attestation, ()), now))
            for row, record in zip(rows, records, strict=True)
        )
    return Page(histories, following)


def list_retractions(
    database: Database, *, after: str | None = None, limit: int = DEFAULT_PAGE
) -> Page[RetractionRecord]:
    """Retractions.

    Raises:
        Malformed, TooLarge: ``after`` or ``limit``.
    """
    with database.read() as connection:
        rows, following = _page(connection, select(retraction), retraction.c.epoch, after, limit)
    return Page(tuple(_retraction(row) for row in rows), following)


def _filtered(**filters: str | None) -> Select[Any]:
    columns = {
        "name": reference_value.c.name,
        "tee": reference_value.c.tee,
        "group": reference_value.c.release_group,
        "attestation": reference_value.c.attestation,
        "id": reference_value.c.id,
    }
    query = values_with_lineage()
    for filtered, wanted in filters.items():
        if wanted is not None:
            query = query.where(columns[filtered] == _storable(wanted))
    return query


def _storable(text: str) -> str:
    # PostgreSQL refuses NUL, and either driver a lone surrogate; nothing stored has one.
    if not text.isprintable():
        raise Malformed("a filter is not printable")
    return text


def _in_state(query: Select[Any], state: ValueState, moment: int) -> Select[Any]:
    if state is ValueState.RETRACTED:
        return query.where(reference_value.c.retraction.is_not(None))
    query = query.where(reference_value.c.retraction.is_(None))
    if state is ValueState.EXPIRED:
        return query.where(reference_value.c.expires <= moment)
    query = query.where(reference_value.c.expires > moment)
    if state is ValueState.PENDING:
        return query.where(reference_value.c.not_before > moment)
    return query.where(reference_value.c.not_before <= moment)


def _page(
    connection: Connection, query: Select[Any], order: Column[int], after: str | None, limit: int
) -> tuple[list[Row[Any]], str | None]:
    if not 1 <= limit <= MAX_PAGE:
        raise TooLarge(f"limit is not within 1 and {MAX_PAGE}")
    if after is not None:
        if not (after.isascii() and after.isdigit()) or len(after) > _MAX_CURSOR_DIGITS:
            raise Malformed("after is not what an earlier page gave as next")
        query = query.where(order < int(after))
    rows = list(connection.execute(query.order_by(order.desc()).limit(limit + 1)))
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], str(rows[limit - 1]._mapping[order])  # noqa: SLF001 (SQLAlchemy's public name)


def _records(connection: Connection, rows: Sequence[Row[Any]], now: datetime) -> tuple[ValueRecord, ...]:
    values = reference_values(connection, rows)
    wanted = {row.retraction for row in rows if row.retraction is not None}
    found = _retractions(connection, wanted)
    moment = to_micros(now)
    return tuple(
        _record(row, value, found.get(row.retraction), moment)
        for row, value in zip(rows, values, strict=True)
    )


def _record(
    row: Row[Any], value: ReferenceValue, retracted: RetractionRecord | None, moment: int
) -> ValueRecord:
    return ValueRecord(
        id=value.id,
        state=_state(row, moment),
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
    )


def _state(row: Row[Any], moment: int) -> ValueState:
    if row.retraction is not None:
        return ValueState.RETRACTED
    if row.expires <= moment:
        return ValueState.EXPIRED
    return ValueState.LIVE if row.not_before <= moment else ValueState.PENDING


def _events(
    row: Row[Any], record: ValueRecord, covering: Iterable[RetractionRecord], now: datetime
) -> tuple[Event, ...]:
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


def _demand(connection: Connection, id: str | None, digest: str | None) -> None:  # noqa: A002
    if id is not None:
        raise UnknownReferenceValue("no reference value has that id")
    if digest is not None:
        found = connection.execute(select(attestation.c.digest).where(attestation.c.digest == digest))
        if found.first() is None:
            raise UnknownAttestation("no attestation has that digest")


def _retractions(connection: Connection, ids: Iterable[str]) -> Mapping[str, RetractionRecord]:
    wanted = sorted(ids)
    if not wanted:
        return {}
    rows = connection.execute(select(retraction).where(retraction.c.id.in_(wanted)))
    return {row.id: _retraction(row) for row in rows}


def _retractions_of(
    connection: Connection, digests: Iterable[str]
) -> Mapping[str, tuple[RetractionRecord, ...]]:
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
        found[row.attestation] = (*found.get(row.attestation, ()), _retraction(row))
    return found


def _retraction(row: Row[Any]) -> RetractionRecord:
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


def _summary(row: Row[Any]) -> AttestationSummary:
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
    )


def _signers(connection: Connection, digest: str) -> tuple[SignerRecord, ...]:
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
        )
        for row in rows
    )


def _origins(connection: Connection, digest: str) -> tuple[OriginRecord, ...]:
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
