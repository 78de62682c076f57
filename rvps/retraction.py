"""Write side: take back what attestations or values rest on, and with it all that rests on it.

Order, in one write transaction: the store's state is taken; the retraction is written (or is there
already: then nothing follows); the attestations that it covers are noted and marked; every value of them
that still lived is marked; the state advances. When the transaction commits, all of them are dead at
once, for every process: look-ups read the state on each use, releases read the rows.

Invariants: nothing is deleted, and nothing undoes a retraction. A retraction of
anything but a single value stands: ``rvps.ingest`` refuses what it covers, for ever. A value with the same
name and content from an attestation that is not covered is another row, and lives on; unless a trust policy
demands several domains, and too few are left (``rvps.quorum``).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import insert, literal, select, update

from rvps import snapshot
from rvps.errors import UnknownAttestation, UnknownReferenceValue
from rvps.reach import corroborated, reached, short_of_domains, values_of
from rvps.tables import (
    attestation,
    attestation_origin,
    reference_value,
    retraction,
    retraction_attestation,
)
from rvps.targets import OF_VALUES, RetractionTarget, TargetKind, covered, printable
from storage.database import Database, to_micros

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import Connection

__all__ = [
    "Affected",
    "RetractionResult",
    "RetractionTarget",
    "TargetKind",
    "affected",
    "retract",
    "retract_in",
]


class RetractionResult(msgspec.Struct, frozen=True):
    """What a retraction did.

    Attributes:
        retraction: its id; equal targets have equal ids.
        created: false if the same target had been retracted before, with what that left.
        attestations: digests of the attestations covered, those that were retracted already included.
        reference_values: ids of the values that died by it.
        snapshot: the store's state after it.
    """

    retraction: str
    created: bool
    attestations: tuple[str, ...]
    reference_values: tuple[str, ...]
    snapshot: str


class Affected(msgspec.Struct, frozen=True):
    """What rests on a target, whether it has been retracted yet or not. Ids and digests are sorted.

    Attributes:
        attestations: digests of the attestations covered.
        reference_values: ids of all their values.
        live: those of the values that no retraction has hit.
        corroborated: those of the values whose name and content another attestation, which is not
            covered and not retracted, vouches for as well, by enough trust domains where the policy
            demands several: they go on matching through that one.
    """

    attestations: tuple[str, ...]
    reference_values: tuple[str, ...]
    live: tuple[str, ...]
    corroborated: tuple[str, ...]


def retract(
    database: Database, target: RetractionTarget, *, reason: str, by: str, now: datetime
) -> RetractionResult:
    """Retract; durable and in force when it returns. A second time changes nothing.

    Args:
        database: where.
        target: what.
        reason: why, for those who come later.
        by: the caller.
        now: aware UTC.

    Raises:
        UnknownAttestation: no attestation has that digest, and none names it as an origin. (What other
            kinds name need not be known: the retraction stands against what is to come.)
        UnknownReferenceValue: no value has that id.
        Malformed, TooLarge: target, reason or caller cannot be read.
        DatabaseUnavailable: nothing was retracted.
    """
    with database.write() as connection:
        return retract_in(connection, target, reason=reason, by=by, now=now)


def retract_in(
    connection: Connection, target: RetractionTarget, *, reason: str, by: str, now: datetime
) -> RetractionResult:
    """``retract`` as part of the caller's write transaction (with an audit record, say)."""
    target.check()
    printable(reason, what="the reason")
    printable(by, what="the caller")
    before = snapshot.lock(connection)
    if _is_there(connection, target):
        return _earlier(connection, target, before)
    _demand_known(connection, target)
    _write(connection, target, reason=reason, by=by, now=now, epoch=before.epoch + 1)
    attestations = _mark_attestations(connection, target)
    values = _mark_values(connection, target)
    change = {
        "change": "retracted",
        "retraction": target.id,
        "kind": target.kind.value,
        "target": target.value,
        "issuer": target.issuer,
        "since": target.since_micros,
        "attestations": len(attestations),
        "reference_values": len(values),
        "reason": reason,
        "by": by,
    }
    after = snapshot.advance(connection, before, change, now)
    return RetractionResult(
        retraction=target.id,
        created=True,
        attestations=attestations,
        reference_values=values,
        snapshot=after.snapshot,
    )


