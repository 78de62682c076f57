"""One database, by URL: SQLite (WAL, embedded default) or PostgreSQL.

Invariants:

* ``Database.write()`` is a transaction that commits whole or not at all, and is durable when it
  returns (SQLite: ``synchronous=FULL`` in WAL, so a killed process or machine loses nothing that was
  acknowledged). SQLite takes the write lock at the start (``BEGIN IMMEDIATE``): two writers queue,
  they never deadlock on upgrade.
* ``Database.read()`` is one consistent snapshot.
* Times are stored as integers, microseconds since the epoch, UTC: the same on both databases.
* A fork gets fresh connections: ``dispose_after_fork`` is called in every worker.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from common.errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

_BUSY_TIMEOUT_S = 15.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Database:
    """An engine with our transaction rules.

    Args:
        url: ``sqlite:///path`` or ``postgresql+psycopg://...``.

    Raises:
        InvalidSetting: the URL cannot be used.
    """

    def __init__(self, url: str) -> None:
        """Create the engine; connects lazily."""
        self.url = url
        self.engine = _engine(url)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A durable read-write transaction; rolled back on any exception."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only snapshot (``BEGIN DEFERRED``: no write lock is taken)."""
        with self.engine.connect().execution_options(touchstone_read=True) as connection:
            try:
                yield connection
            finally:
                connection.rollback()

    def dispose_after_fork(self) -> None:
        """Forget connections that belong to the parent process."""
        self.engine.dispose(close=False)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def to_micros(moment: datetime) -> int:
    """Microseconds since the epoch of an aware datetime."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """The UTC datetime of a stored time."""
    return _EPOCH + timedelta(microseconds=micros)


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidSetting("the database URL cannot be parsed") from error
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise InvalidSetting("SQLite needs a file: every worker process opens it")
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # isolation_level=None: the driver begins nothing by itself, the listener below does.
        engine = create_engine(parsed, connect_args={"timeout": _BUSY_TIMEOUT_S, "isolation_level": None})
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.get_backend_name() == "postgresql":
        return create_engine(parsed, isolation_level="READ COMMITTED", pool_pre_ping=True)
    raise InvalidSetting(f"no support for {parsed.get_backend_name()} databases")


def _configure_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get("touchstone_read", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
