"""The record of appraisals: which result rested on which reference values.

Written behind the answer, in batches: what must not be lost is recorded elsewhere before it takes
effect (a release and its audit record, ``kms.release``; the token itself names its reference values).
A killed process loses at most the last ``_INTERVAL_S`` of this record; a graceful stop loses nothing.

When the queue is full the caller waits (back-pressure), it does not drop.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import bindparam, insert, select

from storage.prepared import Prepared
from verifier.tables import appraisal, appraisal_reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from storage.database import Database

_LOG = logging.getLogger(__name__)
_INTERVAL_S = 0.2
_MAX_BATCH = 512
_MAX_QUEUED = 20_000
_IN_CHUNK = 500


_INSERT = Prepared(
    lambda: insert(appraisal).values({item.name: bindparam(item.name) for item in appraisal.c})
)
_INSERT_LINK = Prepared(
    lambda: insert(appraisal_reference).values(jti=bindparam("jti"), reference_id=bindparam("reference_id"))
)


class AppraisalRecord(msgspec.Struct, frozen=True):
    """One appraisal.

    Attributes:
        jti: the token's id.
        at: microseconds since the epoch.
        tee: ``snp`` or ``tpm``.
        status: EAR status.
        bound: how the evidence was bound.
        identity: hardware identity, if proven.
        evidence_digest: SHA-256, hex.
        policy_digest: SHA-256, hex.
        snapshot: reference-value snapshot id.
        references: ids of the reference values relied on.
    """

    jti: str
    at: int
    tee: str
    status: str
    bound: str
    identity: str | None
    evidence_digest: str
    policy_digest: str
    snapshot: str
    references: tuple[str, ...]


class AppraisalRecorder:
    """Writes records behind the answers, from one thread per process, started at first use."""

    def __init__(self, database: Database) -> None:
        """Keep the database; nothing starts before the first record (a fork may come)."""
        self._database = database
        self._queue: queue.Queue[AppraisalRecord | None] = queue.Queue(_MAX_QUEUED)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def record(self, entry: AppraisalRecord) -> None:
        """Queue one record."""
        if self._thread is None:
            self._start()
        self._queue.put(entry)

    def close(self) -> None:
        """Write what is queued and stop."""
        if self._thread is None:
            return
        self._queue.put(None)
        self._thread.join()
        self._thread = None

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="appraisal-recorder", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            batch: list[AppraisalRecord] = []
            entry = self._queue.get()
            # Wait once for company, then take all that came: one transaction for many records.
            if entry is not None:
                threading.Event().wait(_INTERVAL_S)
            while True:
                if entry is None:
                    stopping = True
                    break
                batch.append(entry)
                if len(batch) >= _MAX_BATCH or self._queue.empty():
                    break
                entry = self._queue.get()
            self._write(batch)

    def _write(self, batch: list[AppraisalRecord]) -> None:
        if not batch:
            return
        try:
            with self._database.write() as connection:
                _INSERT.many(connection, [_row(entry) for entry in batch])
                links = [
                    {"jti": entry.jti, "reference_id": reference}
                    for entry in batch
                    for reference in entry.references
                ]
                _INSERT_LINK.many(connection, links)
        except Exception:  # noqa: BLE001 (whatever it is, the thread goes on)
            # The answers have gone out; the loss is of this record only, and is said loudly.
            _LOG.exception("%d appraisal records could not be written", len(batch))


def newest_appraisals(connection: Connection, ids: Sequence[str], *, limit: int) -> list[AppraisalRecord]:
    """The newest ``limit`` appraisals that rested on any of these reference values, newest first.

    ``references`` of each names those of ``ids`` that it rested on.
    """
    newest: dict[str, AppraisalRecord] = {}
    for start in range(0, len(ids), _IN_CHUNK):
        chunk = list(ids[start : start + _IN_CHUNK])
        hit = select(appraisal_reference.c.jti).where(appraisal_reference.c.reference_id.in_(chunk))
        rows = connection.execute(
            select(appraisal)
            .where(appraisal.c.jti.in_(hit))
            .order_by(appraisal.c.at.desc(), appraisal.c.jti)
            .limit(limit)
        ).mappings()
        found = {row["jti"]: AppraisalRecord(**row, references=()) for row in rows}
        newest = dict(sorted((newest | found).items(), key=lambda item: (-item[1].at, item[0]))[:limit])
    relied_on = _references(connection, list(newest), frozenset(ids))
    return [
        msgspec.structs.replace(record, references=tuple(relied_on.get(jti, ())))
        for jti, record in newest.items()
    ]


def _references(connection: Connection, jtis: Sequence[str], ids: frozenset[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for start in range(0, len(jtis), _IN_CHUNK):
        chunk = list(jtis[start : start + _IN_CHUNK])
        rows = connection.execute(
            select(appraisal_reference)
            .where(appraisal_reference.c.jti.in_(chunk))
            .order_by(appraisal_reference.c.reference_id)
        )
        for row in rows:
            if row.reference_id in ids:
                found.setdefault(row.jti, []).append(row.reference_id)
    return found


def _row(entry: AppraisalRecord) -> dict[str, object]:
    row = msgspec.structs.asdict(entry)
    del row["references"]
    return row
