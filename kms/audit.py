"""The audit log: append-only, gapless, hash-chained. Without a record in it nothing happens.

Invariants:

* ``append`` writes inside the caller's transaction: the record and what it records are committed
  together or not at all. A failure to write raises ``AuditUnavailable`` and so undoes both.
* An entry is RFC 8785 JSON, so a newline or a quote in a name cannot forge a second record.
* ``digest = SHA-256(digest of the record before || entry)``; the first one follows 32 zero bytes.
  The entry holds its own sequence and time: nothing about a record can change unseen.
* Sequences are 1, 2, 3 ... without a gap. Writers queue on the head row (PostgreSQL: table lock;
  SQLite: the transaction's write lock), so that two replicas cannot take one number.
* Records hold names, digests and decisions. A secret or a token is never put into one.

What a chain alone cannot show, the cutting off of its end, signed checkpoints do (``kms.checkpoints``).
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from common import strict_json
from common.errors import DatabaseUnavailable, InputError
from kms.errors import AuditUnavailable
from kms.tables import audit_head, audit_record
from storage.database import from_micros, to_micros
from storage.prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Row

    from storage.database import Database

ZERO_DIGEST = "0" * 64
_ENTRY_VERSION = 1
_HEAD_ID = 1
_MAX_NAME = 512
_MAX_ENTRY_BYTES = 64 << 10
_BATCH = 1000


_HEAD = Prepared(lambda: select(audit_head.c.sequence, audit_head.c.digest))
_INSERT = Prepared(
    lambda: insert(audit_record).values(
        {name: bindparam(name) for name in ("sequence", "at", "action", "target", "entry", "digest")}
    )
)
_ADVANCE = Prepared(
    lambda: update(audit_head).values(sequence=bindparam("new_sequence"), digest=bindparam("new_digest"))
)


class AuditEvent(msgspec.Struct, frozen=True):
    """What happened.

    Attributes:
        action: dotted, stable (``secret.release``).
        actor: who: an admin's name, or the hardware identity of a guest.
        target: what it was done to (``resource/repo/type/tag``).
        outcome: ``done`` or ``denied``.
        at: when.
        details: further public facts: JSON-compatible, no floats, never a secret.
    """

    action: str
    actor: str
    target: str
    outcome: str
    at: datetime
    details: dict[str, Any] = {}


class AuditRecord(msgspec.Struct, frozen=True):
    """A record as it stands in the log.

    Attributes:
        sequence: 1, 2, 3 ...
        digest: SHA-256, hex, over the digest before it and the entry.
        entry: the entry, parsed.
    """

    sequence: int
    digest: str
    entry: dict[str, Any]


class AuditHead(msgspec.Struct, frozen=True):
    """The end of the log: 0 and ``ZERO_DIGEST`` while it is empty."""

    sequence: int
    digest: str


class AuditVerification(msgspec.Struct, frozen=True, omit_defaults=True):
    """Result of walking the log.

    Attributes:
        holds: whether everything agrees.
        records: how many were verified, up to the first break.
        head: the digest of the last verified record.
        broken_at: sequence of the first record that does not hold.
        reason: what is wrong there.
    """

    holds: bool
    records: int
    head: str
    broken_at: int | None = None
    reason: str = ""


class AuditLog:
    """The log of one database."""

    def __init__(self, database: Database) -> None:
        """Keep the database."""
        self._database = database

    def append(self, connection: Connection, event: AuditEvent) -> AuditRecord:
        """Append inside the caller's transaction; durable when that commits.

        Raises:
            AuditUnavailable: the log cannot be written, or the event has no canonical form. The
                caller's transaction must not commit.
        """
        try:
            return _append(connection, event)
        except (SQLAlchemyError, InputError, UnicodeError) as error:
            raise AuditUnavailable("the audit record could not be written") from error

    def record(self, event: AuditEvent) -> AuditRecord:
        """Append in a transaction of its own; durable on return.

        Raises:
            AuditUnavailable: the log cannot be written.
        """
        try:
            with self._database.write() as connection:
                return self.append(connection, event)
        except DatabaseUnavailable as error:
            raise AuditUnavailable("the audit record could not be committed") from error

    def head(self) -> AuditHead:
        """The end of the log."""
        with self._database.read() as connection:
            return read_head(connection)

    def verify(self) -> AuditVerification:
        """Walk the log from its first record to its head; stops at the first break."""
        with self._database.read() as connection:
            # The highest record is read before the head, so that one appended between is no break.
            highest = connection.execute(select(func.max(audit_record.c.sequence))).scalar() or 0
            head = read_head(connection)
            return _walk(connection, highest, head)


def read_head(connection: Connection) -> AuditHead:
    """The end of the log, as the transaction sees it."""
    row = _HEAD.first(connection)
    return AuditHead(0, ZERO_DIGEST) if row is None else AuditHead(*row)


def chain_digest(previous: str, entry: bytes) -> str:
    """The digest of a record from the digest before it (hex) and its entry."""
    return hashlib.sha256(bytes.fromhex(previous) + entry).hexdigest()


def lock_head(connection: Connection) -> None:
    """Make other writers of the log wait for this transaction."""
    # SQLite has the database's write lock since BEGIN IMMEDIATE.
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE audit_head IN EXCLUSIVE MODE")


def _append(connection: Connection, event: AuditEvent) -> AuditRecord:
    lock_head(connection)
    head = read_head(connection)
    sequence = head.sequence + 1
    entry = _entry(sequence, event)
    encoded = strict_json.canonical(entry)
    if len(encoded) > _MAX_ENTRY_BYTES:
        raise AuditUnavailable(f"an audit entry has {len(encoded)} bytes, the limit is {_MAX_ENTRY_BYTES}")
    digest = chain_digest(head.digest, encoded)
    _INSERT.run(
        connection,
        sequence=sequence,
        at=to_micros(event.at),
        action=event.action,
        target=entry["target"],
        entry=encoded,
        digest=digest,
    )
    if sequence == 1:
        connection.execute(insert(audit_head).values(id=_HEAD_ID, sequence=sequence, digest=digest))
    else:
        _ADVANCE.run(connection, new_sequence=sequence, new_digest=digest)
    return AuditRecord(sequence, digest, entry)


def _entry(sequence: int, event: AuditEvent) -> dict[str, Any]:
    return {
        "v": _ENTRY_VERSION,
        "sequence": sequence,
        "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "action": event.action,
        "actor": event.actor[:_MAX_NAME],
        "target": event.target[:_MAX_NAME],
        "outcome": event.outcome,
        "details": event.details,
    }


def _walk(connection: Connection, highest: int, head: AuditHead) -> AuditVerification:
    digest, verified = ZERO_DIGEST, 0
    for row in _rows(connection, head.sequence):
        reason = _fault(row, verified + 1, digest)
        if reason:
            return _broken(verified, digest, verified + 1, reason)
        digest, verified = row.digest, verified + 1
    if verified != head.sequence:
        return _broken(verified, digest, verified + 1, "the record is missing")
    if digest != head.digest:
        return _broken(verified, digest, head.sequence, "the head names another digest")
    if highest > head.sequence:
        return _broken(verified, digest, head.sequence + 1, "a record stands behind the head")
    return AuditVerification(holds=True, records=verified, head=digest)


def _broken(verified: int, digest: str, at: int, reason: str) -> AuditVerification:
    return AuditVerification(holds=False, records=verified, head=digest, broken_at=at, reason=reason)


def _rows(connection: Connection, last: int) -> Iterator[Row[Any]]:
    position = 0
    while True:
        statement = (
            select(audit_record)
            .where(audit_record.c.sequence > position, audit_record.c.sequence <= last)
            .order_by(audit_record.c.sequence)
            .limit(_BATCH)
        )
        rows = connection.execute(statement).all()
        yield from rows
        if len(rows) < _BATCH:
            return
        position = rows[-1].sequence


def _fault(row: Row[Any], expected: int, previous: str) -> str:
    """What is wrong with a record; empty if nothing is."""
    if row.sequence != expected:
        return "the record is missing"
    if chain_digest(previous, row.entry) != row.digest:
        return "the digest does not follow from the record before and the entry"
    try:
        entry = strict_json.loads(row.entry, what="audit entry", max_bytes=_MAX_ENTRY_BYTES)
    except InputError:
        return "the entry is not JSON"
    at = from_micros(row.at).isoformat(timespec="microseconds")
    stated = (entry.get("sequence"), entry.get("at"), entry.get("action"), entry.get("target"))
    if stated != (row.sequence, at, row.action, row.target):
        return "the indexed columns differ from the entry"
    return ""
