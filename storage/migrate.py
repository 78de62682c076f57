"""Bring a database's schema to the one this version works with.

Invariants: a migration is one transaction, schema version included: it happens whole or not at all.
Several processes may start at once: one migrates, the others wait for it and find nothing to do
(SQLite: the write lock; PostgreSQL: an advisory lock for the transaction). A schema that a newer version
wrote is left alone and refused.

Order: version read (nothing more happens where it is current) -> lock -> version read again -> Alembic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text
from sqlalchemy.exc import ProgrammingError

from common.errors import SchemaMismatch

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from storage.database import Database

# Newest revision in storage/migrations/versions; a test holds it to the files.
HEAD: Final = "0005"
_REVISIONS: Final = frozenset({"0001", "0002", "0003", "0004", HEAD})
_VERSION_TABLE: Final = "alembic_version"
# "tchstone" as a 64-bit integer: our key among PostgreSQL's advisory locks.
_LOCK_KEY: Final = int.from_bytes(b"tchstone", "big")


def migrate(database: Database) -> None:
    """Upgrade to the newest schema. To be called at start, before anything else uses the database.

    Raises:
        SchemaMismatch: a newer version wrote this database, or it holds tables of something else.
        DatabaseUnavailable: it does not answer; nothing was changed.
    """
    with database.read() as connection:
        if _known(connection) == HEAD:
            return
    with database.write() as connection:
        if database.dialect == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        if _known(connection) != HEAD:
            _upgrade(connection)


def check(database: Database) -> None:
    """Demand that the schema is the newest; changes nothing.

    Raises:
        SchemaMismatch: it is older, newer, or not there.
        DatabaseUnavailable: the database does not answer.
    """
    with database.read() as connection:
        found = _known(connection)
    if found != HEAD:
        raise SchemaMismatch(f"the database has schema {found or 'none'}, {HEAD} is needed")


def _known(connection: Connection) -> str | None:
    """The schema's revision, None if there is no schema."""
    if not inspect(connection).has_table(_VERSION_TABLE):
        return None
    found: str | None = connection.execute(
        text(f"SELECT version_num FROM {_VERSION_TABLE}")  # noqa: S608 (a constant)
    ).scalar_one_or_none()
    if found is not None and found not in _REVISIONS:
        raise SchemaMismatch(f"the database has schema {found}, which this version does not know")
    return found


def _upgrade(connection: Connection) -> None:
    try:
        _run_alembic(connection)
    except ProgrammingError as error:
        raise SchemaMismatch("the database holds something that is in the way of the schema") from error


def _run_alembic(connection: Connection) -> None:
    # Alembic is imported where there is something to migrate: it costs a start more than the check does.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "storage:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
