"""Databases that several rooms' tests run on: SQLite always, PostgreSQL where it is installed.

A room's ``conftest.py`` imports the fixtures it wants by name.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from storage.database import Database
from storage.migrate import migrate
from testkit.postgres import PostgresServer, find_binaries
from tests.components import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BACKENDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    require(find_binaries(), "PostgreSQL is not installed (scripts/system-packages)")
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "template.db"
    database = Database(f"sqlite:///{path}")
    migrate(database)
    database.close()
    return path


@pytest.fixture(params=BACKENDS)
def new_url(request: pytest.FixtureRequest, tmp_path: Path, migrated_sqlite: Path) -> Callable[[], str]:
    """Makes URLs of new, migrated, empty databases."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.database_url
    made: list[Path] = []

    def sqlite_url() -> str:
        path = tmp_path / f"store{len(made)}.db"
        made.append(path)
        shutil.copy(migrated_sqlite, path)
        return f"sqlite:///{path}"

    return sqlite_url


@pytest.fixture(params=BACKENDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a new database without a schema."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.empty_database_url()
    return f"sqlite:///{tmp_path}/empty.db"


@pytest.fixture
def database(new_url: Callable[[], str]) -> Iterator[Database]:
    opened = Database(new_url())
    yield opened
    opened.close()


@pytest.fixture
def connect() -> Iterator[Callable[[str], Database]]:
    """Opens databases as other processes would; they are closed at the end."""
    opened: list[Database] = []

    def open_one(url: str) -> Database:
        opened.append(Database(url))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()
