"""The change log, read forward: what a subscriber needs to follow this store.

A change is an ingest or a retraction, exactly as it was hashed into the store's chain
(``rvps.snapshot``), with what it speaks of: the envelope and the values that arrived, or the target that
was retracted. Values are given as they were ingested, also those that were retracted since: the
retraction is a later change of its own. Values that nobody signed, and values that need several trust
domains, are left out: one instance's word must not make more of them at another.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import select

from provenance.model import DerivedValue
from provenance.predicates.reference import Source
from rvps.rows import IN_CHUNK
from rvps.tables import (
    GENESIS,
    NEVER,
    attestation,
    attestation_document,
    attestation_origin,
    reference_change,
    reference_value,
)
from storage.database import from_micros

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Row

    from storage.database import Database


class Change(msgspec.Struct, frozen=True):
    """One change of the store.

    Attributes:
        epoch: its number, from 1.
        previous: chain digest before it, hex.
        chain: chain digest after it, hex: SHA-256(previous || record).
        record: the change record, RFC 8785 JSON.
        at: when.
        envelope: of an ingest, the bytes that were submitted.
        sources: of an ingest, the attestation and the ones that it named as origins.
        values: of an ingest, the values that it added and that one trust domain's word makes.
        retracted: of the retraction of one value, that value and the attestation it came from.
    """

    epoch: int
    previous: str
    chain: str
    record: str
    at: datetime
    envelope: bytes | None = None
    sources: tuple[Source, ...] = ()
    values: tuple[DerivedValue, ...] = ()
    retracted: tuple[str, str, str] | None = None


def changes_after(database: Database, epoch: int, *, limit: int, max_bytes: int) -> tuple[Change, ...]:
    """Changes with a number beyond ``epoch``, in order; one snapshot.

    Args:
        database: where.
        epoch: the last one that the caller has; 0 for all.
        limit: at most so many.
        max_bytes: of envelopes, together; one change is given whatever its size.
    """
    with database.read() as connection:
        previous = _chain_at(connection, epoch)
        if previous is None:
            return ()
        rows = connection.execute(
            select(reference_change)
            .where(reference_change.c.epoch > epoch)
            .order_by(reference_change.c.epoch)
            .limit(limit)
        ).all()
        found: list[Change] = []
        size = 0
        for row in rows:
            change = _change(connection, row, previous)
            size += len(change.envelope or b"")
            if found and size > max_bytes:
                break
            found.append(change)
            previous = row.chain
    return tuple(found)


def _chain_at(connection: Connection, epoch: int) -> str | None:
    if epoch == 0:
        return GENESIS
    found: str | None = connection.execute(
        select(reference_change.c.chain).where(reference_change.c.epoch == epoch)
    ).scalar_one_or_none()
    return found


def _change(connection: Connection, row: Row[Any], previous: str) -> Change:
    record: dict[str, Any] = json.loads(row.record)
    change = Change(
        epoch=row.epoch, previous=previous, chain=row.chain, record=row.record, at=from_micros(row.at)
    )
    if record["change"] == "ingested":
        digest = str(record["attestation"])
        return msgspec.structs.replace(
            change,
            envelope=_envelope(connection, digest),
            sources=_sources(connection, digest),
            values=_values(connection, record["reference_values"]),
        )
    if record.get("kind") == "reference_value":
        return msgspec.structs.replace(change, retracted=_one_value(connection, str(record["target"])))
    return change


def _envelope(connection: Connection, digest: str) -> bytes:
    return bytes(
        connection.execute(
            select(attestation_document.c.envelope).where(attestation_document.c.attestation == digest)
        ).scalar_one()
    )


def _sources(connection: Connection, digest: str) -> tuple[Source, ...]:
    columns = (attestation.c.digest, attestation.c.builder, attestation.c.source_uri)
    own = connection.execute(
        select(*columns, attestation.c.source_revision).where(attestation.c.digest == digest)
    ).one()
    origin = attestation_origin.c
    others = connection.execute(
        select(origin.origin, origin.builder, origin.source_uri, origin.source_revision)
        .where(origin.attestation == digest)
        .order_by(origin.origin)
    )
    return tuple(Source(*row) for row in (own, *others))


def _values(connection: Connection, ids: Sequence[str]) -> tuple[DerivedValue, ...]:
    found: list[DerivedValue] = []
    for start in range(0, len(ids), IN_CHUNK):
        rows = connection.execute(
            select(reference_value)
            .where(reference_value.c.id.in_(ids[start : start + IN_CHUNK]))
            .where(reference_value.c.unverified.is_(None), reference_value.c.contest.is_(None))
            .order_by(reference_value.c.seq)
        )
        found += [_value(row) for row in rows]
    return tuple(found)


def _value(row: Row[Any]) -> DerivedValue:
    return DerivedValue(
        name=row.name,
        value=json.loads(row.value),
        tee=row.tee,
        group=row.release_group,
        rule=row.rule,
        inputs=json.loads(row.inputs),
        not_before=from_micros(row.not_before),
        expires=None if row.expires == NEVER else from_micros(row.expires),
        scalar=row.scalar,
    )


def _one_value(connection: Connection, id_: str) -> tuple[str, str, str] | None:
    row = connection.execute(
        select(reference_value.c.attestation, reference_value.c.name, reference_value.c.value).where(
            reference_value.c.id == id_
        )
    ).one_or_none()
    return None if row is None else (row.attestation, row.name, row.value)
