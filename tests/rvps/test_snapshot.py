from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, insert, select, update

from common.errors import SchemaMismatch
from rvps import snapshot
from rvps.ingest import ingest
from rvps.lookup import DatabaseReferenceLookup
from rvps.retraction import RetractionTarget, TargetKind, retract
from rvps.tables import GENESIS, GENESIS_TEXT, reference_change, reference_state
from storage.database import Database
from testkit.reference_values import BUILDER, NAME, admitted_statement, derived_value

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def _three_changes(database: Database) -> list[str]:
    ids = [
        ingest(
            database, admitted_statement(seed), [derived_value(seed)], submitted_by="ci", now=NOW
        ).snapshot
        for seed in ("a", "b")
    ]
    target = RetractionTarget(TargetKind.BUILDER, BUILDER)
    return [*ids, retract(database, target, reason="r", by="admin", now=NOW).snapshot]


def test_a_store_without_state_is_refused(database: Database) -> None:
    with database.write() as connection:
        connection.execute(delete(reference_state))
    with pytest.raises(SchemaMismatch):
        ingest(database, admitted_statement("a"), [], submitted_by="ci", now=NOW)
    with pytest.raises(SchemaMismatch):
        DatabaseReferenceLookup(database).select(frozenset({NAME}), frozenset(), NOW)


def test_an_altered_change_is_found(database: Database) -> None:
    _three_changes(database)
    with database.read() as connection:
        assert snapshot.first_broken(connection) is None
    with database.write() as connection:
        second = reference_change.c.epoch == 2
        record = connection.execute(select(reference_change.c.record).where(second)).scalar_one()
        connection.execute(update(reference_change).where(second).values(record=record.replace("ci", "me")))
    with database.read() as connection:
        assert snapshot.first_broken(connection) == 2


def test_a_change_that_was_cut_off_is_found(database: Database) -> None:
    _three_changes(database)
    with database.write() as connection:
        connection.execute(delete(reference_change).where(reference_change.c.epoch == 3))
    with database.read() as connection:
        assert snapshot.first_broken(connection) == 3


def test_a_change_that_was_added_is_found(database: Database) -> None:
    _three_changes(database)
    with database.write() as connection:
        connection.execute(insert(reference_change).values(epoch=4, at=0, record="{}", chain="00" * 32))
    with database.read() as connection:
        assert snapshot.first_broken(connection) == 4


def test_every_change_has_an_id_of_its_own(database: Database) -> None:
    with database.read() as connection:
        genesis = snapshot.current(connection).snapshot
    ids = [genesis, *_three_changes(database)]
    assert len(set(ids)) == 4
    assert [item.split("-")[0] for item in ids] == ["0", "1", "2", "3"]
    assert all(len(item.split("-")[1]) == 16 for item in ids)
    assert DatabaseReferenceLookup(database).select(frozenset(), frozenset(), NOW).snapshot == ids[-1]


def test_the_chain_is_recomputed_from_the_records_alone(database: Database) -> None:
    last = _three_changes(database)[-1]
    with database.read() as connection:
        rows = connection.execute(select(reference_change).order_by(reference_change.c.epoch)).all()
    chain = hashlib.sha256(GENESIS_TEXT).digest()
    assert chain.hex() == GENESIS
    for row in rows:
        chain = hashlib.sha256(chain + row.record.encode()).digest()
        assert chain.hex() == row.chain
        record = json.loads(row.record)
        assert record["epoch"] == row.epoch
        assert row.record == json.dumps(record, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    assert last == f"3-{chain.hex()[:16]}"


def test_two_stores_that_were_changed_differently_have_different_ids(new_url: Callable[[], str]) -> None:
    one, other = Database(new_url()), Database(new_url())
    first = ingest(one, admitted_statement("a"), [], submitted_by="ci", now=NOW)
    second = ingest(other, admitted_statement("b"), [], submitted_by="ci", now=NOW)
    assert first.snapshot.split("-")[0] == second.snapshot.split("-")[0]
    assert first.snapshot != second.snapshot
    one.close()
    other.close()
