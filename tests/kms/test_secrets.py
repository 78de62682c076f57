"""Secrets at rest: bound to their row, versioned, and gone for good once destroyed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest
from sqlalchemy import delete, insert, select, update

from common.errors import Conflict, InvalidIdentifier, TooLarge
from kms import secret_id
from kms.audit import AuditLog
from kms.errors import AuditUnavailable, RootKeyInvalid, SecretNotFound, SecretUnreadable, VersionUnusable
from kms.root_key import FileRootKey
from kms.secret_id import SecretKind
from kms.secret_model import VersionState, fold_states
from kms.secrets import SecretStore
from kms.tables import audit_record, secret_state, secret_version
from storage.metadata import METADATA

PATH = secret_id.resource("default/disk/key")
OTHER = secret_id.resource("default/disk/other")
KEY = secret_id.key("data-key")
SECRET = b"the plaintext that must not be found anywhere"


def _open(store, database, ref, version=None):
    wanted = store.find(ref, version)
    assert wanted is not None
    with database.write() as connection:
        stored = store.usable(connection, ref, wanted.version)
    return store.unseal(stored)


def _state_of(store, ref, version):
    return next(item.state for item in store.describe(ref).versions if item.version == version)


def _stored(database, folder):
    """Everything that is stored: SQLite's files, its log merged into them; PostgreSQL's rows."""
    if database.dialect == "sqlite":
        with closing(sqlite3.connect(database.engine.url.database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        files = [path.read_bytes() for path in folder.glob("*.db*")]
        assert any(files)
        return files
    with database.read() as connection:
        rows = [row for table in METADATA.sorted_tables for row in connection.execute(select(table))]
    return [value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row]


def _copy_blob(database, source, target):
    """What an attacker with the database does: put one row's blob into another row."""
    columns = ("root_key", "wrapped_key", "ciphertext")
    with database.write() as connection:
        rows = connection.execute(
            select(secret_version).where(
                secret_version.c.id == source[0].id, secret_version.c.version == source[1]
            )
        )
        blob = {name: value for name, value in rows.mappings().one().items() if name in columns}
        connection.execute(
            update(secret_version)
            .where(secret_version.c.id == target[0].id, secret_version.c.version == target[1])
            .values(**blob)
        )


def test_a_blob_moved_to_another_row_does_not_open(secrets, database, now):
    secrets.put(PATH, SECRET, by="admin", now=now)
    secrets.put(OTHER, b"other", by="admin", now=now)
    _copy_blob(database, (PATH, 1), (OTHER, 1))
    with pytest.raises(SecretUnreadable):
        _open(secrets, database, OTHER)


def test_an_old_blob_put_in_place_of_a_new_version_does_not_open(secrets, database, now):
    secrets.put(PATH, b"old", by="admin", now=now)
    secrets.put(PATH, b"new", by="admin", now=now)
    _copy_blob(database, (PATH, 1), (PATH, 2))
    with pytest.raises(SecretUnreadable):
        _open(secrets, database, PATH)


def test_a_laxer_release_policy_written_over_the_row_does_not_open_it(secrets, database, now):
    secrets.put(PATH, SECRET, by="admin", now=now, policy="strict")
    with database.write() as connection:
        connection.execute(update(secret_version).values(release_policy="lax"))
    with pytest.raises(SecretUnreadable):
        _open(secrets, database, PATH)


def test_ciphertext_under_another_data_key_does_not_open(secrets, database, now):
    secrets.put(PATH, SECRET, by="admin", now=now)
    with database.write() as connection:
        row = connection.execute(select(secret_version.c.ciphertext)).scalar_one()
        connection.execute(update(secret_version).values(ciphertext=row[:-1] + bytes([row[-1] ^ 1])))
    with pytest.raises(SecretUnreadable):
        _open(secrets, database, PATH)


def test_plaintext_is_stored_nowhere(secrets, database, now, tmp_path):
    secrets.put(PATH, SECRET, by="admin", now=now)
    key = secrets.generate(KEY, by="admin", now=now)
    material = _open(secrets, database, KEY)
    assert len(material) == key.size == 32
    for data in _stored(database, tmp_path):
        for hidden in (SECRET, SECRET.hex().encode(), material, material.hex().encode()):
            assert hidden not in data


