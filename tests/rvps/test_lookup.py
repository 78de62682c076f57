from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from rvps import lookup as module
from rvps.ingest import IngestResult, ingest
from rvps.lookup import MAX_LINEAGES, SMALL_NAME, DatabaseReferenceLookup, still_live_in
from rvps.retraction import RetractionTarget, TargetKind, retract
from storage.database import Database
from storage.prepared import Prepared
from testkit.reference_values import NAME, admitted_statement, derived_value, fill, measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from provenance.model import DerivedValue

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES = frozenset({NAME})


def _add(database: Database, seed: str, *values: DerivedValue) -> IngestResult:
    return ingest(database, admitted_statement(seed), values, submitted_by="ci", now=NOW)


def _select(
    lookup: DatabaseReferenceLookup, observed: Iterable[str] = (), now: datetime = NOW
) -> list[Any]:
    return sorted(item.value for item in lookup.select(NAMES, frozenset(observed), now).values)


def _retract(database: Database, digest: str) -> None:
    target = RetractionTarget(TargetKind.ATTESTATION, digest)
    retract(database, target, reason="r", by="admin", now=NOW)


def test_expired_pending_and_retracted_values_are_not_used(database: Database) -> None:
    _add(database, "a", derived_value("expired", expires=NOW), derived_value("live", expires=NOW + DAY))
    _add(
        database, "b", derived_value("pending", not_before=NOW + DAY), derived_value("now", not_before=NOW)
    )
    gone = _add(database, "c", derived_value("retracted"))
    _retract(database, gone.attestation)
    lookup = DatabaseReferenceLookup(database)
    for _ in range(2):
        assert _select(lookup) == ["live", "now"]


def test_dates_are_judged_at_each_use_without_a_change_of_the_store(database: Database) -> None:
    _add(database, "a", derived_value("v", not_before=NOW, expires=NOW + DAY))
    lookup = DatabaseReferenceLookup(database)
    tick = timedelta(microseconds=1)
    for moment, expected in (
        (NOW, ["v"]),
        (NOW - tick, []),
        (NOW + DAY - tick, ["v"]),
        (NOW + DAY, []),
        (NOW, ["v"]),
    ):
        assert _select(lookup, now=moment) == expected


def test_a_change_by_another_connection_is_seen_by_the_next_call(database: Database) -> None:
    other = Database(database.url)
    lookup = DatabaseReferenceLookup(database)
    assert _select(lookup) == []
    result = _add(other, "a", derived_value("v"))
    assert _select(lookup) == ["v"]
    assert lookup.select(NAMES, frozenset(), NOW).snapshot == result.snapshot
    _retract(other, result.attestation)
    assert _select(lookup) == []
    other.close()


def test_a_small_name_is_handed_over_whole_and_a_large_one_by_what_was_observed(database: Database) -> None:
    _add(database, "a", *(derived_value(f"v{index}") for index in range(SMALL_NAME)))
    lookup = DatabaseReferenceLookup(database)
    assert len(_select(lookup)) == SMALL_NAME
    _add(database, "b", derived_value("one more"))
    assert _select(lookup) == []
    assert _select(lookup, ["v7", "one more", "none"]) == ["one more", "v7"]
    assert _select(lookup, ["none"]) == []


def test_the_dead_do_not_make_a_name_large(database: Database) -> None:
    dead = _add(database, "a", *(derived_value(f"v{index}") for index in range(SMALL_NAME)))
    _add(database, "b", derived_value("kept"))
    _retract(database, dead.attestation)
    assert _select(DatabaseReferenceLookup(database)) == ["kept"]


def test_names_that_were_not_asked_for_are_not_handed_over(database: Database) -> None:
    _add(database, "a", derived_value("v"), derived_value("w", name="other"))
    assert _select(DatabaseReferenceLookup(database), ["w"]) == ["v"]
    assert DatabaseReferenceLookup(database).select(frozenset(), frozenset({"v"}), NOW).values == ()


def test_numbers_are_found_by_their_canonical_text_and_keep_their_type(database: Database) -> None:
    fill(database, SMALL_NAME + 1)
    _add(database, "a", derived_value(3), derived_value("3"), derived_value(value=True))
    found = DatabaseReferenceLookup(database).select(NAMES, frozenset({"3", "true"}), NOW).values
    assert sorted((type(item.value).__name__, str(item.value)) for item in found) == [
        ("bool", "True"),
        ("int", "3"),
        ("str", "3"),
    ]


