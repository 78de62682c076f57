"""Admin tokens: what is stored, what is accepted, what a role may do."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from common.errors import NotFound
from service.access import ROLES, Scope, TokenStore
from service.errors import RoleUnknown, ScopeMissing, Unauthenticated
from service.tables import admin_token
from storage.database import Database

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path / 'tokens.db'}")
    with database.write() as connection:
        admin_token.create(connection)
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> TokenStore:
    return TokenStore(database)


def make(store: TokenStore, **changes: object) -> str:
    arguments = {"label": "ci", "roles": ("publisher",), "by": "test", "now": NOW} | changes
    token, _ = store.create(**arguments)
    return token


def test_wrong_absent_or_foreign_credentials_are_refused(store: TokenStore) -> None:
    token = make(store)
    other = make(store)
    mixed = token[:16] + other[16:]
    swapped_id = f"ts_{'0' * 12}_{token[16:]}"
    for header in (
        None,
        "",
        token,
        f"bearer {token}",
        f"Bearer {token} ",
        f"Bearer {token}\n",
        f"Basic {token}",
        f"Bearer {mixed}",
        f"Bearer {swapped_id}",
        f"Bearer {token[:-1]}",
        f"Bearer {token}x",
    ):
        with pytest.raises(Unauthenticated):
            store.authenticate(header, NOW)


def test_secret_is_not_stored_nor_shown(store: TokenStore, database: Database) -> None:
    token = make(store)
    secret = token.split("_", 2)[2]
    with database.read() as connection:
        row = connection.execute(select(admin_token)).mappings().one()
    assert secret not in repr(dict(row))
    assert secret not in repr(store.list())


def test_expired_token_is_refused(store: TokenStore) -> None:
    token = make(store, expires_at=NOW + timedelta(hours=1))
    assert store.authenticate(f"Bearer {token}", NOW).label == "ci"
    with pytest.raises(Unauthenticated):
        store.authenticate(f"Bearer {token}", NOW + timedelta(hours=1))


def test_revoked_token_is_refused_at_once_and_stays_so(store: TokenStore) -> None:
    token = make(store)
    principal = store.authenticate(f"Bearer {token}", NOW)
    first = store.revoke(principal.id, NOW)
    second = store.revoke(principal.id, NOW + timedelta(days=1))
    assert first.revoked_at == second.revoked_at == NOW
    with pytest.raises(Unauthenticated):
        store.authenticate(f"Bearer {token}", NOW)


def test_revoking_an_unknown_token_is_an_error(store: TokenStore) -> None:
    with pytest.raises(NotFound):
        store.revoke("000000000000", NOW)


@pytest.mark.parametrize("roles", [(), ("root",), ("publisher", "Admin")])
def test_token_without_a_known_role_is_not_made(store: TokenStore, roles: tuple[str, ...]) -> None:
    with pytest.raises(RoleUnknown):
        make(store, roles=roles)


def test_scope_outside_the_roles_is_refused(store: TokenStore) -> None:
    principal = store.authenticate(f"Bearer {make(store)}", NOW)
    principal.require(Scope.ATTESTATIONS_WRITE)
    with pytest.raises(ScopeMissing):
        principal.require(Scope.POLICIES_WRITE)


def test_roles_keep_duties_apart() -> None:
    writers = {
        role: {scope for scope in scopes if scope.value.endswith(":write")}
        for role, scopes in ROLES.items()
        if role != "admin"
    }
    assert writers["auditor"] == set()
    assert not writers["policy-author"] & writers["secret-admin"]
    assert not writers["publisher"] & (writers["policy-author"] | writers["secret-admin"])


def test_scopes_of_several_roles_add_up(store: TokenStore) -> None:
    token = make(store, roles=("publisher", "monitor"))
    scopes = store.authenticate(f"Bearer {token}", NOW).scopes
    assert scopes == ROLES["publisher"] | ROLES["monitor"]


def test_bootstrap_happens_once_with_a_private_file(store: TokenStore, tmp_path: Path) -> None:
    path = tmp_path / "admin.token"
    assert store.bootstrap(path, NOW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = path.read_text(encoding="ascii").strip()
    assert store.authenticate(f"Bearer {token}", NOW).scopes == frozenset(Scope)
    path.unlink()
    assert not store.bootstrap(path, NOW)
    assert not path.exists()


def test_bootstrap_does_not_come_back_after_every_token_is_revoked(
    store: TokenStore, tmp_path: Path
) -> None:
    store.bootstrap(tmp_path / "admin.token", NOW)
    store.revoke(store.list()[0].id, NOW)
    assert not store.bootstrap(tmp_path / "again.token", NOW)
