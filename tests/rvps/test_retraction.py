from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from common.errors import InputError
from provenance.model import Signer
from rvps import queries, snapshot
from rvps.errors import UnknownAttestation, UnknownReferenceValue
from rvps.ingest import IngestResult, ingest
from rvps.lookup import DatabaseReferenceLookup
from rvps.retraction import RetractionTarget, TargetKind, affected, retract, retract_in
from testkit.reference_values import (
    BUILDER,
    IDENTITY,
    ISSUER,
    NAME,
    SOURCE,
    admitted_statement,
    derived_value,
    measurement,
)

if TYPE_CHECKING:
    from storage.database import Database

NOW = datetime(2026, 5, 1, tzinfo=UTC)
EARLY = datetime(2024, 3, 1, tzinfo=UTC)
LATE = datetime(2025, 3, 1, tzinfo=UTC)
VALUE = measurement("retraction")


def _ingest(database: Database, seed: str, *values: Any, **more: Any) -> IngestResult:
    derived = [derived_value(value) for value in values or (VALUE,)]
    return ingest(database, admitted_statement(seed, **more), derived, submitted_by="ci", now=NOW)


def _rests_on(database: Database, seed: str, origin: dict[str, str], **more: Any) -> IngestResult:
    statement = admitted_statement(seed, signers=(_key("carrier"),), builder=None, source_uri=None, **more)
    value = derived_value(measurement(seed), inputs={"derivedFrom": [origin]})
    return ingest(database, statement, [value], submitted_by="ci", now=NOW)


def _retract(database: Database, kind: TargetKind, value: str, **more: Any) -> Any:
    return retract(
        database, RetractionTarget(kind, value, **more), reason="key stolen", by="admin", now=NOW
    )


def _live(database: Database) -> set[str]:
    page = queries.list_reference_values(database, now=NOW, state=queries.ValueState.LIVE, limit=500)
    return {item.id for item in page.items}


def _key(name: str) -> Signer:
    return Signer(kind="key", identity=f"key:{name}", root="keys")


@pytest.mark.parametrize(
    "target",
    [
        RetractionTarget(TargetKind.ATTESTATION, "not a digest"),
        RetractionTarget(TargetKind.ATTESTATION, "AB" * 32),
        RetractionTarget(TargetKind.ATTESTATION, "ab" * 32, since=NOW),
        RetractionTarget(TargetKind.REFERENCE_VALUE, "rv-1", since=NOW),
        RetractionTarget(TargetKind.BUILDER, ""),
        RetractionTarget(TargetKind.BUILDER, "a\0b"),
        RetractionTarget(TargetKind.BUILDER, "x" * 2049),
        RetractionTarget(TargetKind.BUILDER, BUILDER, issuer=ISSUER),
        RetractionTarget(TargetKind.SIGNER, IDENTITY, issuer="\ud800"),
        RetractionTarget(TargetKind.SIGNER, IDENTITY, since=datetime(2024, 1, 1)),  # noqa: DTZ001
    ],
)
def test_a_target_that_says_nothing_clear_is_refused(database: Database, target: RetractionTarget) -> None:
    with pytest.raises(InputError):
        retract(database, target, reason="r", by="admin", now=NOW)
    with pytest.raises(InputError):
        affected(database, target, now=NOW)


@pytest.mark.parametrize(("reason", "by"), [("", "admin"), ("r", ""), ("a\nb", "admin"), ("r", "a\x1bb")])
def test_a_retraction_without_reason_or_caller_is_refused(database: Database, reason: str, by: str) -> None:
    target = RetractionTarget(TargetKind.BUILDER, BUILDER)
    with pytest.raises(InputError):
        retract(database, target, reason=reason, by=by, now=NOW)
    assert queries.list_retractions(database).items == ()


def test_what_is_not_known_cannot_be_retracted_by_digest_or_id(database: Database) -> None:
    with pytest.raises(UnknownAttestation):
        _retract(database, TargetKind.ATTESTATION, "ab" * 32)
    with pytest.raises(UnknownReferenceValue):
        _retract(database, TargetKind.REFERENCE_VALUE, "rv-none")
    assert queries.list_retractions(database).items == ()