def test_of_a_value_with_many_lineages_the_ones_valid_longest_are_handed_over(database: Database) -> None:
    fill(database, SMALL_NAME + 1)
    count = MAX_LINEAGES + 4
    for index in range(count):
        _add(database, f"s{index}", derived_value("shared", expires=NOW + DAY * (index + 1)))
    lookup = DatabaseReferenceLookup(database)
    found = lookup.select(NAMES, frozenset({"shared"}), NOW).values
    assert len(found) == MAX_LINEAGES
    assert min(item.expires for item in found if item.expires) == NOW + DAY * (count - MAX_LINEAGES + 1)
    # Only the longest is left just before the end, and none after it.
    assert len(lookup.select(NAMES, frozenset({"shared"}), NOW + DAY * (count - 1)).values) == 1
    assert lookup.select(NAMES, frozenset({"shared"}), NOW + DAY * count).values == ()


def test_a_valid_lineage_is_found_behind_many_that_have_not_begun(database: Database) -> None:
    fill(database, SMALL_NAME + 1)
    for index in range(MAX_LINEAGES):
        _add(database, f"s{index}", derived_value("shared", not_before=NOW + DAY))
    present = _add(database, "present", derived_value("shared", expires=NOW + DAY * 9))
    lookup = DatabaseReferenceLookup(database)
    for _ in range(2):
        found = lookup.select(NAMES, frozenset({"shared"}), NOW).values
        assert [item.id for item in found] == list(present.added)
    assert len(lookup.select(NAMES, frozenset({"shared"}), NOW + DAY).values) == MAX_LINEAGES
    assert [item.id for item in lookup.select(NAMES, frozenset({"shared"}), NOW).values] == list(
        present.added
    )


def test_more_observed_scalars_than_one_query_takes_are_all_looked_up(database: Database) -> None:
    fill(database, 1000)
    wanted = [measurement("fill", index) for index in range(700)]
    assert _select(DatabaseReferenceLookup(database), [*wanted, "none"]) == sorted(wanted)


def test_evicted_entries_are_read_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("_NAMES_KEPT", "_KEYS_KEPT", "_ANSWERS_KEPT"):
        monkeypatch.setattr(module, bound, 2)
    fill(database, 200)
    lookup = DatabaseReferenceLookup(database)
    wanted = [measurement("fill", index) for index in range(20)]
    for start in range(0, 20, 5):
        assert _select(lookup, wanted[start : start + 5]) == sorted(wanted[start : start + 5])
    assert len(lookup._cache.keys) <= 4
    assert len(lookup._cache.answers) <= 4


def test_memory_is_bounded_however_many_different_guests_come(database: Database) -> None:
    fill(database, SMALL_NAME + 1)
    lookup = DatabaseReferenceLookup(database)
    for index in range(2 * module._ANSWERS_KEPT + 50):
        lookup.select(NAMES, frozenset({f"chip-{index}"}), NOW)
    assert len(lookup._cache.answers) <= 2 * module._ANSWERS_KEPT
    assert len(lookup._cache.keys) <= 2 * module._KEYS_KEPT


def test_threads_never_see_a_value_after_its_retraction(database: Database) -> None:
    lookup = DatabaseReferenceLookup(database)
    dead: set[str] = set()
    wrong: list[str] = []
    done = threading.Event()

    def reader() -> None:
        while not done.is_set():
            known_dead = frozenset(dead)
            selection = lookup.select(NAMES, frozenset(), NOW)
            wrong.extend(item.id for item in selection.values if item.id in known_dead)

    threads = [threading.Thread(target=reader) for _ in range(3)]
    for thread in threads:
        thread.start()
    for index in range(15):
        result = _add(database, f"s{index}", derived_value(f"v{index}"))
        _retract(database, result.attestation)
        dead.update(result.added)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_still_live_is_read_anew_and_knows_dates(database: Database) -> None:
    one = _add(database, "a", derived_value("a", expires=NOW + DAY))
    two = _add(database, "b", derived_value("b", not_before=NOW))
    lookup = DatabaseReferenceLookup(database)
    ids = frozenset({*one.added, *two.added, "rv-unknown"})
    assert lookup.still_live(ids, NOW) == {*one.added, *two.added}
    assert lookup.still_live(ids, NOW + DAY) == set(two.added)
    assert lookup.still_live(ids, NOW - DAY) == set(one.added)
    _retract(database, two.attestation)
    assert lookup.still_live(ids, NOW) == set(one.added)
    assert lookup.still_live(frozenset(), NOW) == frozenset()
    with database.write() as connection:
        assert still_live_in(connection, ids, NOW) == set(one.added)


def test_many_ids_are_looked_up_in_parts(database: Database) -> None:
    values = [derived_value(f"v{index}") for index in range(1203)]
    result = _add(database, "a", *values)
    assert DatabaseReferenceLookup(database).still_live(frozenset(result.added), NOW) == set(result.added)


