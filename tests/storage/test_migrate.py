from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, inspect, text

import coco.tables
import kms.tables
import policy.tables
import rvps.tables
import service.tables
import verifier.tables
from common.errors import DatabaseUnavailable, SchemaMismatch
from rvps import snapshot
from storage import migrate as migration
from storage.database import Database
from storage.metadata import METADATA

if TYPE_CHECKING:
    from collections.abc import Callable

ROOMS = (coco.tables, kms.tables, policy.tables, rvps.tables, service.tables, verifier.tables)


def _migrate_in_a_process(url: str, start: multiprocessing.synchronize.Event) -> None:
    start.wait()
    database = Database(url)
    migration.migrate(database)
    migration.check(database)
    database.close()


def test_a_database_without_schema_is_refused_by_check(empty_url: str) -> None:
    database = Database(empty_url)
    with pytest.raises(SchemaMismatch, match="none"):
        migration.check(database)
    database.close()


def test_a_schema_of_a_newer_version_is_left_alone(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for step in (migration.migrate, migration.check):
        with pytest.raises(SchemaMismatch, match="9999"):
            step(database)
    with database.read() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"


def test_a_migration_that_fails_leaves_nothing(empty_url: str) -> None:
    database = Database(empty_url)
    with database.write() as connection:
        connection.execute(text("CREATE TABLE retraction (id INTEGER)"))  # in the way
    with pytest.raises((SchemaMismatch, DatabaseUnavailable)):
        migration.migrate(database)
    with database.read() as connection:
        assert inspect(connection).get_table_names() == ["retraction"]
    database.close()


def test_processes_that_start_at_once_all_find_the_schema(empty_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    processes = [context.Process(target=_migrate_in_a_process, args=(empty_url, start)) for _ in range(4)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def test_the_migrated_schema_is_the_one_of_the_tables(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_partial_indexes_and_checks_are_the_ones_of_the_tables(
    database: Database, new_url: Callable[[], str]
) -> None:
    # What Alembic's comparison does not look at: the same tables are made both ways and read back.
    if database.dialect == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE name LIKE 'ix_%' ORDER BY name"
    else:
        query = "SELECT indexname, indexdef FROM pg_indexes WHERE indexname LIKE 'ix_%' ORDER BY indexname"
    other = Database(new_url())
    with other.write() as connection:
        existing = MetaData()
        existing.reflect(connection)
        existing.drop_all(connection)
        METADATA.create_all(connection)
    with database.read() as migrated, other.read() as created:
        assert migrated.execute(text(query)).all() == created.execute(text(query)).all()
        for table in METADATA.tables:
            found = [
                {check["name"] for check in inspect(side).get_check_constraints(table)}
                for side in (migrated, created)
            ]
            assert found[0] == found[1]
        assert snapshot.current(migrated) == snapshot.current(created)
    other.close()


def test_every_room_is_in_the_migration() -> None:
    expected = {
        value.name
        for room in ROOMS
        for value in vars(room).values()
        if getattr(value, "metadata", None) is METADATA
    }
    assert expected == set(METADATA.tables)


def test_head_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", "storage:migrations")
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [migration.HEAD]
    assert {revision.revision for revision in script.walk_revisions()} == migration._REVISIONS


def test_migrating_again_changes_nothing(database: Database) -> None:
    with database.read() as connection:
        before = snapshot.current(connection)
    migration.migrate(database)
    migration.check(database)
    with database.read() as connection:
        assert snapshot.current(connection) == before