@pytest.mark.parametrize(
    ("kind", "value", "more"),
    [
        (TargetKind.SIGNER, IDENTITY, {}),
        (TargetKind.SIGNER, IDENTITY, {"issuer": ISSUER}),
        (TargetKind.BUILDER, BUILDER, {}),
        (TargetKind.SOURCE_URI, SOURCE, {}),
        (TargetKind.SOURCE_REVISION, "c0ffee", {}),
    ],
)
def test_everything_that_rests_on_the_target_dies_and_nothing_else(
    database: Database, kind: TargetKind, value: str, more: dict[str, Any]
) -> None:
    hit = [_ingest(database, seed, seed, source_revision="c0ffee") for seed in ("a", "b")]
    other = _ingest(
        database, "other", "other", signers=(_key("k"),), builder=f"{BUILDER}.evil", source_uri=None
    )
    result = _retract(database, kind, value, **more)
    assert result.created
    assert set(result.attestations) == {item.attestation for item in hit}
    assert set(result.reference_values) == {item.added[0] for item in hit}
    assert _live(database) == set(other.added)
    selection = DatabaseReferenceLookup(database).select(frozenset({NAME}), frozenset(), NOW)
    assert {item.id for item in selection.values} == set(other.added)
    assert selection.snapshot == result.snapshot


def test_a_signer_of_another_issuer_is_another_signer(database: Database) -> None:
    _ingest(database, "a")
    result = _retract(database, TargetKind.SIGNER, IDENTITY, issuer="https://other.example")
    assert result.attestations == ()
    assert len(_live(database)) == 1


def test_the_second_of_two_signers_is_enough(database: Database) -> None:
    _ingest(database, "a", signers=(_key("one"), _key("two")))
    assert len(_retract(database, TargetKind.SIGNER, "key:two").reference_values) == 1
    assert _live(database) == set()


def test_a_value_with_independent_lineage_stays_alive_through_it(database: Database) -> None:
    one = _ingest(database, "a")
    two = _ingest(database, "b", signers=(_key("b"),), builder=None)
    preview = affected(database, RetractionTarget(TargetKind.SIGNER, IDENTITY), now=NOW)
    assert preview.live == preview.corroborated == one.added
    _retract(database, TargetKind.SIGNER, IDENTITY)
    assert _live(database) == set(two.added)
    _retract(database, TargetKind.SIGNER, "key:b")
    assert _live(database) == set()
    assert affected(database, RetractionTarget(TargetKind.SIGNER, IDENTITY), now=NOW).corroborated == ()


def test_since_spares_what_was_logged_before(database: Database) -> None:
    before = _ingest(database, "a", "a", signed_at=LATE, log_time=LATE - timedelta(microseconds=1))
    after = _ingest(database, "b", "b", signed_at=EARLY, log_time=LATE)
    unlogged = _ingest(database, "c", "c", signed_at=LATE)
    result = _retract(database, TargetKind.BUILDER, BUILDER, since=LATE)
    assert set(result.attestations) == {after.attestation, unlogged.attestation}
    assert _live(database) == set(before.added)


def test_an_earlier_since_reaches_further(database: Database) -> None:
    _ingest(database, "a", "a", signed_at=EARLY)
    _ingest(database, "b", "b", signed_at=LATE)
    late = _retract(database, TargetKind.BUILDER, BUILDER, since=LATE)
    early = _retract(database, TargetKind.BUILDER, BUILDER, since=EARLY)
    assert (len(late.reference_values), len(early.reference_values)) == (1, 1)
    assert len(early.attestations) == 2
    assert late.retraction != early.retraction


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (TargetKind.ATTESTATION, "ab" * 32),
        (TargetKind.BUILDER, "origin-builder"),
        (TargetKind.SOURCE_URI, "origin-uri"),
        (TargetKind.SOURCE_REVISION, "origin-revision"),
    ],
)
def test_a_statement_dies_with_the_origin_that_it_names(
    database: Database, kind: TargetKind, value: str
) -> None:
    origin = {
        "attestation": "ab" * 32,
        "builder": "origin-builder",
        "sourceUri": "origin-uri",
        "sourceRevision": "origin-revision",
    }
    statement = _rests_on(database, "statement", origin)
    result = _retract(database, kind, value)
    assert result.attestations == (statement.attestation,)
    assert _live(database) == set()


def test_what_rests_on_a_covered_attestation_dies_at_any_depth_and_date(database: Database) -> None:
    root = _ingest(database, "root", signed_at=LATE)
    middle = _rests_on(database, "middle", {"attestation": root.attestation}, signed_at=EARLY)
    leaf = _rests_on(database, "leaf", {"attestation": middle.attestation}, signed_at=EARLY)
    apart = _rests_on(database, "apart", {"attestation": "cd" * 32})
    result = _retract(database, TargetKind.SIGNER, IDENTITY, since=LATE)
    assert set(result.attestations) == {root.attestation, middle.attestation, leaf.attestation}
    assert _live(database) == set(apart.added)


