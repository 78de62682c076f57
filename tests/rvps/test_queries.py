from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from common.checks import Check, Verdict
from common.errors import InputError
from rvps import queries
from rvps.errors import UnknownAttestation, UnknownReferenceValue
from rvps.ingest import IngestResult, ingest
from rvps.records import AttestationState, ValueState
from rvps.retraction import RetractionTarget, TargetKind, retract
from testkit.reference_values import BUILDER, IDENTITY, NAME, admitted_statement, derived_value, fill

if TYPE_CHECKING:
    from storage.database import Database

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def _add(database: Database, seed: str, *values: Any, at: datetime = NOW) -> IngestResult:
    return ingest(database, admitted_statement(seed), values, submitted_by="ci", now=at)


def _retract(database: Database, kind: TargetKind, value: str, at: datetime = NOW) -> str:
    done = retract(database, RetractionTarget(kind, value), reason="key stolen", by="admin", now=at)
    return done.retraction


def _ids(page: queries.Page[Any]) -> list[str]:
    return [item.id for item in page.items]


@pytest.mark.parametrize("after", ["", "x", "-1", "1.5", "9" * 19, "１", "1;--", " 1"])
def test_a_cursor_that_was_not_given_out_is_refused(database: Database, after: str) -> None:
    with pytest.raises(InputError):
        queries.list_reference_values(database, now=NOW, after=after)
    with pytest.raises(InputError):
        queries.list_attestations(database, after=after)
    with pytest.raises(InputError):
        queries.list_retractions(database, after=after)


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_a_limit_out_of_bounds_is_refused(database: Database, limit: int) -> None:
    with pytest.raises(InputError):
        queries.list_reference_values(database, now=NOW, limit=limit)


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "a\nb"])
def test_text_that_no_database_takes_is_refused(database: Database, text: str) -> None:
    for use in (
        lambda: queries.list_reference_values(database, now=NOW, name=text),
        lambda: queries.get_reference_value(database, text, now=NOW),
        lambda: queries.get_attestation(database, text),
        lambda: queries.get_envelope(database, text),
        lambda: queries.history(database, now=NOW, attestation=text),
    ):
        with pytest.raises(InputError):
            use()


def test_what_is_not_there_is_said_to_be_unknown(database: Database) -> None:
    for unknown_attestation in (
        lambda: queries.get_attestation(database, "ab" * 32),
        lambda: queries.get_envelope(database, "ab" * 32),
        lambda: queries.history(database, now=NOW, attestation="ab" * 32),
    ):
        with pytest.raises(UnknownAttestation):
            unknown_attestation()
    for unknown_value in (
        lambda: queries.get_reference_value(database, "rv-none", now=NOW),
        lambda: queries.history(database, now=NOW, id="rv-none"),
    ):
        with pytest.raises(UnknownReferenceValue):
            unknown_value()
    assert queries.history(database, now=NOW, name="none").items == ()
    assert queries.list_reference_values(database, now=NOW, name="none").items == ()


@pytest.mark.parametrize("given", [{}, {"name": "a", "id": "b"}, {"id": "a", "attestation": "b"}])
def test_a_history_is_of_one_thing(database: Database, given: dict[str, str]) -> None:
    with pytest.raises(InputError):
        queries.history(database, now=NOW, **given)


def test_pages_follow_on_each_other_and_what_arrives_meanwhile_moves_nothing(database: Database) -> None:
    added = [
        item for index in range(7) for item in _add(database, f"s{index}", derived_value(f"v{index}")).added
    ]
    first = queries.list_reference_values(database, now=NOW, limit=3)
    assert first.next is not None
    _add(database, "late", derived_value("late"))
    second = queries.list_reference_values(database, now=NOW, limit=3, after=first.next)
    third = queries.list_reference_values(database, now=NOW, limit=3, after=second.next)
    assert third.next is None
    assert _ids(first) + _ids(second) + _ids(third) == added[::-1]


def test_a_page_that_is_just_full_has_no_next(database: Database) -> None:
    _add(database, "a", derived_value("v"), derived_value("w"))
    assert queries.list_reference_values(database, now=NOW, limit=2).next is None


def test_attestations_and_retractions_page_too(database: Database) -> None:
    digests = [_add(database, f"s{index}").attestation for index in range(5)]
    made = [_retract(database, TargetKind.ATTESTATION, digest) for digest in digests[:4]]
    for listing, expected, name in (
        (queries.list_attestations, digests, "attestation"),
        (queries.list_retractions, made, "id"),
    ):
        found: list[str] = []
        after = None
        while True:
            page = listing(database, after=after, limit=2)
            found += [getattr(item, name) for item in page.items]
            after = page.next
            if after is None:
                break
        assert found == expected[::-1]


def test_every_filter_narrows(database: Database) -> None:
    one = _add(
        database, "a", derived_value("v", name="n1", group="g1"), derived_value("w", name="n2", group="g1")
    )
    two = _add(database, "b", derived_value("v", name="n1", group="g2"))

    def ids(**filters: Any) -> set[str]:
        return set(_ids(queries.list_reference_values(database, now=NOW, **filters)))

    assert ids() == {*one.added, *two.added}
    assert ids(name="n1") == {one.added[0], two.added[0]}
    assert ids(group="g1") == set(one.added)
    assert ids(attestation=two.attestation) == set(two.added)
    assert ids(tee="snp") == {*one.added, *two.added}
    assert ids(tee="tpm") == set()
    assert ids(name="n1", group="g1") == {one.added[0]}


