"""Stores on SQLite and PostgreSQL, an audit log that can be read back, and an instant."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kms.audit import AuditLog
from kms.queries import audit_page
from kms.root_key import FileRootKey
from kms.secrets import SecretStore
from tests.databases import database, migrated_sqlite, new_url, postgres

__all__ = ["database", "migrated_sqlite", "new_url", "postgres"]


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 28, 1, 2, 3, 456789, tzinfo=UTC)


@pytest.fixture
def secrets(database, tmp_path) -> SecretStore:
    return SecretStore(database, FileRootKey.open_or_create(tmp_path / "root.key"), max_bytes=4096)


@pytest.fixture
def audit(database) -> AuditLog:
    return AuditLog(database)


@pytest.fixture
def events(database):
    """What is recorded, oldest first: action, target, actor."""

    def read():
        with database.read() as connection:
            page = audit_page(connection)
        return [
            (record.entry["action"], record.entry["target"], record.entry["actor"])
            for record in reversed(page.items)
        ]

    return read
