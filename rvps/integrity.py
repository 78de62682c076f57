"""Holds the store's tables against its chain of changes: a row that was edited, added or taken away shows.

Checked, in this order: every change record follows from the one before (``rvps.snapshot``); the values of
each change are those that its record names, and each is still what its id is a digest of; the retractions
that the records name are there; and no value lives that a retraction covers.

Who can write the database can write a new chain as well: the audit log of the KMS room holds snapshot ids,
and its signed checkpoints can be kept elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import select

from common import strict_json
from common.errors import InputError
from rvps import snapshot
from rvps.ingest_rows import value_id
from rvps.reach import values_of
from rvps.tables import reference_change, reference_value, retraction
from rvps.targets import RetractionTarget, TargetKind
from storage.database import from_micros

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from storage.database import Database

MAX_REPORTED: Final = 100
_CHUNK: Final = 1000
_MAX_RECORD: Final = 64 << 20


class StoreDiscrepancy(msgspec.Struct, frozen=True):
    """One thing that tables and chain disagree about.

    Attributes:
        what: ``altered``, ``unrecorded``, ``missing`` (of a value or a retraction) or ``alive`` (a value
            that a retraction covers).
        target: id of the value or the retraction.
        epoch: of the change that it belongs to.
    """

    what: str
    target: str
    epoch: int


class StoreVerification(msgspec.Struct, frozen=True):
    """Whether the reference-value store is what its changes made it.

    Attributes:
        holds: it is.
        changes: how many there were.
        broken_at: the first epoch whose record does not follow from the ones before, if any.
        discrepancies: at most ``MAX_REPORTED``.
    """

    holds: bool
    changes: int
    broken_at: int | None
    discrepancies: tuple[StoreDiscrepancy, ...]


def verify_store(database: Database) -> StoreVerification:
    """Walk the whole store, in one snapshot of the database.

    Raises:
        DatabaseUnavailable: the database does not answer.
        SchemaMismatch: the database is not migrated.
    """
    with database.read() as connection:
        changes = snapshot.current(connection).epoch
        broken = snapshot.first_broken(connection)
        found = []
        for item in _discrepancies(connection):
            found.append(item)
            if len(found) == MAX_REPORTED:
                break
    return StoreVerification(broken is None and not found, changes, broken, tuple(found))


def _discrepancies(connection: Connection) -> Iterator[StoreDiscrepancy]:
    named = _recorded(connection)
    yield from _values(connection, named)
    yield from _retractions(connection, named)


class _Recorded(msgspec.Struct):
    """What the change records name: ids of values, each with its epoch; ids of retractions likewise."""

    values: dict[str, int] = {}
    retractions: dict[str, int] = {}


def _recorded(connection: Connection) -> _Recorded:
    found = _Recorded()
    query = select(reference_change.c.epoch, reference_change.c.record).order_by(reference_change.c.epoch)
    for row in connection.execute(query).yield_per(_CHUNK):
        try:
            record = strict_json.loads(
                row.record.encode("utf-8"), what="change record", max_bytes=_MAX_RECORD
            )
        except InputError:
            continue  # the chain is broken there, which is said
        if not isinstance(record, dict):
            continue
        for id_ in record.get("reference_values", ()) if record.get("change") == "ingested" else ():
            found.values[str(id_)] = row.epoch
        if record.get("change") == "retracted":
            found.retractions[str(record.get("retraction"))] = row.epoch
    return found


def _values(connection: Connection, named: _Recorded) -> Iterator[StoreDiscrepancy]:
    missing = dict(named.values)
    for row in connection.execute(select(reference_value)).yield_per(_CHUNK):
        if named.values.get(row.id) != row.epoch:
            yield StoreDiscrepancy("unrecorded", row.id, row.epoch)
        elif value_id(row._asdict()) != row.id:
            yield StoreDiscrepancy("altered", row.id, row.epoch)
        missing.pop(row.id, None)
    yield from (StoreDiscrepancy("missing", id_, epoch) for id_, epoch in missing.items())


def _retractions(connection: Connection, named: _Recorded) -> Iterator[StoreDiscrepancy]:
    missing = dict(named.retractions)
    for row in connection.execute(select(retraction).order_by(retraction.c.epoch)).all():
        target = _target(row)
        if named.retractions.get(row.id) != row.epoch:
            yield StoreDiscrepancy("unrecorded", row.id, row.epoch)
        elif target is None or target.id != row.id:
            yield StoreDiscrepancy("altered", row.id, row.epoch)
        else:
            yield from _alive(connection, target)
        missing.pop(row.id, None)
    yield from (StoreDiscrepancy("missing", id_, epoch) for id_, epoch in missing.items())


def _alive(connection: Connection, target: RetractionTarget) -> Iterator[StoreDiscrepancy]:
    """Values that a retraction covers and that live all the same: whatever came later was refused."""
    query = (
        select(reference_value.c.id, reference_value.c.epoch)
        .where(reference_value.c.retraction.is_(None), values_of(target))
        .limit(MAX_REPORTED)
    )
    for row in connection.execute(query):
        yield StoreDiscrepancy("alive", row.id, row.epoch)


def _target(row: Any) -> RetractionTarget | None:
    try:
        kind = TargetKind(row.kind)
    except ValueError:
        return None
    since = None if row.since is None else from_micros(row.since)
    return RetractionTarget(kind, row.value, row.issuer, since)
