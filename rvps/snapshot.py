"""The store's state: an epoch that counts changes, and a chain of digests over what they were.

The snapshot id ``<epoch>-<first 16 hex of the chain digest>`` names one state: two stores that were
changed differently, or one that was restored from a backup and then changed differently, have different
ids. It changes with every ingest that adds something and with every retraction.

Chain digest: ``SHA-256(previous digest, 32 bytes || change record, RFC 8785 JSON)``; the first previous
digest is ``rvps.tables.GENESIS``. The chain lets a reader notice; it is no signature: who can write the
database can write a new chain. The audit log of the KMS room records the ids it acted on.

Who changes the store calls ``lock`` first and ``advance`` last, in one write transaction.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import insert, select, update

from common import strict_json
from common.errors import SchemaMismatch
from rvps.tables import GENESIS, reference_change, reference_state
from storage.database import to_micros

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection

_ID_DIGEST_CHARS: Final = 16
# For ``Database.fast_row``: the columns of ``State``, in its order.
STATE_SQL: Final = "SELECT epoch, chain, declared FROM reference_state WHERE id = 1"
_CHAIN = select(reference_state.c.epoch, reference_state.c.chain).where(reference_state.c.id == 1)
_STATE = _CHAIN.add_columns(reference_state.c.declared)


class State(msgspec.Struct, frozen=True):
    """One state of the store.

    Attributes:
        epoch: number of changes so far.
        chain: digest of the last one, hex.
        declared: number of changes of declared values (``rvps.declared``): they have no part in the chain,
            so the snapshot id says nothing of them.
    """

    epoch: int
    chain: str
    declared: int = 0

    @property
    def snapshot(self) -> str:
        """The snapshot id."""
        return f"{self.epoch}-{self.chain[:_ID_DIGEST_CHARS]}"


def current(connection: Connection) -> State:
    """The state that the transaction sees.

    Raises:
        SchemaMismatch: the row that holds it is not there.
    """
    return state_of(connection.execute(_STATE).one_or_none())


def lock(connection: Connection) -> State:
    """The latest epoch and chain, held against every other writer until the transaction ends."""
    return state_of(connection.execute(_CHAIN.with_for_update()).one_or_none())


def state_of(row: Any) -> State:
    """The state in a row of ``STATE_SQL``.

    Raises:
        SchemaMismatch: there is none.
    """
    if row is None:
        raise SchemaMismatch("the reference-value store has no state row")
    return State(*row)


def advance(connection: Connection, before: State, change: Mapping[str, Any], now: datetime) -> State:
    """Write a change record and the state that it leads to.

    Args:
        connection: the write transaction that called ``lock``.
        before: what ``lock`` returned.
        change: what changed; strings, integers and lists of them.
        now: when.
    """
    at = to_micros(now)
    record = strict_json.canonical({**change, "at": at, "epoch": before.epoch + 1})
    after = State(before.epoch + 1, _link(before.chain, record))
    connection.execute(
        insert(reference_change).values(
            epoch=after.epoch, at=at, record=record.decode("utf-8"), chain=after.chain
        )
    )
    connection.execute(
        update(reference_state)
        .where(reference_state.c.id == 1)
        .values(epoch=after.epoch, chain=after.chain)
    )
    return after


def first_broken(connection: Connection) -> int | None:
    """The first epoch whose record or digest does not follow from the ones before; None if all do."""
    state = State(0, GENESIS)
    rows = connection.execute(select(reference_change).order_by(reference_change.c.epoch)).yield_per(1000)
    for row in rows:
        expected = State(state.epoch + 1, _link(state.chain, row.record.encode("utf-8")))
        if State(row.epoch, row.chain) != expected:
            return expected.epoch
        state = expected
    present = current(connection)
    return None if (present.epoch, present.chain) == (state.epoch, state.chain) else state.epoch + 1


def _link(previous: str, record: bytes) -> str:
    return hashlib.sha256(bytes.fromhex(previous) + record).hexdigest()