def test_states_are_those_of_the_instant(database: Database) -> None:
    result = _add(
        database,
        "a",
        derived_value("live"),
        derived_value("pending", not_before=NOW + DAY),
        derived_value("expired", expires=NOW),
    )
    dead = _add(database, "b", derived_value("retracted", expires=NOW))
    _retract(database, TargetKind.ATTESTATION, dead.attestation)

    def by_state(now: datetime) -> dict[str, list[str]]:
        return {
            state.value: [
                item.value for item in queries.list_reference_values(database, now=now, state=state).items
            ]
            for state in ValueState
        }

    assert by_state(NOW) == {
        "live": ["live"],
        "waiting": [],
        "unverified": [],
        "pending": ["pending"],
        "expired": ["expired"],
        "retracted": ["retracted"],
    }
    assert by_state(NOW + DAY)["live"] == ["pending", "live"]
    assert by_state(NOW - DAY)["live"] == ["expired", "live"]
    for item in queries.list_reference_values(database, now=NOW).items:
        assert item.state.value == item.value
    assert len(result.added) == 3


def test_attestations_are_listed_by_state(database: Database) -> None:
    one, two = _add(database, "a"), _add(database, "b")
    _retract(database, TargetKind.ATTESTATION, one.attestation)
    for state, expected in ((AttestationState.ACTIVE, two), (AttestationState.RETRACTED, one)):
        page = queries.list_attestations(database, state=state)
        assert [item.attestation for item in page.items] == [expected.attestation]
        assert page.items[0].state is state


def test_a_history_is_complete_and_in_order(database: Database) -> None:
    result = _add(database, "a", derived_value("v", expires=NOW + DAY * 3))
    by_signer = _retract(database, TargetKind.SIGNER, IDENTITY, NOW + DAY)
    by_builder = _retract(database, TargetKind.BUILDER, BUILDER, NOW + DAY * 5)
    for given in ({"name": NAME}, {"id": result.added[0]}, {"attestation": result.attestation}):
        (entry,) = queries.history(database, now=NOW + DAY * 6, **given).items
        assert [
            (event.kind.value, event.at, event.by, event.retraction.id if event.retraction else None)
            for event in entry.events
        ] == [
            ("ingested", "2026-05-01T00:00:00Z", "ci", None),
            ("retracted", "2026-05-02T00:00:00Z", "admin", by_signer),
            ("expired", "2026-05-04T00:00:00Z", None, None),
            ("retracted", "2026-05-06T00:00:00Z", "admin", by_builder),
        ]
        assert [event.epoch for event in entry.events] == [1, 2, None, 3]
        assert entry.value.id == result.added[0]
        assert entry.events[1].retraction is not None
        assert entry.events[1].retraction.reason == "key stolen"


def test_what_has_not_happened_yet_is_not_in_the_history(database: Database) -> None:
    result = _add(database, "a", derived_value("v", expires=NOW + DAY))
    (entry,) = queries.history(database, now=NOW, id=result.added[0]).items
    assert [event.kind.value for event in entry.events] == ["ingested"]


def test_a_value_retracted_by_itself_has_that_in_its_history(database: Database) -> None:
    result = _add(database, "a", derived_value("v"), derived_value("w"))
    done = _retract(database, TargetKind.REFERENCE_VALUE, result.added[0])
    entries = {entry.value.id: entry for entry in queries.history(database, now=NOW, name=NAME).items}
    events = entries[result.added[0]].events
    assert [event.kind.value for event in events] == ["ingested", "retracted"]
    assert events[1].retraction is not None
    assert events[1].retraction.id == done
    assert [event.kind.value for event in entries[result.added[1]].events] == ["ingested"]


def test_the_checks_of_the_admission_are_kept(database: Database) -> None:
    check = Check(
        "envelope.signatures", Verdict.PASS, expected="a", observed="a", source="DSSE protocol.md"
    )
    admitted = msgspec.structs.replace(admitted_statement("a"), checks=(check,))
    result = ingest(database, admitted, [], submitted_by="ci", now=NOW)
    assert queries.get_attestation(database, result.attestation).checks == (check,)


def test_records_are_ready_to_be_json(database: Database) -> None:
    result = _add(database, "a", derived_value("v", expires=NOW + DAY), derived_value(3, scalar=True))
    _retract(database, TargetKind.SIGNER, IDENTITY)
    answers = (
        queries.list_attestations(database),
        queries.get_attestation(database, result.attestation),
        queries.list_reference_values(database, now=NOW),
        queries.get_reference_value(database, result.added[0], now=NOW),
        queries.history(database, now=NOW, attestation=result.attestation),
        queries.list_retractions(database),
    )
    for answer in answers:
        assert msgspec.json.decode(msgspec.json.encode(answer), type=type(answer)) is not None
    document = msgspec.to_builtins(answers[3])
    assert document["state"] == "retracted"
    assert document["expires"] == "2026-05-02T00:00:00Z"
    assert document["retraction"]["target"] == IDENTITY


def test_a_page_of_a_large_store_is_a_page(database: Database) -> None:
    fill(database, 3000)
    page = queries.list_reference_values(database, now=NOW, name=NAME, limit=queries.MAX_PAGE)
    assert len(page.items) == queries.MAX_PAGE
    assert page.next is not None
