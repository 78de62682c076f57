"""Declared reference values: replaced by name, expired by date, apart from what is verified."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from common.errors import Malformed, TooLarge
from rvps import declared, snapshot
from rvps.ingest import ingest
from rvps.integrity import verify_store
from rvps.lookup import DatabaseReferenceLookup, still_live_in
from rvps.model import MAX_MEMBERS
from storage.database import Database
from testkit.reference_values import NAME, admitted_statement, derived_value

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 2, 28, 12, tzinfo=UTC)
URI = "rvps:///example.org/image:1.0"


def register(database: Database, name: str, value: object, **more: Any) -> declared.DeclaredValue:
    with database.write() as connection:
        return declared.register_in(
            connection, name, value, **{"kind": "sample", "by": "an admin", "now": NOW} | more
        )


def counting(database: Database) -> DatabaseReferenceLookup:
    return DatabaseReferenceLookup(database, declared_values=True)


def members(lookup: DatabaseReferenceLookup, name: str, *observed: str, now: datetime = NOW) -> list[Any]:
    found = lookup.select(frozenset({name}), frozenset(observed), now).declared
    return [list(item.members) for item in found]


@pytest.mark.parametrize(
    "value", [["a", "b"], "a", 3, True, None, {"a": [1.5]}, [], [{"x": 1}, "y"], [["a"]], "\u2028\0", 2**63]
)
def test_any_json_value_comes_back_as_it_was_declared(database: Database, value: object) -> None:
    made = register(database, URI, value)
    with database.read() as connection:
        assert declared.live_by_name(connection, [URI], NOW) == {URI: made}
        assert declared.everything(connection, NOW) == (made,)
    assert made.value == value
    assert type(made.value) is type(value)
    assert made.id.startswith("dv-")


@pytest.mark.parametrize("name", ["", "x" * 513, "a\nb", "a\0b", "\u202e"])
def test_a_name_that_nobody_could_read_is_refused(database: Database, name: str) -> None:
    with pytest.raises(Malformed):
        register(database, name, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_what_is_no_json_is_refused(database: Database, value: object) -> None:
    with pytest.raises(Malformed):
        register(database, "name", value)


def test_a_value_has_a_size(database: Database) -> None:
    with pytest.raises(TooLarge):
        register(database, "name", "x" * declared.MAX_VALUE_BYTES)


def test_declared_values_do_not_count_unless_the_lookup_says_so(database: Database) -> None:
    made = register(database, "name", ["a"])
    plain = DatabaseReferenceLookup(database)
    assert members(plain, "name", "a") == []
    assert plain.still_live(frozenset({made.id}), NOW) == frozenset()
    assert members(counting(database), "name", "a") == [["a"]]
    assert counting(database).still_live(frozenset({made.id}), NOW) == {made.id}
    with database.write() as connection:
        assert still_live_in(connection, [made.id], NOW) == frozenset()
        assert still_live_in(connection, [made.id], NOW, declared=True) == {made.id}


def test_a_lookup_gives_only_the_names_it_was_asked_for(database: Database) -> None:
    register(database, "one", ["a"])
    register(database, "two", value=True)
    found = counting(database).select(frozenset({"two", "three"}), frozenset(), NOW).declared
    assert [(item.name, item.members, item.scalar) for item in found] == [("two", (True,), True)]


def test_another_process_sees_a_change_at_its_next_call(
    new_url: Callable[[], str], connect: Callable[[str], Database]
) -> None:
    url = new_url()
    writer, reader = connect(url), counting(connect(url))
    assert members(reader, "name", "a") == []
    first = register(writer, "name", ["a"])
    assert members(reader, "name", "a") == [["a"]]
    second = register(writer, "name", ["b"])
    assert members(reader, "name", "a") == [["b"]]
    assert reader.still_live(frozenset({first.id, second.id}), NOW) == {second.id}
    with writer.write() as connection:
        assert declared.delete_in(connection, "name") == second
        assert declared.delete_in(connection, "name") is None
    assert members(reader, "name", "a") == []
    assert reader.still_live(frozenset({first.id, second.id}), NOW) == frozenset()


def test_registered_again_as_it_was_it_has_its_id_again(database: Database) -> None:
    first = register(database, "name", {"b": 1, "a": 2})
    register(database, "name", {"a": 2})
    assert register(database, "name", {"a": 2, "b": 1}).id == first.id
    assert register(database, "other", {"a": 2, "b": 1}).id != first.id
    assert declared.declared_id("name", 1) != declared.declared_id("name", "1")
    assert declared.declared_id("name", 1) != declared.declared_id("name", value=True)


def test_it_expires_for_policies_for_ids_and_for_queries(database: Database) -> None:
    end = NOW + timedelta(hours=1)
    made = register(database, "name", ["a"], expires=end)
    lookup = counting(database)
    assert members(lookup, "name", now=end - timedelta(microseconds=1)) == [["a"]]
    assert members(lookup, "name", now=end) == []
    assert members(lookup, "name", now=NOW) == [["a"]]
    assert lookup.still_live(frozenset({made.id}), end) == frozenset()
    with database.read() as connection:
        assert declared.live_by_name(connection, ["name"], end) == {}
        assert declared.everything(connection, end) == ()


@pytest.mark.parametrize(
    ("now", "end"),
    [
        (NOW, NOW.replace(year=2027)),
        (datetime(2028, 2, 29, tzinfo=UTC), datetime(2029, 2, 28, tzinfo=UTC)),
        (datetime(2026, 12, 31, 23, 59, tzinfo=UTC), datetime(2027, 12, 31, 23, 59, tzinfo=UTC)),
    ],
)
def test_by_default_it_lasts_twelve_months(now: datetime, end: datetime) -> None:
    assert declared.default_expiry(now) == end


def test_of_a_long_list_only_what_was_observed_is_handed_over(database: Database) -> None:
    register(database, "name", [f"v{number}" for number in range(MAX_MEMBERS + 1)] + [{"a": 1}, 7, "7"])
    lookup = counting(database)
    assert members(lookup, "name", "v3", "7", "w") == [[7, "7", "v3", {"a": 1}]]
    assert members(lookup, "name") == [[{"a": 1}]]
    register(database, "name", [f"v{number}" for number in range(MAX_MEMBERS)])
    assert len(members(lookup, "name")[0]) == MAX_MEMBERS


def test_what_a_result_rests_on(database: Database) -> None:
    register(database, "list", ["a", 3])
    register(database, "minimum", 4)
    names = frozenset({"list", "minimum"})
    found = {item.name: item for item in counting(database).select(names, frozenset(), NOW).declared}
    assert found["list"].relied_on(frozenset({"3"}))
    assert not found["list"].relied_on(frozenset({"4"}))
    assert found["minimum"].relied_on(frozenset())


def test_a_change_is_no_part_of_the_chain_and_keeps_what_is_verified_cached(database: Database) -> None:
    ingest(database, admitted_statement("s"), [derived_value("verified")], submitted_by="ci", now=NOW)
    lookup = counting(database)
    before = lookup.select(frozenset({NAME}), frozenset(), NOW)
    register(database, NAME, ["declared"])
    after = lookup.select(frozenset({NAME}), frozenset(), NOW)
    assert [item.value for item in after.values] == [item.value for item in before.values] == ["verified"]
    assert [item.members for item in after.declared] == [("declared",)]
    assert after.snapshot == before.snapshot
    with database.read() as connection:
        assert snapshot.first_broken(connection) is None
    assert verify_store(database).holds
