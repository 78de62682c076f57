"""Several processes on one store: the same attestation at once, retractions seen at once, kill -9."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rvps import queries, snapshot
from rvps.ingest import ingest
from rvps.lookup import DatabaseReferenceLookup
from storage.database import Database
from testkit.reference_values import NAME, admitted_statement, derived_value
from tests.rvps.processes import VALUES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOW = datetime(2026, 5, 1, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def _process(task: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.rvps.processes", task, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _tell(process: subprocess.Popen[str], line: str = "") -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_processes_that_ingest_the_same_attestation_store_it_once(database: Database) -> None:
    with _process("ingest_shared", database.url) as one, _process("ingest_shared", database.url) as two:
        both = (one, two)
        assert [_hear(process) for process in both] == ["ready", "ready"]
        for process in both:
            _tell(process)
        answers = sorted(_hear(process).split() for process in both)
    assert [answer[:2] for answer in answers] == [["0", "0"], ["1", str(VALUES)]]
    assert answers[0][2] == answers[1][2]
    assert len(queries.list_attestations(database).items) == 1
    assert len(queries.list_reference_values(database, now=NOW).items) == VALUES


def test_a_retraction_in_another_process_is_seen_by_the_next_lookup(database: Database) -> None:
    lookup = DatabaseReferenceLookup(database)
    with (
        _process("retract_when_told", database.url) as retractor,
        _process("look_up_when_told", database.url) as reader,
    ):
        for round_ in range(8):
            result = ingest(
                database, admitted_statement(f"s{round_}"), [derived_value("v")], submitted_by="ci", now=NOW
            )
            _tell(reader)
            assert _hear(reader) == "1"
            assert len(lookup.select(frozenset({NAME}), frozenset(), NOW).values) == 1
            _tell(retractor, result.attestation)
            assert _hear(retractor) == "done"
            # No pause: the very next look-up, here and in a third process, must know.
            assert lookup.select(frozenset({NAME}), frozenset(), NOW).values == ()
            _tell(reader)
            assert _hear(reader) == "0"


def test_a_killed_process_loses_nothing_that_it_acknowledged_and_leaves_no_halves(
    new_url: Callable[[], str],
) -> None:
    chance = random.Random(7)  # noqa: S311 (when to kill, not a secret)
    url = new_url()
    acknowledged: list[list[str]] = []
    for round_ in range(6):
        with _process("ingest_for_ever", url, f"round{round_}") as process:
            heard = [_hear(process).split()]
            deadline = time.monotonic() + chance.uniform(0.0, 0.15)
            while time.monotonic() < deadline:
                heard.append(_hear(process).split())
            process.kill()  # SIGKILL: no handler runs
            assert process.stdout is not None
            heard += [line.split() for line in process.stdout.read().splitlines()]
        acknowledged += [line for line in heard if len(line) == 3]
    database = Database(url)
    _wait_for_sessions_to_end(database)
    stored: dict[str, int] = {}
    after = None
    while True:
        page = queries.list_attestations(database, after=after, limit=500)
        for item in page.items:
            stored[item.attestation] = queries.get_attestation(database, item.attestation).reference_values
        after = page.next
        if after is None:
            break
    assert {line[1] for line in acknowledged} <= set(stored)
    assert set(stored.values()) == {VALUES}
    # One change per attestation: what was not acknowledged is there whole or not at all.
    with database.read() as connection:
        assert snapshot.first_broken(connection) is None
        assert snapshot.current(connection).epoch == len(stored)
    if database.dialect == "sqlite":
        with database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    database.close()


def _wait_for_sessions_to_end(database: Database) -> None:
    # A PostgreSQL session may still be committing what a killed client had sent.
    if database.dialect == "sqlite":
        return
    others = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    while database.fast_row(others) != (0,):
        time.sleep(0.01)