def test_a_retraction_waits_for_a_release_that_holds_the_value(new_url: Callable[[], str]) -> None:
    database = Database(new_url())
    result = _add(database, "a", derived_value("v"))
    order: list[str] = []
    held = threading.Event()

    def release() -> None:
        with database.write() as connection:
            assert still_live_in(connection, result.added, NOW) == set(result.added)
            held.set()
            time.sleep(0.3)
            order.append("released")

    thread = threading.Thread(target=release)
    thread.start()
    held.wait()
    other = Database(database.url)
    _retract(other, result.attestation)
    order.append("retracted")
    thread.join()
    assert order == ["released", "retracted"]
    with database.write() as connection:
        assert still_live_in(connection, result.added, NOW) == frozenset()
    other.close()
    database.close()


def test_the_lookup_seeks_in_an_index_and_never_scans(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, 3000)
    statements: list[tuple[str, Any]] = []
    from sqlalchemy import event

    def note(_c: object, _u: object, statement: str, parameters: Any, _x: object, _m: object) -> None:
        if "reference_value" in statement:
            statements.append((statement, parameters))

    text_for = Prepared.text_for

    def noted(prepared: Prepared, dialect: Any, values: dict[str, Any]) -> tuple[str, Any]:
        found = text_for(prepared, dialect, values)
        note(None, None, *found, None, None)
        return found

    monkeypatch.setattr(Prepared, "text_for", noted)
    event.listen(database.engine, "before_cursor_execute", note)
    assert len(_select(DatabaseReferenceLookup(database), [measurement("fill", 5), "none"])) == 1
    event.remove(database.engine, "before_cursor_execute", note)
    assert len(statements) == 4
    with database.write() as connection:
        explain = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN "
        if database.dialect == "postgresql":
            connection.exec_driver_sql("ANALYZE reference_value")
        for statement, parameters in statements:
            given = tuple(parameters) if isinstance(parameters, list) else parameters
            rows = connection.exec_driver_sql(explain + statement, given).all()
            plan = "\n".join(" ".join(map(str, row)) for row in rows)
            assert "ix_reference_value_" in plan
            assert "SCAN reference_value" not in plan
            assert "Seq Scan on reference_value" not in plan


def test_the_time_of_a_warm_lookup_does_not_grow_with_the_values(
    tmp_path: Any, migrated_sqlite: Any
) -> None:
    import shutil

    medians = []
    observed = frozenset({measurement("fill", 5), *(f"claim-{index}" for index in range(60))})
    for count in (10, 20_000):
        path = tmp_path / f"{count}.db"
        shutil.copy(migrated_sqlite, path)
        database = Database(f"sqlite:///{path}")
        fill(database, count)
        lookup = DatabaseReferenceLookup(database)
        assert measurement("fill", 5) in _select(lookup, observed)
        times = []
        for _ in range(400):
            start = time.perf_counter()
            lookup.select(NAMES, observed, NOW)
            times.append(time.perf_counter() - start)
        medians.append(sorted(times)[len(times) // 2])
        database.close()
    # Generous, for a busy machine; the figure itself is measured in benchmarks/.
    assert medians[1] < 3 * medians[0]


def test_votes_groups_and_unverified_values_are_sought_in_indexes(database: Database) -> None:
    fill(database, 2000)
    for index in range(MAX_LINEAGES + 1):
        _add(database, f"shared{index}", derived_value("shared", group=f"g{index}"))
    voting = admitted_statement("voting", domains=("east",), required_domains=2)
    ingest(database, voting, [derived_value("voted", group="g0")], submitted_by="ci", now=NOW)
    unsigned = admitted_statement("unsigned", unverified=True)
    claimed = [derived_value(f"claimed {index}") for index in range(SMALL_NAME + 1)]
    ingest(database, unsigned, claimed, submitted_by="ci", now=NOW)
    other = [derived_value("other", name="other", group="g3")]
    ingest(database, admitted_statement("other"), other, submitted_by="ci", now=NOW)
    statements: list[tuple[str, Any]] = []
    from sqlalchemy import event

    def note(_c: object, _u: object, statement: str, parameters: Any, _x: object, _m: object) -> None:
        if "reference_value" in statement:
            statements.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    found = DatabaseReferenceLookup(database).select(
        frozenset({NAME, "other"}),
        frozenset({"shared", "voted", "other", "claimed 1"}),
        NOW,
        unverified=NAMES,
    )
    event.remove(database.engine, "before_cursor_execute", note)
    assert {item.group for item in found.values if item.value == "shared"} >= {"g3"}
    assert [item.value for item in found.unverified] == ["claimed 1"]
    with database.write() as connection:
        explain = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN "
        if database.dialect == "postgresql":
            connection.exec_driver_sql("ANALYZE reference_value")
        for statement, parameters in statements:
            rows = connection.exec_driver_sql(explain + statement, parameters).all()
            plan = "\n".join(" ".join(map(str, row)) for row in rows)
            assert "SCAN reference_value" not in plan, statement
            assert "Seq Scan on reference_value" not in plan, statement
