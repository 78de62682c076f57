from __future__ import annotations

import errno
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from common.errors import DatabaseUnavailable, InvalidSetting
from storage import database as module
from storage.database import Database, from_micros, to_micros

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "s3cret-value"
EPOCH = "SELECT epoch, chain FROM reference_state WHERE id = 1"


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path}/data/plain.db")
    yield opened
    opened.close()


def _bump(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE reference_state SET epoch = epoch + 1"))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?uri=true",
        "mysql://h/db",
        "sqlite:////proc/x/y.db",
    ],
)
def test_a_url_that_cannot_serve_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetting):
        Database(url)


def test_a_server_that_is_not_there_is_unavailable_and_no_password_is_told() -> None:
    database = Database(f"postgresql+psycopg://someone:{SECRET}@127.0.0.1:1/none?connect_timeout=2")
    for use in (database.read, database.write):
        with pytest.raises(DatabaseUnavailable) as caught, use():
            pass
        assert SECRET not in str(caught.value)
    with pytest.raises(DatabaseUnavailable):
        database.fast_row(EPOCH)
    database.close()


def test_a_damaged_file_is_unavailable_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 8192)
    database = Database(f"sqlite:///{tmp_path}/bad.db")
    with pytest.raises(DatabaseUnavailable), database.read() as connection:
        connection.execute(text("SELECT 1 FROM sqlite_master"))
    with pytest.raises(DatabaseUnavailable):
        database.fast_row("SELECT 1 FROM sqlite_master")


