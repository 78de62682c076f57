"""Serials only rise: in the transaction of the activation, for every later start."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from policy.errors import PolicyRollbackRefused, PolicySerialStale, PolicyStale
from policy.port import PolicyKind
from policy.serials import Serial, mark
from policy.store import PolicyStore
from storage.database import Database
from tests.databases import connect, database, migrated_sqlite, new_url, postgres

__all__ = ["connect", "database", "migrated_sqlite", "new_url", "postgres"]

NOW = datetime(2026, 5, 1, tzinfo=UTC)
KIND = PolicyKind.TRUST
A, B = "aa" * 32, "bb" * 32


@pytest.fixture
def store(database: Database) -> PolicyStore:
    return PolicyStore(database)


def activate(store: PolicyStore, text: str, serial: Serial | None, name: str = "default") -> int:
    version = store.put(KIND, name, text, by="ann", now=NOW).version
    return store.activate(KIND, name, version, by="ann", now=NOW, serial=serial).version


def test_higher_serial_follows_a_lower(store: PolicyStore, database: Database) -> None:
    activate(store, "one", Serial(1, A))
    activate(store, "three", Serial(3, B))
    with database.read() as connection:
        assert mark(connection, KIND, "default") == Serial(3, B)


@pytest.mark.parametrize("serial", [Serial(2, A), Serial(2, B), Serial(1, A), Serial(3, B), None])
def test_lower_or_equal_and_other_serial_is_refused_and_nothing_changes(
    store: PolicyStore, database: Database, serial: Serial | None
) -> None:
    activate(store, "three", Serial(3, A))
    before = store.generation()
    with pytest.raises(PolicySerialStale):
        activate(store, "other", serial)
    assert store.active(KIND, "default").text == "three"
    assert store.generation() == before
    with database.read() as connection:
        assert mark(connection, KIND, "default") == Serial(3, A)


def test_same_document_with_more_signatures_is_the_same_serial(store: PolicyStore) -> None:
    activate(store, "signed once", Serial(3, A))
    activate(store, "signed twice", Serial(3, A))
    assert store.active(KIND, "default").text == "signed twice"


def test_there_is_no_rollback_once_a_serial_was_active(store: PolicyStore) -> None:
    activate(store, "plain", None)
    activate(store, "one", Serial(1, A))
    activate(store, "two", Serial(2, B))
    with pytest.raises(PolicyRollbackRefused, match="2 is the highest"):
        store.rollback(KIND, "default", by="ann", now=NOW)
    assert store.active(KIND, "default").text == "two"


def test_policies_without_serials_and_other_names_go_on_as_before(store: PolicyStore) -> None:
    activate(store, "signed", Serial(5, A))
    activate(store, "first", None, name="other")
    activate(store, "second", None, name="other")
    assert store.rollback(KIND, "other", by="ann", now=NOW).text == "first"
    activate(store, "lower", Serial(1, B), name="third")


def test_mark_outlives_the_process(new_url: Callable[[], str], connect: Callable[[str], Database]) -> None:
    url = new_url()
    activate(PolicyStore(connect(url)), "nine", Serial(9, A))
    with pytest.raises(PolicySerialStale):
        activate(PolicyStore(connect(url)), "eight", Serial(8, B))


def test_refused_activation_raises_no_mark(store: PolicyStore, database: Database) -> None:
    activate(store, "one", Serial(1, A))
    version = store.put(KIND, "default", "seven", by="ann", now=NOW).version
    with pytest.raises(PolicyStale):
        store.activate(KIND, "default", version, by="ann", now=NOW, expected=99, serial=Serial(7, B))
    with database.read() as connection:
        assert mark(connection, KIND, "default") == Serial(1, A)


def test_of_two_administrators_at_once_the_higher_serial_stays(store: PolicyStore) -> None:
    start = threading.Barrier(2)
    refused: list[int] = []

    def run(number: int) -> None:
        start.wait()
        try:
            activate(store, f"text {number}", Serial(number, f"{number:064x}"))
        except PolicySerialStale:
            refused.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.active(KIND, "default").text == "text 2"
    assert refused in ([], [1])
