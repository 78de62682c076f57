"""A row that was edited, added or taken away in the database shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from rvps.ingest import IngestResult, ingest
from rvps.integrity import verify_store
from rvps.retraction import RetractionTarget, TargetKind, retract
from testkit.reference_values import IDENTITY, admitted_statement, derived_value, fill

if TYPE_CHECKING:
    from storage.database import Database

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def _history(database: Database) -> IngestResult:
    """A store with a past: values of two attestations, one of them retracted."""
    fill(database, 20)
    for seed in ("kept", "gone"):
        result = ingest(
            database, admitted_statement(seed), [derived_value(seed)], submitted_by="ci", now=NOW
        )
    target = RetractionTarget(TargetKind.ATTESTATION, result.attestation)
    retract(database, target, reason="r", by="admin", now=NOW)
    return result


def _change(database: Database, statement: str, **parameters: Any) -> None:
    with database.write() as connection:
        assert connection.execute(text(statement), parameters).rowcount > 0


def test_an_untouched_store_holds(database: Database) -> None:
    _history(database)
    result = verify_store(database)
    assert (result.holds, result.broken_at, result.discrepancies) == (True, None, ())
    assert result.changes == 4


def test_an_empty_store_holds(database: Database) -> None:
    assert verify_store(database).holds


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (
            "UPDATE reference_value SET value = '\"evil\"', value_key = 'evil' WHERE value_key = 'kept'",
            "altered",
        ),
        ("UPDATE reference_value SET release_group = 'other' WHERE value_key = 'kept'", "altered"),
        ("UPDATE reference_value SET expires = expires - 1 WHERE value_key = 'kept'", "altered"),
        ("UPDATE reference_value SET epoch = 1 WHERE value_key = 'kept'", "unrecorded"),
        ("UPDATE reference_value SET id = 'rv-made-up' WHERE value_key = 'kept'", "unrecorded"),
        ("DELETE FROM reference_value WHERE value_key = 'kept'", "missing"),
        ("UPDATE reference_value SET retraction = NULL WHERE value_key = 'gone'", "alive"),
        ("UPDATE retraction SET value = 'other'", "altered"),
    ],
)
def test_an_edited_row_is_found(database: Database, statement: str, what: str) -> None:
    _history(database)
    _change(database, statement)
    result = verify_store(database)
    assert not result.holds
    assert result.broken_at is None
    assert what in {item.what for item in result.discrepancies}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE reference_change SET record = replace(record, 'ci', 'xx') WHERE epoch = 2",
        "UPDATE reference_change SET chain = replace(chain, '0', '1') WHERE epoch = 2",
        "DELETE FROM reference_change WHERE epoch = 2",
        "UPDATE reference_change SET record = 'no JSON' WHERE epoch = 2",
    ],
)
def test_an_edited_change_breaks_the_chain_there(database: Database, statement: str) -> None:
    _history(database)
    _change(database, statement)
    result = verify_store(database)
    assert (result.holds, result.broken_at) == (False, 2)


def test_a_retraction_that_was_taken_out_is_missed(database: Database) -> None:
    _history(database)
    target = RetractionTarget(TargetKind.SIGNER, IDENTITY + "/other")
    made = retract(database, target, reason="r", by="admin", now=NOW)
    _change(database, "DELETE FROM retraction WHERE id = :id", id=made.retraction)
    (found,) = verify_store(database).discrepancies
    assert (found.what, found.target) == ("missing", made.retraction)


def test_what_is_reported_is_bounded(database: Database) -> None:
    fill(database, 300)
    _change(database, "UPDATE reference_value SET tee = 'tpm'")
    assert len(verify_store(database).discrepancies) == 100
