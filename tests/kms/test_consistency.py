"""What a restored backup or a hand in the database brings back shows against the audit log (case 40)."""

from __future__ import annotations

from sqlalchemy import delete, insert, select, update

from kms.consistency import compare
from kms.tables import audit_record, release_reference, secret_release, secret_state, secret_version
from tests.kms.world import NOW, REF, guest_key


def _change(world, *statements):
    with world.database.write() as connection:
        for statement in statements:
            connection.execute(statement)


def test_an_untouched_database_agrees_with_its_log(world):
    world.secrets.put(REF, b"two", by="admin", now=NOW)
    world.secrets.disable(REF, 1, by="admin", now=NOW)
    world.secrets.destroy(REF, 1, by="admin", now=NOW)
    world.service.release(world.token(guest_key()), REF, NOW)
    assert compare(world.database) == ()


def test_a_disabled_version_enabled_by_restoring_its_rows_shows(world):
    world.secrets.disable(REF, 1, by="admin", now=NOW)
    _change(world, delete(secret_state).where(secret_state.c.serial == 2))
    (found,) = compare(world.database)
    assert (found.what, found.target, found.version) == ("version-state", REF.text, 1)
    assert (found.logged, found.stored) == ("disabled", "active")


def test_a_destroyed_version_restored_whole_shows(world):
    with world.database.read() as connection:
        row = dict(connection.execute(select(secret_version)).mappings().one())
    world.secrets.destroy(REF, 1, by="admin", now=NOW)
    _change(
        world,
        delete(secret_state).where(secret_state.c.serial == 2),
        update(secret_version).values(**row),
    )
    (found,) = compare(world.database)
    assert (found.logged, found.stored) == ("destroyed", "active")


def test_a_version_that_nobody_recorded_shows(world):
    with world.database.read() as connection:
        row = dict(connection.execute(select(secret_version)).mappings().one()) | {"version": 2}
        state = dict(connection.execute(select(secret_state)).mappings().one()) | {"version": 2}
    _change(world, insert(secret_version).values(**row), insert(secret_state).values(**state))
    (found,) = compare(world.database)
    assert (found.version, found.logged, found.stored) == (2, "", "active")


def test_a_release_removed_from_the_table_shows(world):
    release = world.service.release(world.token(guest_key()), REF, NOW)
    _change(world, delete(release_reference), delete(secret_release))
    (found,) = compare(world.database)
    assert (found.what, found.version, found.stored) == ("release", release.version, "")


def test_a_release_altered_in_the_table_shows(world):
    world.service.release(world.token(guest_key()), REF, NOW)
    _change(world, update(secret_release).values(jti="another"))
    (found,) = compare(world.database)
    assert (found.what, found.stored) == ("release", "another")


def test_an_entry_that_cannot_be_read_is_missing_here(world):
    _change(world, update(audit_record).where(audit_record.c.action == "secret.put").values(entry=b"{"))
    assert [item.logged for item in compare(world.database)] == [""]
    assert not world.audit.verify().holds