def test_a_lock_that_is_never_given_up_is_unavailable(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BUSY_TIMEOUT_S", 0.1)
    other = Database(sqlite.url)
    with sqlite.write(), pytest.raises(DatabaseUnavailable, match="SQLITE_BUSY"), other.write():
        pass
    other.close()


def test_parameters_of_a_failed_statement_are_in_no_error_text(database: Database) -> None:
    statement = text("INSERT INTO nowhere (secret) VALUES (:secret)")
    with (
        pytest.raises((DBAPIError, DatabaseUnavailable)) as caught,
        database.write() as connection,
    ):
        connection.execute(statement, {"secret": SECRET})
    texts = [str(error) for error in (caught.value, caught.value.__cause__)]
    assert all(SECRET not in shown for shown in texts)


def test_a_broken_constraint_is_left_to_the_caller(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(text("INSERT INTO reference_state (id, epoch, chain) VALUES (2, 0, 'x')"))


def _change_and_fail(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE reference_state SET epoch = 7"))
        raise RuntimeError


def test_an_exception_rolls_back_everything(database: Database) -> None:
    with pytest.raises(RuntimeError):
        _change_and_fail(database)
    row = database.fast_row(EPOCH)
    assert row is not None
    assert row[0] == 0


def test_a_read_is_one_snapshot(database: Database) -> None:
    with database.read() as connection:
        before = connection.execute(text(EPOCH)).one()
        _bump(database)
        assert connection.execute(text(EPOCH)).one() == before
    with database.read() as connection:
        assert connection.execute(text(EPOCH)).one() != before


def test_a_fast_row_sees_each_commit_at_once(database: Database) -> None:
    other = Database(database.url)
    for expected in range(5):
        row = database.fast_row(EPOCH)
        assert row is not None
        assert row[0] == expected
        _bump(other)
    other.close()


def test_a_fast_row_that_is_not_there_is_none(database: Database) -> None:
    assert database.fast_row("SELECT epoch FROM reference_state WHERE id = 99") is None


def test_fast_rows_come_right_in_many_threads(database: Database) -> None:
    wrong: list[object] = []

    def reader() -> None:
        last = 0
        for _ in range(200):
            row = database.fast_row(EPOCH)
            if row is None or row[0] < last:
                wrong.append(row)
            else:
                last = row[0]

    threads = [threading.Thread(target=reader) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        _bump(database)
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_fast_reader_survives_a_broken_connection(database: Database) -> None:
    assert database.fast_row(EPOCH) is not None
    database._fast._connection.close()
    assert database.fast_row(EPOCH) is not None


def test_a_fast_reader_does_not_hold_back_a_checkpoint(sqlite: Database) -> None:
    with sqlite.write() as connection:
        connection.execute(text("CREATE TABLE numbers (n INTEGER)"))
        connection.execute(text("INSERT INTO numbers VALUES (1), (2)"))
    assert sqlite.fast_row("SELECT n FROM numbers") == (1,)
    with sqlite.write() as connection:
        connection.execute(text("INSERT INTO numbers VALUES (3)"))
    plain = sqlite3.connect(str(sqlite.engine.url.database))
    assert plain.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    plain.close()


def test_a_forked_child_reads_on_connections_of_its_own(database: Database) -> None:
    # In a fresh interpreter: forking the test runner itself would fork its threads' locks.
    script = """
import os, sys
from sqlalchemy import text
from storage.database import Database
database = Database(sys.argv[1])
read = "SELECT epoch FROM reference_state WHERE id = 1"
assert database.fast_row(read) == (0,)
with database.read() as connection:
    connection.execute(text(read)).one()
child = os.fork()
if child == 0:
    database.dispose_after_fork()
    with database.write() as connection:
        connection.execute(text("UPDATE reference_state SET epoch = 1"))
    ok = database.fast_row(read) == (1,)
    database.close()
    os._exit(0 if ok else 1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0
assert database.fast_row(read) == (1,)
with database.write() as connection:
    connection.execute(text("UPDATE reference_state SET epoch = 2"))
assert database.fast_row(read) == (2,)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, database.url],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_database_file_is_private_with_all_that_is_beside_it(sqlite: Database) -> None:
    old = os.umask(0)
    try:
        with sqlite.write() as connection:
            connection.execute(text("CREATE TABLE numbers (n INTEGER)"))
            connection.execute(text("INSERT INTO numbers VALUES (1)"))
            folder = Path(str(sqlite.engine.url.database)).parent
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    finally:
        os.umask(old)
    assert modes == {"plain.db": 0o600, "plain.db-wal": 0o600, "plain.db-shm": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_sqlite_keeps_a_log_and_foreign_keys_hold(sqlite: Database) -> None:
    with sqlite.read() as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    # 1 is NORMAL: every checkpoint is synced by SQLite, every commit by us.
    assert pragmas == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1}


@pytest.mark.parametrize("linked", [False, True])
def test_a_commit_is_flushed_after_the_lock_is_given_up_and_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    real = tmp_path / "real" / "plain.db"
    named = real
    if linked:
        real.parent.mkdir()
        real.touch()
        named = tmp_path / "link.db"
        named.symlink_to(real)
    flushed: list[tuple[int, int]] = []

    def flush(descriptor: int) -> None:
        with sqlite3.connect(real, timeout=0, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")  # fails if the lock is still held
            entries = other.execute("SELECT count(*) FROM entry").fetchone()[0]
            other.execute("ROLLBACK")
        other.close()
        flushed.append((os.fstat(descriptor).st_ino, entries))

    database = Database(f"sqlite:///{named}")
    try:
        with database.write() as connection:
            connection.execute(text("CREATE TABLE entry (number INTEGER PRIMARY KEY)"))
        monkeypatch.setattr(os, "fdatasync", flush)
        with database.write() as connection:
            connection.execute(text("INSERT INTO entry VALUES (1)"))
        log = Path(f"{real}-wal").stat().st_ino
        assert flushed == [(log, 1)]
        with database.write(durable=False) as connection:
            connection.execute(text("INSERT INTO entry VALUES (2)"))
        with pytest.raises(IntegrityError), database.write() as connection:
            connection.execute(text("INSERT INTO entry VALUES (1)"))
        assert flushed == [(log, 1)]
    finally:
        database.close()


def test_a_disk_that_does_not_take_a_commit_is_told(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite.write() as connection:
        connection.execute(text("CREATE TABLE entry (number INTEGER PRIMARY KEY)"))

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(DatabaseUnavailable, match="did not take a commit"), sqlite.write() as connection:
        connection.execute(text("INSERT INTO entry VALUES (1)"))


def test_two_writers_queue_and_neither_loses(database: Database) -> None:
    def writer() -> None:
        for _ in range(20):
            with database.write() as connection:
                row = connection.execute(text(_locking(database)))
                value = row.scalar_one()
                time.sleep(0)
                connection.execute(text("UPDATE reference_state SET epoch = :value"), {"value": value + 1})

    threads = [threading.Thread(target=writer) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row = database.fast_row(EPOCH)
    assert row is not None
    assert row[0] == 60


def _locking(database: Database) -> str:
    plain = "SELECT epoch FROM reference_state WHERE id = 1"
    return f"{plain} FOR UPDATE" if database.dialect == "postgresql" else plain


@settings(deadline=None, max_examples=50)
@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001
def test_times_survive_storage_to_the_microsecond(moment: datetime) -> None:
    assert from_micros(to_micros(moment)) == moment
