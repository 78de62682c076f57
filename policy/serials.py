"""Policies with serials: the highest that was ever active is remembered, and never undercut.

Invariants: the mark is read and raised in the transaction of the activation, under the lock that orders all
activations; it never falls. Equal serials are one document, by digest. Once a policy of a name had a
serial, none without one can follow, and there is no rollback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import insert, select, update

from policy.errors import PolicyRollbackRefused, PolicySerialStale
from policy.tables import policy_serial
from policy.versions import of_policy
from storage.database import to_micros

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any

    from sqlalchemy import Connection

    from policy.port import PolicyKind


class Serial(msgspec.Struct, frozen=True):
    """What a policy says of its place in the order.

    Attributes:
        number: positive; higher is later.
        digest: SHA-256 of the document that has it, hex: signatures around it do not count.
    """

    number: int
    digest: str


def mark(connection: Connection, kind: PolicyKind, name: str) -> Serial | None:
    """The highest serial that was ever active; None where no policy of that name had one."""
    row = _row(connection, kind, name)
    return None if row is None else Serial(row.serial, row.digest)


def advance(
    connection: Connection, kind: PolicyKind, name: str, claim: Serial | None, now: datetime
) -> None:
    """Demand that ``claim`` is not behind the mark, and raise the mark to it.

    Raises:
        PolicySerialStale: lower, equal and of another document, or none where there was one.
    """
    present = mark(connection, kind, name)
    if present is not None and (claim is None or claim.number < present.number):
        raise PolicySerialStale(
            f"serial {present.number} was active, and this policy has "
            + ("none" if claim is None else f"serial {claim.number}"),
            details={"highest": present.number, "serial": None if claim is None else claim.number},
        )
    if claim is None:
        return
    if present is None:
        row = {"kind": kind.value, "name": name, "at": to_micros(now)}
        connection.execute(insert(policy_serial).values(**row, serial=claim.number, digest=claim.digest))
        return
    if claim.number == present.number:
        if claim.digest != present.digest:
            raise PolicySerialStale(
                f"another document with serial {claim.number} was active",
                details={"highest": present.number, "digest": present.digest},
            )
        return
    connection.execute(
        update(policy_serial)
        .where(of_policy(policy_serial, kind, name))
        .values(serial=claim.number, digest=claim.digest, at=to_micros(now))
    )


def refuse_rollback(connection: Connection, kind: PolicyKind, name: str) -> None:
    """Demand that no policy of that name had a serial.

    Raises:
        PolicyRollbackRefused: one had.
    """
    present = mark(connection, kind, name)
    if present is not None:
        raise PolicyRollbackRefused(
            f"{kind} policy {name!a} has serials, {present.number} is the highest: there is no way back",
            details={"highest": present.number},
        )


def _row(connection: Connection, kind: PolicyKind, name: str) -> Any:
    query = select(policy_serial.c.serial, policy_serial.c.digest)
    return connection.execute(query.where(of_policy(policy_serial, kind, name))).one_or_none()
