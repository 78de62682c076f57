"""Writers' connections to SQLite, kept open; each transaction begun and ended on the driver itself.

What SQLAlchemy's pool, connection and transaction objects cost is several times what SQLite takes to begin
and to commit. A ``Connection`` is therefore kept between transactions. What is executed through it, by
``storage.prepared`` or by SQLAlchemy, is inside the transaction that was begun here.

Invariants:

* One transaction at a time on a connection; it holds the write lock from its start (``BEGIN IMMEDIATE``).
* A connection whose transaction failed in any way is closed: what it began is rolled back with it.
* After a fork ``storage.database`` sets the parent's object aside, its connections unclosed.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from storage.turns import Turns

# More than so many that nobody uses are closed: a burst of writers leaves no connections behind.
_KEPT = 8
# A writer holds the lock for some tenths of a millisecond, or as long as its disk takes: each question
# costs about 40 us of processor, so that the pauses start near the one and grow towards the other.
_SHORTEST_PAUSE_S = 0.000_15
_LONGEST_PAUSE_S = 0.003


class Writers:
    """Write transactions of one SQLite file.

    Args:
        engine: without a pool, beginning nothing by itself.
        timeout_s: how long to ask for the write lock.
        turns: given up between two questions for it.
    """

    def __init__(self, engine: Engine, timeout_s: float, turns: Turns) -> None:
        """Open nothing yet."""
        self._turns = turns
        self._engine = engine
        self._timeout_s = timeout_s
        self._idle: list[Connection] = []

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back on any exception.

        Raises:
            DBAPIError: the lock was not given up in time, or the database failed.
        """
        connection = self._take()
        try:
            driver: Any = connection.connection.dbapi_connection
            self._begin(driver)
            yield connection
            _commit(connection, driver)
        except BaseException:
            connection.close()
            raise
        self._give(connection)

    def close(self) -> None:
        """Close what is not in use."""
        while self._idle:
            self._idle.pop().close()

    def _begin(self, driver: Any) -> None:
        """Take the write lock, asking again at short intervals.

        SQLite's own busy handler sleeps 1 to 100 ms between two questions, while the writer that is waited
        for takes a fraction of one: under load most of the time would go by unused.
        """
        busy = _ask(driver)
        if busy is None:
            return
        deadline = time.monotonic() + self._timeout_s
        pause = _SHORTEST_PAUSE_S
        with self._turns.waiting():
            while busy is not None:
                if time.monotonic() > deadline:
                    raise _wrapped("BEGIN IMMEDIATE", busy) from busy
                time.sleep(pause)
                pause = min(1.6 * pause, _LONGEST_PAUSE_S)
                busy = _ask(driver)

    def _take(self) -> Connection:
        try:
            return self._idle.pop()  # one step: threads need no lock
        except IndexError:
            connection = self._engine.connect()
            # The driver would sleep while it waits for the lock, the longer the more often it asked: _begin
            # asks by itself. With the lock held no statement waits for anybody.
            connection.connection.dbapi_connection.execute("PRAGMA busy_timeout=0")  # type: ignore[union-attr]
            return connection

    def _give(self, connection: Connection) -> None:
        if len(self._idle) < _KEPT:
            self._idle.append(connection)
        else:
            connection.close()


def _ask(driver: Any) -> sqlite3.Error | None:
    """Ask for the write lock once; what the database said if somebody has it."""
    try:
        driver.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise _wrapped("BEGIN IMMEDIATE", error) from error
        return error
    return None


def _commit(connection: Connection, driver: Any) -> None:
    if connection.in_transaction():  # something was executed through SQLAlchemy, which keeps account of it
        connection.commit()
        return
    try:
        driver.commit()
    except sqlite3.Error as error:
        raise _wrapped("COMMIT", error) from error


def _wrapped(statement: str, error: sqlite3.Error) -> Exception:
    return DBAPIError.instance(statement, None, error, sqlite3.Error, hide_parameters=True)