def test_a_destroyed_version_never_comes_back(secrets, database, now):
    secrets.put(PATH, SECRET, by="admin", now=now)
    with database.read() as connection:
        row = dict(connection.execute(select(secret_version)).mappings().one())
    secrets.destroy(PATH, 1, by="admin", now=now)
    with pytest.raises(VersionUnusable):
        secrets.enable(PATH, 1, by="admin", now=now)
    # Restored from a backup: the row, and even a later "active" in its history.
    with database.write() as connection:
        connection.execute(update(secret_version).values(**row))
        connection.execute(
            insert(secret_state).values(
                kind="resource", id=PATH.id, version=1, serial=9, state="active", at=0, by="thief"
            )
        )
    with pytest.raises(VersionUnusable):
        _open(secrets, database, PATH)
    assert _state_of(secrets, PATH, 1) is VersionState.DESTROYED


def test_destroying_shreds_the_data_key_and_the_ciphertext(secrets, database, now, tmp_path):
    secrets.put(PATH, SECRET, by="admin", now=now)
    with database.read() as connection:
        row = connection.execute(select(secret_version)).one()
    secrets.destroy(PATH, 1, by="admin", now=now)
    with database.read() as connection:
        left = connection.execute(select(secret_version)).one()
    assert (left.root_key, left.wrapped_key, left.ciphertext) == (None, None, None)
    for data in _stored(database, tmp_path):
        assert row.wrapped_key not in data
        assert row.ciphertext not in data


def test_deleting_leaves_a_tombstone_and_numbers_go_on(secrets, database, now):
    secrets.put(PATH, b"one", by="admin", now=now)
    secrets.put(PATH, b"two", by="admin", now=now)
    secrets.delete(PATH, by="admin", now=now)
    secrets.delete(PATH, by="admin", now=now)
    assert [item.state for item in secrets.describe(PATH).versions] == [VersionState.DESTROYED] * 2
    with pytest.raises(VersionUnusable):
        _open(secrets, database, PATH)
    assert secrets.put(PATH, b"three", by="admin", now=now).version == 3
    assert _open(secrets, database, PATH) == b"three"


def test_a_disabled_newest_version_is_not_replaced_by_an_older_one(secrets, database, now):
    secrets.put(PATH, b"old", by="admin", now=now)
    secrets.put(PATH, b"new", by="admin", now=now)
    secrets.disable(PATH, 2, by="admin", now=now)
    with pytest.raises(VersionUnusable):
        _open(secrets, database, PATH)
    assert _open(secrets, database, PATH, 1) == b"old"
    secrets.enable(PATH, 2, by="admin", now=now)
    assert _open(secrets, database, PATH) == b"new"


def test_a_version_without_a_history_is_not_usable(secrets, database, now):
    secrets.put(PATH, SECRET, by="admin", now=now)
    with database.write() as connection:
        connection.execute(delete(secret_state))
    with pytest.raises(VersionUnusable):
        _open(secrets, database, PATH)


def test_a_history_that_ever_says_destroyed_is_destroyed():
    assert fold_states(["active", "destroyed", "active"]) is VersionState.DESTROYED
    assert fold_states(["active", "disabled", "active"]) is VersionState.ACTIVE
    assert fold_states([]) is VersionState.DISABLED


def test_rotation_makes_new_material_and_keeps_the_old_to_decrypt_with(secrets, database, now):
    secrets.generate(KEY, by="admin", now=now, policy="strict")
    first = _open(secrets, database, KEY)
    rotated = secrets.rotate(KEY, by="admin", now=now)
    assert (rotated.version, rotated.release_policy) == (2, "strict")
    assert _open(secrets, database, KEY) != first
    assert _open(secrets, database, KEY, 1) == first


def test_keys_are_not_imported_and_resources_not_generated(secrets, now):
    with pytest.raises(InvalidIdentifier):
        secrets.put(KEY, b"0" * 32, by="admin", now=now)
    with pytest.raises(InvalidIdentifier):
        secrets.generate(PATH, by="admin", now=now)
    with pytest.raises(InvalidIdentifier):
        secrets.rotate(PATH, by="admin", now=now)
    with pytest.raises(SecretNotFound):
        secrets.rotate(KEY, by="admin", now=now)


def test_generating_over_an_existing_or_deleted_key_is_a_conflict(secrets, now):
    secrets.generate(KEY, by="admin", now=now)
    with pytest.raises(Conflict):
        secrets.generate(KEY, by="admin", now=now)
    secrets.delete(KEY, by="admin", now=now)
    with pytest.raises(Conflict):
        secrets.generate(KEY, by="admin", now=now)


