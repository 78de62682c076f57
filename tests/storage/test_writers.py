"""SQLite's write transactions: kept connections, both ways of executing in one, failures, many at once."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, bindparam, column, insert, table, text

from common.errors import DatabaseUnavailable
from storage import writers
from storage.database import Database
from storage.prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NUMBER = table("number", column("n"))
_INSERT = Prepared(lambda: insert(_NUMBER).values(n=bindparam("n")))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'plain.db'}")
    with made.write() as connection:
        connection.execute(text("CREATE TABLE number (n INTEGER PRIMARY KEY)"))
    yield made
    made.close()


def _numbers(database: Database) -> list[int]:
    with database.read() as connection:
        return [row[0] for row in connection.execute(text("SELECT n FROM number ORDER BY n"))]


def _driver(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def test_what_either_way_executes_is_in_one_transaction(database: Database) -> None:
    with database.write() as connection:
        _INSERT.run(connection, n=1)
        connection.execute(text("INSERT INTO number VALUES (2)"))
        _INSERT.run(connection, n=3)
        assert _numbers(database) == []
    assert _numbers(database) == [1, 2, 3]

    def fail(connection: Connection) -> None:
        _INSERT.run(connection, n=4)
        connection.execute(text("INSERT INTO number VALUES (5)"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), database.write() as connection:
        fail(connection)
    assert _numbers(database) == [1, 2, 3]


def test_a_savepoint_inside_is_undone_by_itself(database: Database) -> None:
    def fail(connection: Connection) -> None:
        _INSERT.run(connection, n=2)
        raise ZeroDivisionError

    with database.write() as connection:
        _INSERT.run(connection, n=1)
        with pytest.raises(ZeroDivisionError), connection.begin_nested():
            fail(connection)
        _INSERT.run(connection, n=3)
    assert _numbers(database) == [1, 3]


def test_a_connection_serves_one_transaction_after_the_other(database: Database) -> None:
    with database.write() as connection:
        first = _driver(connection)
        connection.execute(text("INSERT INTO number VALUES (1)"))
    with database.write() as connection:
        assert _driver(connection) is first
        assert not connection.in_transaction()  # SQLAlchemy has no account of one before it executes
        assert first.in_transaction


def test_a_connection_that_failed_is_closed_and_holds_no_lock(database: Database) -> None:
    seen: list[Any] = []

    def fail(connection: Connection) -> None:
        seen.append(_driver(connection))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), database.write() as connection:
        fail(connection)
    (failed,) = seen
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        failed.execute("SELECT 1")
    with database.write() as connection:
        assert _driver(connection) is not failed


def test_a_burst_of_writers_leaves_few_connections_and_loses_nothing(database: Database) -> None:
    together = Barrier(16)

    def write(n: int) -> None:
        together.wait(10)
        with database.write(durable=False) as connection:
            _INSERT.run(connection, n=n)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(16)))
    assert _numbers(database) == list(range(16))
    assert database._writers is not None
    assert 1 <= len(database._writers._idle) <= writers._KEPT


def test_a_lock_that_is_never_given_up_is_told(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert database._writers is not None
    monkeypatch.setattr(database._writers, "_timeout_s", 0.05)
    other = sqlite3.connect(tmp_path / "plain.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match="SQLITE_BUSY"), database.write():
        raise AssertionError("the lock was not asked for")
    other.execute("ROLLBACK")
    other.close()
    with database.write() as connection:
        _INSERT.run(connection, n=1)
    assert _numbers(database) == [1]