def test_attestations_that_name_each_other_end_the_search(database: Database) -> None:
    one, two = (admitted_statement(seed).authentic.attestation for seed in ("one", "two"))
    _rests_on(database, "one", {"attestation": two})
    _rests_on(database, "two", {"attestation": one})
    assert set(_retract(database, TargetKind.ATTESTATION, one).attestations) == {one, two}


def test_a_single_value_is_retracted_without_its_siblings(database: Database) -> None:
    result = _ingest(database, "a", "one", "two")
    done = _retract(database, TargetKind.REFERENCE_VALUE, result.added[0])
    assert (done.attestations, done.reference_values) == ((), result.added[:1])
    assert _live(database) == set(result.added[1:])
    assert queries.get_attestation(database, result.attestation).summary.state == "active"


def test_a_single_value_is_retracted_in_every_guise_of_its_attestation(database: Database) -> None:
    values = [derived_value(VALUE), derived_value(VALUE, group="other"), derived_value("other")]
    result = ingest(database, admitted_statement("a"), values, submitted_by="ci", now=NOW)
    other = _ingest(database, "b")
    done = _retract(database, TargetKind.REFERENCE_VALUE, result.added[0])
    assert set(done.reference_values) == set(result.added[:2])
    assert _live(database) == {result.added[2], *other.added}


def test_retracting_again_changes_nothing(database: Database) -> None:
    _ingest(database, "a")
    first = _retract(database, TargetKind.SIGNER, IDENTITY)
    target = RetractionTarget(TargetKind.SIGNER, IDENTITY)
    again = retract(database, target, reason="another", by="other", now=NOW + timedelta(days=1))
    assert not again.created
    assert (again.retraction, again.attestations, again.reference_values, again.snapshot) == (
        first.retraction,
        first.attestations,
        first.reference_values,
        first.snapshot,
    )
    (tombstone,) = queries.list_retractions(database).items
    assert (tombstone.reason, tombstone.by) == ("key stolen", "admin")


def test_a_second_reason_does_not_replace_the_first_and_both_are_kept(database: Database) -> None:
    result = _ingest(database, "a")
    first = _retract(database, TargetKind.SIGNER, IDENTITY)
    second = _retract(database, TargetKind.ATTESTATION, result.attestation)
    assert second.created
    assert second.reference_values == ()
    record = queries.get_attestation(database, result.attestation)
    assert [item.id for item in record.retractions] == [first.retraction, second.retraction]
    value = queries.get_reference_value(database, result.added[0], now=NOW)
    assert value.retraction is not None
    assert value.retraction.id == first.retraction


def test_nothing_is_deleted(database: Database) -> None:
    result = _ingest(database, "a")
    envelope = queries.get_envelope(database, result.attestation)
    _retract(database, TargetKind.ATTESTATION, result.attestation)
    assert queries.get_envelope(database, result.attestation) == envelope
    value = queries.get_reference_value(database, result.added[0], now=NOW)
    assert (value.state, value.value) == ("retracted", VALUE)


def test_affected_tells_the_same_before_and_after(database: Database) -> None:
    for seed in ("a", "b"):
        _ingest(database, seed, seed)
    target = RetractionTarget(TargetKind.SIGNER, IDENTITY)
    before = affected(database, target, now=NOW)
    assert len(before.live) == len(before.reference_values) == len(before.attestations) == 2
    with database.write() as connection:
        retract_in(connection, target, reason="r", by="admin", now=NOW)
        inside = affected(connection, target, now=NOW)
    after = affected(database, target, now=NOW)
    assert inside == after
    assert (after.attestations, after.reference_values) == (before.attestations, before.reference_values)
    assert after.live == ()


def test_affected_of_a_single_value_names_its_attestation(database: Database) -> None:
    result = _ingest(database, "a", "one", "two")
    found = affected(database, RetractionTarget(TargetKind.REFERENCE_VALUE, result.added[0]), now=NOW)
    assert found.attestations == (result.attestation,)
    assert found.reference_values == found.live == result.added[:1]


def test_a_retraction_that_is_rolled_back_hit_nothing(database: Database) -> None:
    result = _ingest(database, "a")
    with pytest.raises(RuntimeError):
        _retract_and_fail(database, result.attestation)
    assert _live(database) == set(result.added)
    with database.read() as connection:
        assert snapshot.current(connection).snapshot == result.snapshot


def _retract_and_fail(database: Database, digest: str) -> None:
    with database.write() as connection:
        target = RetractionTarget(TargetKind.ATTESTATION, digest)
        retract_in(connection, target, reason="r", by="admin", now=NOW)
        raise RuntimeError
