"""Trust domains: a value counts while enough independent parties attest it on the same ground."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from common.errors import InputError
from rvps import queries, quorum
from rvps.ingest import IngestResult, ingest
from rvps.lookup import SMALL_NAME, DatabaseReferenceLookup, still_live_in
from rvps.records import ValueState
from rvps.retraction import RetractionTarget, TargetKind, affected, retract
from testkit.reference_values import NAME, admitted_statement, derived_value, fill

if TYPE_CHECKING:
    from storage.database import Database

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)
INPUTS = {"kernel": "ab" * 32, "launch": {"vcpus": 1}}


def _attest(
    database: Database,
    seed: str,
    *domains: str,
    required: int = 2,
    inputs: dict[str, Any] | None = None,
    value: Any = "m",
    **more: Any,
) -> IngestResult:
    admitted = admitted_statement(seed, domains=domains, required_domains=required)
    derived = [derived_value(value, inputs=INPUTS if inputs is None else inputs, **more)]
    return ingest(database, admitted, derived, submitted_by="ci", now=NOW)


def _retract(database: Database, digest: str) -> None:
    retract(database, RetractionTarget(TargetKind.ATTESTATION, digest), reason="r", by="admin", now=NOW)


def _counts(database: Database, *results: IngestResult, now: datetime = NOW, value: Any = "m") -> bool:
    """Whether the value matches; look-up, release and listing must say the same."""
    observed = frozenset({quorum_key(value)})
    found = DatabaseReferenceLookup(database).select(frozenset({NAME}), observed, now)
    ids = {item.id for item in found.values if item.value == value}
    wanted = frozenset(key for result in results for key in result.added)
    lookup = DatabaseReferenceLookup(database)
    live = lookup.still_live(wanted, now)
    with database.write() as connection:
        assert still_live_in(connection, wanted, now) == live
    listed = queries.list_reference_values(database, now=now, state=ValueState.LIVE, limit=500).items
    assert {item.id for item in listed} >= live
    assert bool(ids & wanted) == bool(live)
    return bool(live)


def quorum_key(value: Any) -> str:
    return str(value)


@pytest.fixture(params=["small", "large"])
def store(request: pytest.FixtureRequest, database: Database) -> Database:
    if request.param == "large":
        fill(database, SMALL_NAME + 1)
    return database


def test_one_rebuilder_is_not_two(store: Database) -> None:
    one = _attest(store, "a", "east")
    assert not _counts(store, one)
    # The same party again, from another attestation, is still the same party.
    again = _attest(store, "b", "east")
    assert not _counts(store, one, again)


def test_two_domains_that_agree_are_enough_and_a_retraction_of_either_ends_it(store: Database) -> None:
    one, two = _attest(store, "a", "east"), _attest(store, "b", "west")
    assert _counts(store, one, two)
    _retract(store, one.attestation)
    assert not _counts(store, two)


def test_rebuilders_that_built_different_things_do_not_agree(store: Database) -> None:
    one = _attest(store, "a", "east")
    two = _attest(store, "b", "west", inputs=INPUTS | {"kernel": "cd" * 32})
    assert not _counts(store, one, two)
    three = _attest(store, "c", "north", inputs=INPUTS | {"kernel": "cd" * 32})
    assert _counts(store, one, two, three)


def test_who_said_it_and_by_which_tool_is_no_ground(store: Database) -> None:
    one = _attest(store, "a", "east", inputs=INPUTS | {"tool": "measure/1"})
    two = _attest(store, "b", "west", inputs=INPUTS | {"tool": "measure/2"})
    assert _counts(store, one, two)


def test_one_attestation_may_speak_for_several_domains(store: Database) -> None:
    assert _counts(store, _attest(store, "a", "east", "west"))


def test_the_largest_number_demanded_counts_for_all(store: Database) -> None:
    plain = _attest(store, "plain", required=1)
    assert _counts(store, plain)
    one = _attest(store, "a", "east", required=3)
    two = _attest(store, "b", "west", required=2)
    assert not _counts(store, plain, one, two)
    three = _attest(store, "c", "north", required=2)
    assert _counts(store, plain, one, two, three)


def test_a_row_without_a_domain_speaks_for_none(store: Database) -> None:
    one = _attest(store, "a", "east")
    plain = _attest(store, "plain", required=1)
    assert not _counts(store, one, plain)


def test_what_nobody_signed_speaks_for_no_domain(store: Database) -> None:
    one = _attest(store, "a", "east")
    admitted = admitted_statement("u", unverified=True, domains=("west",), required_domains=2)
    ingest(store, admitted, [derived_value("m", inputs=INPUTS)], submitted_by="ci", now=NOW)
    assert not _counts(store, one)


@pytest.mark.parametrize("other", [{"scalar": True}, {"tee": "tpm"}, {"name": "other"}])
def test_another_name_tee_or_kind_of_value_is_another_contest(
    store: Database, other: dict[str, Any]
) -> None:
    one = _attest(store, "a", "east")
    _attest(store, "b", "west", **other)
    assert not _counts(store, one)


def test_a_number_and_its_text_are_two_contests(store: Database) -> None:
    one = _attest(store, "a", "east", value=3)
    _attest(store, "b", "west", value="3")
    assert not _counts(store, one, value=3)


def test_a_vote_counts_within_its_dates_only(store: Database) -> None:
    one = _attest(store, "a", "east")
    two = _attest(store, "b", "west", not_before=NOW, expires=NOW + DAY)
    lookup = DatabaseReferenceLookup(store)
    tick = timedelta(microseconds=1)
    for moment, expected in (
        (NOW - tick, False),
        (NOW, True),
        (NOW + DAY - tick, True),
        (NOW + DAY, False),
        (NOW, True),
    ):
        found = lookup.select(frozenset({NAME}), frozenset({"m"}), moment)
        assert ("m" in {item.value for item in found.values}) is expected
        assert _counts(store, one, two, now=moment) is expected


def test_many_attestations_of_one_domain_do_not_hide_the_other(store: Database) -> None:
    other = _attest(store, "z", "west", expires=NOW + DAY)
    many = [_attest(store, f"s{index}", "east", expires=NOW + 9 * DAY) for index in range(20)]
    assert _counts(store, other, *many)


def test_too_many_votes_to_count_are_not_met(store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = _attest(store, "a", "east"), _attest(store, "b", "west")
    monkeypatch.setattr(quorum, "MAX_ROWS", 1)
    assert not _counts(store, one, two)


def test_a_change_by_another_process_is_seen_by_the_next_look_up(store: Database) -> None:
    lookup = DatabaseReferenceLookup(store)

    def seen() -> bool:
        found = lookup.select(frozenset({NAME}), frozenset({"m"}), NOW)
        return "m" in {item.value for item in found.values}

    one = _attest(store, "a", "east")
    assert not seen()
    _attest(store, "b", "west")
    assert seen()
    _retract(store, one.attestation)
    assert not seen()


def test_a_value_says_what_it_waits_for(store: Database) -> None:
    one = _attest(store, "a", "east", required=3)
    record = queries.get_reference_value(store, one.added[0], now=NOW)
    assert (record.state, record.waiting_for) == (ValueState.WAITING, 2)
    assert (record.lineage.domains, record.lineage.required_domains) == (("east",), 3)
    _attest(store, "b", "west", required=3)
    assert queries.get_reference_value(store, one.added[0], now=NOW).waiting_for == 1
    waiting = queries.list_reference_values(store, now=NOW, state=ValueState.WAITING).items
    assert len(waiting) == 2
    _attest(store, "c", "north", required=3)
    record = queries.get_reference_value(store, one.added[0], now=NOW)
    assert (record.state, record.waiting_for) == (ValueState.LIVE, 0)
    assert queries.list_reference_values(store, now=NOW, state=ValueState.WAITING).items == ()


def test_pages_of_live_values_leave_out_those_that_wait(database: Database) -> None:
    for index in range(12):
        _attest(database, f"w{index}", "east", value=f"w{index}")
        _attest(database, f"l{index}", required=1, value=f"l{index}")
    for state, prefix in ((ValueState.LIVE, "l"), (ValueState.WAITING, "w")):
        found: list[str] = []
        after: str | None = None
        while True:
            page = queries.list_reference_values(database, now=NOW, state=state, after=after, limit=5)
            assert len(page.items) <= 5
            found += [item.value for item in page.items]
            after = page.next
            if after is None:
                break
        assert found == [f"{prefix}{index}" for index in reversed(range(12))]


def test_corroboration_needs_enough_domains_too(store: Database) -> None:
    one = _attest(store, "a", "east")
    _attest(store, "b", "west")
    target = RetractionTarget(TargetKind.ATTESTATION, one.attestation)
    assert affected(store, target, now=NOW).corroborated == ()
    _attest(store, "c", "north")
    assert affected(store, target, now=NOW).corroborated == one.added


def test_a_stricter_policy_applies_to_the_same_attestation(store: Database) -> None:
    loose = _attest(store, "a", "east", required=1)
    assert _counts(store, loose)
    strict = _attest(store, "a", "east", required=2)
    assert len(strict.added) == 1
    assert not _counts(store, loose, strict)
    assert _attest(store, "a", "east", required=2).added == ()


@pytest.mark.parametrize(
    ("domains", "required"),
    [(("a\n",), 2), (("",), 2), (("x" * 65,), 2), (tuple(f"d{i}" for i in range(17)), 2), (("a",), 65)],
)
def test_domains_that_cannot_be_stored_are_refused(
    database: Database, domains: tuple[str, ...], required: int
) -> None:
    with pytest.raises(InputError):
        _attest(database, "a", *domains, required=required)
