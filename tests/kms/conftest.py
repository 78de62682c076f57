"""SQLite and PostgreSQL, a root key, the stores on them, and an instant."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kms.audit import AuditLog
from kms.root_key import FileRootKey
from kms.secrets import SecretStore
from tests.databases import database, migrated_sqlite, new_url, postgres
from tests.kms.world import World

__all__ = ["database", "migrated_sqlite", "new_url", "postgres"]


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)


@pytest.fixture
def root_key(tmp_path) -> FileRootKey:
    return FileRootKey.open_or_create(tmp_path / "root-key.json")


@pytest.fixture
def audit(database) -> AuditLog:
    return AuditLog(database)


@pytest.fixture
def secrets(database, root_key) -> SecretStore:
    return SecretStore(database, root_key)


@pytest.fixture
def world(tmp_path, database) -> World:
    made = World(tmp_path, database)
    made.populate()
    return made
