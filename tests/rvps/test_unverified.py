"""Values that nobody signed: stored, listed as such, and never a reference value to a policy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from common.errors import InputError
from provenance.model import Signer
from rvps import queries
from rvps.ingest import IngestResult, ingest
from rvps.lookup import SMALL_NAME, DatabaseReferenceLookup, still_live_in
from rvps.records import ValueState
from rvps.retraction import RetractionTarget, TargetKind, retract
from testkit.reference_values import NAME, admitted_statement, derived_value, fill

if TYPE_CHECKING:
    from storage.database import Database

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NAMES = frozenset({NAME})
NONE: frozenset[str] = frozenset()


def _add(database: Database, seed: str, *values: Any, unverified: bool = True, **more: Any) -> IngestResult:
    admitted = admitted_statement(seed, unverified=unverified, **more)
    return ingest(
        database, admitted, [derived_value(value) for value in values], submitted_by="ci", now=NOW
    )


def _shelves(
    lookup: DatabaseReferenceLookup, *observed: str, now: datetime = NOW
) -> tuple[set[Any], set[Any]]:
    selection = lookup.select(NAMES, frozenset(observed), now, unverified=NAMES)
    return {item.value for item in selection.values}, {item.value for item in selection.unverified}


@pytest.mark.parametrize("size", [0, SMALL_NAME + 1])
def test_what_nobody_signed_stands_apart(database: Database, size: int) -> None:
    fill(database, size)
    _add(database, "u", "claimed", "both")
    _add(database, "v", "signed", "both", unverified=False)
    lookup = DatabaseReferenceLookup(database)
    verified, unverified = _shelves(lookup, "claimed", "signed", "both")
    assert verified & {"claimed", "signed", "both"} == {"signed", "both"}
    assert unverified == {"claimed", "both"}


def test_who_does_not_ask_gets_none(database: Database) -> None:
    _add(database, "u", "claimed")
    selection = DatabaseReferenceLookup(database).select(NAMES, frozenset({"claimed"}), NOW)
    assert (selection.values, selection.unverified) == ((), ())


def test_any_number_of_them_crowds_nothing_out(database: Database) -> None:
    _add(database, "v", "signed", unverified=False)
    for index in range(3):
        _add(database, f"u{index}", "signed", *(f"u{index}/{number}" for number in range(30)))
    verified, unverified = _shelves(DatabaseReferenceLookup(database), "signed", "u1/3")
    assert verified == {"signed"}
    assert unverified == {"signed", "u1/3"}


def test_they_are_listed_as_unverified(database: Database) -> None:
    result = _add(database, "u", "claimed")
    record = queries.get_reference_value(database, result.added[0], now=NOW)
    assert (record.state, record.unverified, record.lineage.signer) == (
        ValueState.UNVERIFIED,
        True,
        "unverified",
    )
    assert queries.list_reference_values(database, now=NOW, state=ValueState.LIVE).items == ()
    (listed,) = queries.list_reference_values(database, now=NOW, state=ValueState.UNVERIFIED).items
    assert listed.id == record.id
    assert queries.list_attestations(database).items[0].unverified


def test_they_are_retracted_like_any_other(database: Database) -> None:
    result = _add(database, "u", "claimed")
    with database.write() as connection:
        assert still_live_in(connection, result.added, NOW) == set(result.added)
    retract(
        database,
        RetractionTarget(TargetKind.ATTESTATION, result.attestation),
        reason="r",
        by="admin",
        now=NOW,
    )
    assert _shelves(DatabaseReferenceLookup(database), "claimed") == (set(), set())
    with database.write() as connection:
        assert still_live_in(connection, result.added, NOW) == NONE


def test_dates_are_judged_there_too(database: Database) -> None:
    admitted = admitted_statement("u", unverified=True)
    value = derived_value("claimed", expires=NOW + timedelta(days=1))
    ingest(database, admitted, [value], submitted_by="ci", now=NOW)
    lookup = DatabaseReferenceLookup(database)
    assert _shelves(lookup, "claimed") == (set(), {"claimed"})
    assert _shelves(lookup, "claimed", now=NOW + timedelta(days=1)) == (set(), set())


def test_an_attestation_whose_signer_is_known_later_is_verified_from_then_on(database: Database) -> None:
    first = _add(database, "same", "m")
    later = _add(database, "same", "m", unverified=False)
    assert later.attestation == first.attestation
    assert len(later.added) == 1
    assert _shelves(DatabaseReferenceLookup(database), "m") == ({"m"}, {"m"})
    record = queries.get_attestation(database, first.attestation)
    assert not record.summary.unverified
    assert record.summary.signer != "unverified"


def test_a_verified_attestation_is_not_made_unverified_by_a_weaker_policy(database: Database) -> None:
    first = _add(database, "same", "m", unverified=False)
    _add(database, "same", "m")
    assert not queries.get_attestation(database, first.attestation).summary.unverified
    assert _shelves(DatabaseReferenceLookup(database), "m") == ({"m"}, {"m"})


def test_unverified_with_a_signer_is_a_contradiction(database: Database) -> None:
    admitted = admitted_statement("u", unverified=True)
    authentic = msgspec.structs.replace(admitted.authentic, signers=(Signer("key", "key:a", "r"),))
    with pytest.raises(InputError):
        ingest(
            database,
            msgspec.structs.replace(admitted, authentic=authentic),
            [],
            submitted_by="ci",
            now=NOW,
        )