def affected(source: Database | Connection, target: RetractionTarget, *, now: datetime) -> Affected:
    """What a retraction of ``target`` would hit, or did hit; ``now`` for what else is valid.

    Raises:
        UnknownAttestation, UnknownReferenceValue: as ``retract``.
        Malformed, TooLarge: the target cannot be read.
    """
    target.check()
    with _reading(source) as connection:
        _demand_known(connection, target)
        resting = select(covered(target).c.digest)
        digests = connection.execute(resting).scalars().all()
        if target.kind in OF_VALUES:
            of_values = select(reference_value.c.attestation).where(reached(target, resting))
            digests = connection.execute(of_values.distinct()).scalars().all()
        rows = connection.execute(
            select(
                reference_value.c.id,
                reference_value.c.retraction,
                *(reference_value.c[name] for name in ("name", "value", "tee", "scalar")),
                corroborated(target, resting).label("corroborated"),
            )
            .where(reached(target, resting))
            .order_by(reference_value.c.id)
        ).all()
        short = short_of_domains(connection, target, resting, rows, now)
    return Affected(
        attestations=tuple(sorted(digests)),
        reference_values=tuple(row.id for row in rows),
        live=tuple(row.id for row in rows if row.retraction is None),
        corroborated=tuple(row.id for row in rows if row.corroborated and row.id not in short),
    )


@contextmanager
def _reading(source: Database | Connection) -> Iterator[Connection]:
    if isinstance(source, Database):
        with source.read() as connection:
            yield connection
    else:
        yield source


def _is_there(connection: Connection, target: RetractionTarget) -> bool:
    found = connection.execute(select(retraction.c.id).where(retraction.c.id == target.id))
    return found.scalar_one_or_none() is not None


def _earlier(connection: Connection, target: RetractionTarget, state: snapshot.State) -> RetractionResult:
    digests = connection.execute(
        select(retraction_attestation.c.attestation)
        .where(retraction_attestation.c.retraction == target.id)
        .order_by(retraction_attestation.c.attestation)
    ).scalars()
    ids = connection.execute(
        select(reference_value.c.id)
        .where(reference_value.c.retraction == target.id)
        .order_by(reference_value.c.id)
    ).scalars()
    return RetractionResult(
        retraction=target.id,
        created=False,
        attestations=tuple(digests),
        reference_values=tuple(ids),
        snapshot=state.snapshot,
    )


def _demand_known(connection: Connection, target: RetractionTarget) -> None:
    if target.kind is TargetKind.ATTESTATION:
        here = select(attestation.c.digest).where(attestation.c.digest == target.value)
        named = select(attestation_origin.c.origin).where(attestation_origin.c.origin == target.value)
        if connection.execute(here.union(named)).first() is None:
            raise UnknownAttestation(
                f"no attestation has the digest {target.value}, or rests on one that has"
            )
    if target.kind is TargetKind.REFERENCE_VALUE:
        found = select(reference_value.c.id).where(reference_value.c.id == target.value)
        if connection.execute(found).first() is None:
            raise UnknownReferenceValue(f"no reference value has the id {target.value}")


def _write(
    connection: Connection, target: RetractionTarget, *, reason: str, by: str, now: datetime, epoch: int
) -> None:
    connection.execute(
        insert(retraction).values(
            id=target.id,
            kind=target.kind.value,
            value=target.value,
            issuer=target.issuer,
            since=target.since_micros,
            reason=reason,
            by=by,
            at=to_micros(now),
            epoch=epoch,
        )
    )


def _mark_attestations(connection: Connection, target: RetractionTarget) -> tuple[str, ...]:
    resting = covered(target)
    connection.execute(
        insert(retraction_attestation).from_select(
            ["retraction", "attestation"], select(literal(target.id), resting.c.digest)
        )
    )
    noted = select(retraction_attestation.c.attestation).where(
        retraction_attestation.c.retraction == target.id
    )
    connection.execute(
        update(attestation)
        .where(attestation.c.digest.in_(noted), attestation.c.retraction.is_(None))
        .values(retraction=target.id)
    )
    return tuple(sorted(connection.execute(noted).scalars()))


def _mark_values(connection: Connection, target: RetractionTarget) -> tuple[str, ...]:
    died = connection.execute(
        update(reference_value)
        .where(reference_value.c.retraction.is_(None), values_of(target))
        .values(retraction=target.id)
        .returning(reference_value.c.id)
    ).scalars()
    return tuple(sorted(died))
