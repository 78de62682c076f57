"""A database with every table that the secrets room touches, a root key, and instants."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import kms.tables
import policy.tables
import rvps.tables
from kms.audit import AuditLog
from kms.root_key import FileRootKey
from kms.secrets import SecretStore
from storage.database import Database
from storage.metadata import METADATA

TABLES = (kms.tables, policy.tables, rvps.tables)


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)


@pytest.fixture
def database(tmp_path):
    opened = Database(f"sqlite:///{tmp_path / 'data' / 'test.db'}")
    METADATA.create_all(opened.engine)
    yield opened
    opened.close()


@pytest.fixture
def root_key(tmp_path) -> FileRootKey:
    return FileRootKey.open_or_create(tmp_path / "root-key.json")


@pytest.fixture
def audit(database) -> AuditLog:
    return AuditLog(database)


@pytest.fixture
def secrets(database, root_key) -> SecretStore:
    return SecretStore(database, root_key)
