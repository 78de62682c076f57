"""The audit log shows every alteration, gap, forged line and cut-off end (abuse cases 40, 44)."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, update

from kms.audit import ZERO_DIGEST, AuditEvent, AuditLog, chain_digest
from kms.checkpoints import (
    Checkpoint,
    Checkpointer,
    CheckpointKey,
    read_checkpoint,
    verify_checkpoints,
)
from kms.errors import AuditUnavailable, CheckpointInvalid
from kms.queries import audit_page
from kms.tables import audit_checkpoint, audit_head, audit_record
from storage.database import Database


def _event(now, number=0, **changes):
    values = {"action": "test.done", "actor": "a", "target": f"t/{number}", "outcome": "done", "at": now}
    return AuditEvent(**(values | changes))


@pytest.fixture
def filled(audit, now) -> AuditLog:
    for number in range(10):
        audit.record(_event(now + timedelta(seconds=number), number, details={"number": number}))
    return audit


@pytest.fixture
def key(tmp_path) -> CheckpointKey:
    return CheckpointKey.open_or_create(tmp_path / "checkpoint.pem")


@pytest.fixture
def trail(tmp_path):
    return tmp_path / "checkpoints.txt"


@pytest.fixture
def checkpointer(database, key, trail) -> Checkpointer:
    return Checkpointer(database, key, trail, every=4, interval=timedelta(minutes=1))


@pytest.fixture
def check(database, key, trail):
    """Holds the checkpoints against the log: those of the database, or those of the file too."""
    return lambda *, file=True: verify_checkpoints(database, key.public_jwk, trail if file else None)


def _change(database, statement):
    with database.write() as connection:
        connection.execute(statement)


def test_an_untouched_log_holds(filled):
    result = filled.verify()
    assert (result.holds, result.records, result.head) == (True, 10, filled.head().digest)


def test_an_empty_log_holds(audit):
    assert audit.verify().holds
    assert audit.head().sequence == 0


def test_sequence_has_no_gap_and_digests_chain(filled, database):
    with database.read() as connection:
        rows = connection.execute(select(audit_record).order_by(audit_record.c.sequence)).all()
    previous = ZERO_DIGEST
    for number, row in enumerate(rows, start=1):
        assert row.sequence == number
        assert row.digest == chain_digest(previous, row.entry)
        assert json.loads(row.entry)["sequence"] == number
        previous = row.digest


@pytest.mark.parametrize("column", ["at", "action", "target", "digest", "entry"])
def test_an_altered_column_is_the_first_break(filled, database, column):
    value = {"at": 1, "action": "x", "target": "x", "digest": "0" * 64, "entry": b"{}"}[column]
    _change(database, update(audit_record).where(audit_record.c.sequence == 4).values({column: value}))
    result = filled.verify()
    assert (result.holds, result.broken_at, result.records) == (False, 4, 3)
    assert result.reason


def test_an_entry_altered_together_with_its_digest_breaks_at_the_next_record(filled, database):
    with database.read() as connection:
        rows = connection.execute(select(audit_record).order_by(audit_record.c.sequence)).all()
    entry = rows[3].entry.replace(b'"number":3', b'"number":7')
    digest = chain_digest(rows[2].digest, entry)
    statement = update(audit_record).where(audit_record.c.sequence == 4)
    _change(database, statement.values(entry=entry, digest=digest))
    assert filled.verify().broken_at == 5


def test_a_removed_record_is_found(filled, database):
    _change(database, delete(audit_record).where(audit_record.c.sequence == 6))
    assert filled.verify().broken_at == 6


def test_a_removed_end_is_found_by_the_head(filled, database):
    _change(database, delete(audit_record).where(audit_record.c.sequence > 7))
    assert filled.verify().broken_at == 8


def test_a_record_behind_the_head_is_found_and_blocks_appending(filled, database, now):
    _change(
        database,
        insert(audit_record).values(
            sequence=11, at=0, action="x", target="x", entry=b"{}", digest="0" * 64
        ),
    )
    assert filled.verify().broken_at == 11
    with pytest.raises(AuditUnavailable):
        filled.record(_event(now))


def test_an_end_cut_off_together_with_the_head_is_found_by_the_checkpoints(
    filled, database, checkpointer, check, now
):
    checkpointer.write(now)
    with database.read() as connection:
        seventh = connection.execute(
            select(audit_record.c.digest).where(audit_record.c.sequence == 7)
        ).scalar_one()
    _change(database, delete(audit_record).where(audit_record.c.sequence > 7))
    _change(database, update(audit_head).values(sequence=7, digest=seventh))
    assert filled.verify().holds
    found = check(file=False)
    assert (found.holds, found.broken_at) == (False, 10)
    # And where the checkpoints in the database went too, the file still knows.
    _change(database, delete(audit_checkpoint))
    assert check(file=False).holds
    assert not check().holds


def test_a_log_written_anew_is_found_by_the_checkpoints(filled, database, checkpointer, check, now):
    checkpointer.write(now)
    _change(database, delete(audit_record))
    _change(database, delete(audit_head))
    for number in range(12):
        filled.record(_event(now, number, details={"forged": True}))
    assert filled.verify().holds
    found = check()
    assert (found.holds, found.broken_at) == (False, 10)


def test_checkpoints_of_an_honest_log_agree(audit, checkpointer, check, trail, now):
    for number in range(11):
        record = audit.record(_event(now, number))
        checkpointer.after(record.sequence, now)
    assert checkpointer.write(now) is not None
    assert checkpointer.write(now) is None
    found = check()
    assert (found.holds, found.covered) == (True, 11)
    # At 1 (nothing was covered), at 5 and 9 (four more each), and the last one; in file and database.
    assert found.checkpoints == 2 * 4
    assert len(trail.read_text().splitlines()) == 4


def test_time_alone_makes_a_checkpoint_due(audit, checkpointer, check, now):
    checkpointer.after(audit.record(_event(now)).sequence, now)
    checkpointer.after(audit.record(_event(now)).sequence, now + timedelta(seconds=59))
    assert check(file=False).covered == 1
    checkpointer.after(audit.record(_event(now)).sequence, now + timedelta(seconds=60))
    assert check(file=False).covered == 3


def test_a_checkpoint_that_cannot_be_written_is_logged_and_stops_nothing(audit, database, key, now, caplog):
    writer = Checkpointer(database, key, Path("/proc/no/such/folder/file"))
    writer.after(audit.record(_event(now)).sequence, now)
    assert "checkpoint could not be written" in caplog.text


def test_a_database_that_takes_no_checkpoint_is_told(audit, database, key, now):
    audit.record(_event(now))
    with database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_checkpoint RENAME TO gone")
    with pytest.raises(AuditUnavailable):
        Checkpointer(database, key, None).write(now)


def test_a_checkpoint_of_another_key_or_an_altered_one_is_refused(check, key, tmp_path, trail, now):
    other = CheckpointKey.open_or_create(tmp_path / "other.pem")
    checkpoint = Checkpoint(3, "0" * 64, now.isoformat())
    assert read_checkpoint(key.sign(checkpoint), key.public_jwk) == checkpoint
    for token in (other.sign(checkpoint), key.sign(checkpoint)[:-2], "", "a.b.c", "x" * 500):
        with pytest.raises(CheckpointInvalid):
            read_checkpoint(token, key.public_jwk)
    trail.write_text(other.sign(checkpoint) + "\n")
    assert not check().holds


def test_the_checkpoint_key_is_private_and_stays(tmp_path):
    path = tmp_path / "checkpoint.pem"
    first = CheckpointKey.open_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert CheckpointKey.open_or_create(path).public_jwk == first.public_jwk


def test_newlines_and_quotes_in_names_forge_nothing(audit, database, now):
    evil = 'x"}\n{"v":1,"sequence":2,"action":"secret.release"'
    audit.record(_event(now, actor=evil, target=evil, details={evil: evil}))
    with database.read() as connection:
        entry = connection.execute(select(audit_record.c.entry)).scalar_one()
        page = audit_page(connection)
    assert b"\n" not in entry
    assert page.items[0].entry["actor"] == evil
    assert audit.verify().holds


@pytest.mark.parametrize("value", [1.5, 2**60, "\ud800", {1: 2}, object(), b"bytes", "x" * 70_000])
def test_what_has_no_canonical_form_is_refused_and_nothing_is_written(audit, now, value):
    with pytest.raises(AuditUnavailable):
        audit.record(_event(now, details={"value": value}))
    assert audit.head().sequence == 0


def test_a_rolled_back_transaction_leaves_no_record_and_no_gap(audit, database, now):
    audit.record(_event(now))

    def fail():
        with database.write() as connection:
            audit.append(connection, _event(now))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert audit.record(_event(now)).sequence == 2
    assert audit.verify().holds


def test_a_log_that_cannot_be_written_says_so(audit, database, now):
    with database.write() as connection:
        connection.exec_driver_sql("DROP TABLE audit_head")
    with pytest.raises(AuditUnavailable):
        audit.record(_event(now))


def test_concurrent_writers_share_no_number(database, now):
    def write(number: int) -> None:
        own = Database(database.url)
        log = AuditLog(own)
        for step in range(15):
            log.record(_event(now, number * 100 + step))
        own.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result = AuditLog(database).verify()
    assert (result.holds, result.records) == (True, 60)


def test_verification_crosses_batches(audit, database, now, monkeypatch):
    monkeypatch.setattr("kms.audit._BATCH", 7)
    for number in range(21):
        audit.record(_event(now, number))
    assert audit.verify().records == 21


def test_pages_are_newest_first_and_filters_apply(filled, database, now):
    filled.record(_event(now, action="other", target="t/3"))
    with database.read() as connection:
        first = audit_page(connection, limit=4)
        second = audit_page(connection, limit=4, before=first.next)
        assert [item.sequence for item in (*first.items, *second.items)] == list(range(11, 3, -1))
        assert [item.sequence for item in audit_page(connection, target="t/3").items] == [11, 4]
        assert [item.sequence for item in audit_page(connection, action="other").items] == [11]
        assert audit_page(connection, action="other").next is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=700), st.dictionaries(st.text(max_size=8), _JSON, max_size=4))
def test_any_event_is_recorded_verifiably_or_refused(audit, now, name, details):
    before = audit.head().sequence
    try:
        audit.record(_event(now, actor=name, target=name, details=details))
    except AuditUnavailable:
        assert audit.head().sequence == before
    assert audit.verify().holds
