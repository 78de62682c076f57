"""Writers' connections to SQLite, kept open; each transaction begun and ended on the driver itself.

What SQLAlchemy's pool, connection and transaction objects cost is several times what SQLite takes to begin
and to commit. A ``Connection`` is therefore kept between transactions. What is executed through it, by
``storage.prepared`` or by SQLAlchemy, is inside the transaction that was begun here.

Invariants:

* One transaction at a time on a connection; it holds the write lock from its start (``BEGIN IMMEDIATE``).
* A connection whose transaction failed in any way is closed: what it began is rolled back with it.
* After a fork the parent's connections are set aside unclosed (``storage.fast_reader``).
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from storage.fast_reader import keep_inherited

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

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
    """

    def __init__(self, engine: Engine, timeout_s: float) -> None:
        """Open nothing yet."""
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
            _begin(driver, self._timeout_s)
            yield connection
            _commit(connection, driver)
        except BaseException:
            connection.close()
            raise
        self._give(connection)

    def forget(self) -> None:
        """Set aside what a parent process opened."""
        keep_inherited(self._idle)
        self._idle = []

    def close(self) -> None:
        """Close what is not in use."""
        while self._idle:
            self._idle.pop().close()

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


def _begin(driver: Any, timeout_s: float) -> None:
    """Take the write lock, asking again at short intervals.

    SQLite's own busy handler sleeps 1 to 100 ms between two questions, while the writer that is waited for
    takes a fraction of one: under load most of the time would go by unused.
    """
    deadline = time.monotonic() + timeout_s
    pause = _SHORTEST_PAUSE_S
    while True:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise _wrapped("BEGIN IMMEDIATE", error) from error
        except sqlite3.Error as error:
            raise _wrapped("BEGIN IMMEDIATE", error) from error
        else:
            return
        time.sleep(pause)
        pause = min(1.6 * pause, _LONGEST_PAUSE_S)


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
