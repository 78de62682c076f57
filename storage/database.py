"""One database, by URL: SQLite (WAL, embedded default) or PostgreSQL.

Invariants:

* ``Database.write()`` is a transaction that commits whole or not at all, and, unless it is told
  otherwise, durable when it returns (SQLite: the log is flushed to the disk after the commit, so a killed
  process or machine loses nothing that was acknowledged; others may read a commit just before it is there).
  SQLite takes the write lock at the start (``BEGIN IMMEDIATE``): two writers queue, they never deadlock on
  upgrade. PostgreSQL runs it at READ COMMITTED: who reads to
  decide locks the rows that the decision rests on.
* ``Database.read()`` is one consistent snapshot (PostgreSQL: REPEATABLE READ, read only).
* ``Database.fast_row()`` and ``fast_first()`` are one row outside any transaction, for hot paths.
* A database that does not answer raises ``DatabaseUnavailable``; broken constraints stay
  ``sqlalchemy.exc.IntegrityError``, which callers decide about. Parameters of a
  statement are in no error text (PostgreSQL itself may quote a row that breaks a constraint).
* Times are stored as integers, microseconds since the epoch, UTC: the same on both databases.
* A fork gets fresh connections: ``dispose_after_fork`` is called in every worker.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import NullPool

from common.errors import DatabaseUnavailable, DependencyMissing, InvalidSetting
from storage.fast_reader import FastReader, cause_of, keep_inherited
from storage.turns import Turns
from storage.writers import Writers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import URL, Connection, Pool

    from storage.prepared import Prepared

_BUSY_TIMEOUT_S = 15.0
_BUSY_PAUSE_S = 0.02
# Pages in the log before they are copied into the database file. SQLite's default, 1000, is reached every
# few dozen releases, which write the same pages again and again: fewer copies cost less.
_CHECKPOINT_PAGES = 8000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Errors of our own statements or data, not of the database's health.
_CALLER_ERRORS = (IntegrityError, DataError, ProgrammingError, NotSupportedError)


class Database:
    """An engine with our transaction rules.

    Args:
        url: ``sqlite:///path`` or ``postgresql+psycopg://...``.

    Attributes:
        url: as given.
        engine: SQLAlchemy's; writers of SQLite have another.

    Raises:
        InvalidSetting: the URL cannot be used.
        DependencyMissing: the driver it names is not installed.
    """

    def __init__(self, url: str) -> None:
        """Create the engine; connects lazily."""
        self.url = url
        self.engine = _engine(url)
        self._sqlite = self.engine.dialect.name == "sqlite"
        self._turns = Turns()
        # The pool's connections read; SQLite's writers have their own (storage.writers).
        self._writers = self._sqlite_writers() if self._sqlite else None
        # SQLite keeps the log beside the file itself, not beside a link to it.
        self._log = f"{os.path.realpath(str(self.engine.url.database))}-wal" if self._sqlite else None
        self._fast = FastReader(self.engine, _sqlite_arguments() if self._sqlite else {})

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.engine.dialect.name

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """A read-write transaction; rolled back on any exception.

        Args:
            durable: on the disk when it returns. Without it SQLite does not wait for the disk: what a
                killed process committed is kept, what was committed right before a power cut may be lost,
                as a whole and in order. For rows that end with the machine's uptime.

        Raises:
            DatabaseUnavailable: the database does not answer; nothing was committed, unless the
                connection broke or the disk failed during the commit itself, of which nobody can know.
        """
        try:
            with self._begin_writing() as connection:
                yield connection
        except (DBAPIError, PoolTimeoutError) as error:
            _translate(error)
        if durable and self._log is not None:
            with self._turns.waiting():
                _flush(self._log)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only snapshot (SQLite: ``BEGIN DEFERRED``, no write lock is taken).

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        try:
            with self.engine.connect() as connection:
                self._make_reading(connection)
                try:
                    yield connection
                finally:
                    connection.rollback()
        except (DBAPIError, PoolTimeoutError) as error:
            _translate(error)

    def fast_row(self, statement: str) -> tuple[Any, ...] | None:
        """First row of a constant statement, read at once and outside any transaction.

        Args:
            statement: SQL without parameters that both databases understand.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        return self._fast.row(statement)

    def fast_first(self, statement: Prepared, **values: Any) -> tuple[Any, ...] | None:
        """First row of a prepared statement, read at once and outside any transaction.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        return self._fast.row(*statement.text_for(self.engine.dialect, values))

    def turn(self) -> AbstractContextManager[None]:
        """For threads that serve many small requests: one at a time computes (``storage.turns``).

        Who has the turn gives it up while a write transaction waits for the lock or for the disk.
        """
        return self._turns.turn()

    def dispose_after_fork(self) -> None:
        """Forget connections that belong to the parent process."""
        if self._writers is not None:
            keep_inherited(self._writers)
            self._turns = Turns()
            self._writers = self._sqlite_writers()
        keep_inherited(self.engine.pool)
        self.engine.dispose(close=False)

    def close(self) -> None:
        """Close every connection."""
        self._fast.close()
        if self._writers is not None:
            self._writers.close()
        self.engine.dispose()

    def _sqlite_writers(self) -> Writers:
        return Writers(_configured_sqlite(self.engine.url, NullPool), _BUSY_TIMEOUT_S, self._turns)

    def _begin_writing(self) -> AbstractContextManager[Connection]:
        return self.engine.begin() if self._writers is None else self._writers.transaction()

    def _make_reading(self, connection: Connection) -> None:
        if not self._sqlite:
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def to_micros(moment: datetime) -> int:
    """Microseconds since the epoch of an aware datetime."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """The UTC datetime of a stored time."""
    return _EPOCH + timedelta(microseconds=micros)


def _translate(error: DBAPIError | PoolTimeoutError) -> None:
    if isinstance(error, _CALLER_ERRORS):
        raise error
    raise DatabaseUnavailable(
        f"the database does not answer ({cause_of(getattr(error, 'orig', None) or error)})"
    ) from error


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise InvalidSetting("the database URL cannot be parsed") from error
    try:
        if parsed.get_backend_name() == "sqlite":
            return _sqlite_engine(parsed)
        if parsed.get_backend_name() == "postgresql":
            return create_engine(
                parsed, isolation_level="READ COMMITTED", pool_pre_ping=True, hide_parameters=True
            )
    except ImportError as error:
        raise DependencyMissing(
            f"the driver of {parsed.drivername} is not installed",
            advice="Install touchstone[postgres] and use a postgresql+psycopg:// URL.",
        ) from error
    raise InvalidSetting(f"no support for {parsed.get_backend_name()} databases")


def _sqlite_engine(url: URL) -> Engine:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise InvalidSetting("SQLite needs a plain file: every worker process opens it")
    _private_file(Path(url.database))
    engine = _configured_sqlite(url)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configured_sqlite(url: URL, poolclass: type[Pool] | None = None) -> Engine:
    engine = create_engine(url, connect_args=_sqlite_arguments(), hide_parameters=True, poolclass=poolclass)
    event.listen(engine, "connect", _configure_sqlite)
    return engine


def _sqlite_arguments() -> dict[str, Any]:
    # isolation_level=None: the driver begins nothing by itself.
    return {"timeout": _BUSY_TIMEOUT_S, "isolation_level": None}


def _private_file(path: Path) -> None:
    # SQLite gives -wal and -shm the rights of the main file, so that creating it privately is enough.
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise InvalidSetting(f"cannot open the database file {path} ({error.strerror})") from error


def _configure_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    _enter_wal(cursor)
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _enter_wal(cursor: Any) -> None:
    # The change of mode, which only the first connection ever makes, does not wait for the busy timeout.
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_BUSY_PAUSE_S)
        else:
            return


def _flush(log: str) -> None:
    """Put what was committed on the disk, while the next writer already writes.

    ``synchronous=FULL`` is this same flush of the write-ahead log at each commit, but made with the write
    lock held: every other writer then waits for the disk in turn. What another process has moved from the
    log into the database file by now, it has put on the disk itself, both before and after (SQLite syncs
    around every checkpoint): a log that is gone or begun anew holds nothing of ours.
    """
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DatabaseUnavailable(f"the database's log cannot be opened ({error.strerror})") from error
    try:
        os.fdatasync(descriptor)
    except OSError as error:
        raise DatabaseUnavailable(f"the disk did not take a commit ({error.strerror})") from error
    finally:
        os.close(descriptor)


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
