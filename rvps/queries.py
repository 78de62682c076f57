"""Read side for people and tools: listings, single records, histories. Never on an appraisal's path.

Listings are newest first and page by key (``after`` is the place where the last part ended), so that a
page costs as much in a large store as in a small one, and what arrives meanwhile moves nothing. Each call
is one snapshot; states are those at ``now``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from common.errors import Malformed, TooLarge
from rvps.errors import UnknownAttestation, UnknownReferenceValue
from rvps.record_rows import (
    checks_of,
    events_of,
    origins_of,
    retraction_record,
    retractions_of,
    signers_of,
    summary_of,
    value_records,
    waiting_for,
)
from rvps.records import (
    AttestationRecord,
    AttestationState,
    AttestationSummary,
    Page,
    RetractionRecord,
    ValueHistory,
    ValueRecord,
    ValueState,
)
from rvps.rows import materials_of, values_with_lineage
from rvps.tables import (
    attestation,
    attestation_document,
    reference_value,
    retraction,
)
from storage.database import to_micros

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Column, Connection, Row, Select

    from storage.database import Database

MAX_PAGE: Final = 500
DEFAULT_PAGE: Final = 100
_MAX_CURSOR_DIGITS: Final = 18
_MAX_SCANNED: Final = 20


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
    return Page(tuple(summary_of(row) for row in rows), following)


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
            summary=summary_of(row),
            trust_policy=row.trust_policy,
            signers=signers_of(connection, digest),
            origins=origins_of(connection, digest),
            reference_values=connection.execute(
                select(func.count()).where(reference_value.c.attestation == digest)
            ).scalar_one(),
            retractions=retractions_of(connection, (digest,)).get(digest, ()),
            checks=checks_of(connection, digest),
            materials=materials_of(connection, digest),
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
        if state in (ValueState.LIVE, ValueState.WAITING):
            rows, following = _judged_page(connection, query, state, after, limit, now=now)
        else:
            rows, following = _page(connection, query, reference_value.c.seq, after, limit)
        return Page(value_records(connection, rows, now), following)


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
        return value_records(connection, rows, now)[0]


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
        records = value_records(connection, rows, now)
        covering = retractions_of(connection, {row.attestation for row in rows})
        histories = tuple(
            ValueHistory(record, events_of(row, record, covering.get(row.attestation, ()), now))
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
    return Page(tuple(retraction_record(row) for row in rows), following)


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
    query = query.where(reference_value.c.not_before <= moment)
    if state is ValueState.UNVERIFIED:
        return query.where(reference_value.c.unverified.is_not(None))
    # Which of the rest are live and which are waiting is no matter of one row: `_judged_page`.
    return query.where(reference_value.c.unverified.is_(None))


def _judged_page(
    connection: Connection,
    query: Select[Any],
    state: ValueState,
    after: str | None,
    limit: int,
    *,
    now: datetime,
) -> tuple[list[Row[Any]], str | None]:
    """A page of the values that enough trust domains attest, or of those that too few do.

    At most ``_MAX_SCANNED`` parts are looked through for it: a page may be short, and have a next one.
    """
    found: list[Row[Any]] = []
    for _ in range(_MAX_SCANNED):
        rows, following = _page(connection, query, reference_value.c.seq, after, limit)
        waiting = waiting_for(connection, rows, now)
        found += [row for row in rows if (row.id in waiting) == (state is ValueState.WAITING)]
        if len(found) > limit:
            return found[:limit], str(found[limit - 1].seq)
        if following is None or len(found) == limit:
            return found, following
        after = following
    return found, after


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


def _demand(connection: Connection, id: str | None, digest: str | None) -> None:  # noqa: A002
    if id is not None:
        raise UnknownReferenceValue("no reference value has that id")
    if digest is not None:
        found = connection.execute(select(attestation.c.digest).where(attestation.c.digest == digest))
        if found.first() is None:
            raise UnknownAttestation("no attestation has that digest")