def test_of_two_admins_who_saw_the_same_version_one_is_refused(secrets, now):
    secrets.put(PATH, b"one", by="a", now=now, expected=0)
    secrets.put(PATH, b"two", by="a", now=now, expected=1)
    with pytest.raises(Conflict):
        secrets.put(PATH, b"three", by="b", now=now, expected=1)
    assert secrets.describe(PATH).latest_version == 2


@pytest.mark.parametrize("data", [b"", b"x" * ((1 << 20) + 1)])
def test_empty_and_oversized_secrets_are_refused(secrets, now, data):
    with pytest.raises(TooLarge):
        secrets.put(PATH, data, by="admin", now=now)


@pytest.mark.parametrize("policy", ["", "a b", "a\n", "../x"])
def test_a_release_policy_name_is_an_identifier(secrets, now, policy):
    with pytest.raises(InvalidIdentifier):
        secrets.put(PATH, SECRET, by="admin", now=now, policy=policy)


def test_what_does_not_exist_is_not_found(secrets, database, now):
    assert secrets.find(PATH) is None
    for call in (secrets.describe, lambda ref: secrets.delete(ref, by="a", now=now)):
        with pytest.raises(SecretNotFound):
            call(PATH)
    secrets.put(PATH, SECRET, by="admin", now=now)
    assert secrets.find(PATH, 2) is None
    for change in (secrets.disable, secrets.enable, secrets.destroy):
        with pytest.raises(SecretNotFound):
            change(PATH, 2, by="admin", now=now)
    with database.write() as connection, pytest.raises(SecretNotFound):
        secrets.usable(connection, OTHER, 1)


def test_listing_pages_by_id_and_shows_metadata_only(secrets, now):
    refs = [secret_id.resource(f"default/disk/{number:02}") for number in range(7)]
    for ref in reversed(refs):
        secrets.put(ref, SECRET, by="admin", now=now)
    secrets.generate(KEY, by="admin", now=now)
    seen, cursor = [], None
    while True:
        page = secrets.list(SecretKind.RESOURCE, cursor=cursor, limit=3)
        seen.extend(item.id for item in page.items)
        assert SECRET not in repr(page).encode()
        cursor = page.next
        if cursor is None:
            break
    assert seen == [ref.id for ref in refs]
    assert [item.id for item in secrets.list(SecretKind.KEY).items] == [KEY.id]
    version = secrets.describe(refs[0]).versions[0]
    assert (version.size, version.created_by, version.created_at) == (len(SECRET), "admin", now)


def test_every_change_is_audited_once_in_its_own_transaction(secrets, database, now):
    secrets.put(PATH, SECRET, by="admin", now=now)
    secrets.disable(PATH, 1, by="admin", now=now + timedelta(seconds=1))
    secrets.disable(PATH, 1, by="admin", now=now + timedelta(seconds=2))
    secrets.enable(PATH, 1, by="admin", now=now)
    secrets.destroy(PATH, 1, by="admin", now=now)
    secrets.destroy(PATH, 1, by="admin", now=now)
    with database.read() as connection:
        actions = list(
            connection.execute(select(audit_record.c.action).order_by(audit_record.c.sequence)).scalars()
        )
    assert actions == ["secret.put", "secret.state", "secret.state", "secret.state"]
    assert AuditLog(database).verify().holds


def test_a_change_that_cannot_be_audited_does_not_happen(secrets, database, now):
    with database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_record RENAME TO gone")
    with pytest.raises(AuditUnavailable):
        secrets.put(PATH, SECRET, by="admin", now=now)
    assert secrets.find(PATH) is None


def test_rewrapping_moves_records_to_the_new_root_key(secrets, database, root_key, now):
    secrets.put(PATH, SECRET, by="admin", now=now)
    secrets.put(OTHER, b"gone", by="admin", now=now)
    secrets.delete(OTHER, by="admin", now=now)
    renewed = SecretStore(database, root_key.rotate())
    assert renewed.rewrap(by="admin", now=now) == 1
    assert renewed.rewrap(by="admin", now=now) == 0
    assert _open(renewed, database, PATH) == SECRET
    with pytest.raises(RootKeyInvalid):
        _open(secrets, database, PATH)
    with pytest.raises(RootKeyInvalid):
        secrets.require_root_key()
    renewed.require_root_key()


def test_a_fresh_root_key_over_an_old_database_is_noticed(secrets, database, now, tmp_path):
    secrets.require_root_key()
    secrets.put(PATH, SECRET, by="admin", now=now)
    lost = SecretStore(database, FileRootKey.open_or_create(tmp_path / "fresh.json"))
    with pytest.raises(RootKeyInvalid):
        lost.require_root_key()
