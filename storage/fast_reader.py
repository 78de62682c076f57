"""One cheap read on a hot path: a driver connection of its own, below SQLAlchemy.

Invariants:

* One connection per process, guarded by a lock; opened at the first read.
* Autocommit: each read is a transaction of its own and is over when ``row`` returns, so that it sees
  every commit made before it and never holds back a WAL checkpoint (SQLite) or vacuum (PostgreSQL).
* After a fork the parent's connection is set aside unclosed: closing it would speak on the parent's
  socket, or touch the parent's locks.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from common.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Engine

# Connections of a parent process, kept so that they are never collected, hence never closed, here.
_INHERITED: list[object] = []


def keep_inherited(thing: object) -> None:
    """Keep something that a parent process opened from ever being closed in this one."""
    _INHERITED.append(thing)


def cause_of(error: BaseException) -> str:
    """Name of a driver's error (``SQLITE_FULL``, ``AdminShutdown``), which holds no data."""
    return str(getattr(error, "sqlite_errorname", None) or type(error).__name__)


class FastReader:
    """Reads single rows.

    Args:
        engine: names driver and address.
        connect_args: further arguments of the driver's ``connect``.
    """

    def __init__(self, engine: Engine, connect_args: dict[str, Any]) -> None:
        """Open nothing yet."""
        self._engine = engine
        self._connect_args = connect_args
        self._postgresql = engine.dialect.name == "postgresql"
        # psycopg plans a statement once per connection when told to; sqlite3 does so by itself.
        self._execute_args: dict[str, Any] = {"prepare": True} if self._postgresql else {}
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._connection: Any = None
        self._cursor: Any = None

    def row(self, statement: str, parameters: Any = ()) -> tuple[Any, ...] | None:
        """First row of a statement, or None.

        Args:
            statement: SQL of the driver's own parameter style.
            parameters: as the driver takes them.

        Raises:
            DatabaseUnavailable: the database does not answer, also not on a fresh connection.
        """
        if self._pid != os.getpid():
            keep_inherited((self._connection, self._cursor, self._lock))
            self._start()
        with self._lock:
            try:
                return self._read(statement, parameters)
            except self._engine.dialect.loaded_dbapi.Error:
                self._drop()
            try:
                return self._read(statement, parameters)
            except self._engine.dialect.loaded_dbapi.Error as error:
                self._drop()
                raise DatabaseUnavailable(f"the database does not answer ({cause_of(error)})") from error

    def close(self) -> None:
        """Close the connection, if this process opened one."""
        if self._pid == os.getpid():
            with self._lock:
                self._drop()

    def _read(self, statement: str, parameters: Any) -> tuple[Any, ...] | None:
        if self._cursor is None:
            self._open()
        # All rows are fetched: a statement that is not run to its end keeps its transaction open.
        rows = self._cursor.execute(statement, parameters, **self._execute_args).fetchall()
        return rows[0] if rows else None

    def _open(self) -> None:
        dialect = self._engine.dialect
        positional, named = dialect.create_connect_args(self._engine.url)
        self._connection = dialect.loaded_dbapi.connect(*positional, **{**named, **self._connect_args})
        if self._postgresql:
            self._connection.autocommit = True
        self._cursor = self._connection.cursor()

    def _drop(self) -> None:
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            connection.close()
