from __future__ import annotations

import hashlib
import shutil
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, update

from common.errors import InputError, SchemaMismatch, TooLarge, TouchstoneError
from policy import store as module
from policy.active_digests import ActiveDigests
from policy.errors import PolicyCorrupt, PolicyNotFound, PolicyStale
from policy.port import PolicyKind, PolicySource
from policy.store import MAX_TEXT_BYTES, PolicyStore, active_digest_in, active_in
from policy.tables import policy_state, policy_version
from policy.versions import read_version
from storage.database import Database
from storage.migrate import migrate
from tests.databases import connect, database, migrated_sqlite, new_url, postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Connect = Callable[[str], Database]

__all__ = ["connect", "database", "migrated_sqlite", "new_url", "postgres"]

NOW = datetime(2026, 5, 1, tzinfo=UTC)
KIND = PolicyKind.APPRAISAL
TEXTS = ("package policy\n# one\n", "package policy\n# two\n", "package policy\n# three\n")


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    return new_url()


@pytest.fixture
def store(database: Database) -> PolicyStore:
    return PolicyStore(database)


def _put(store: PolicyStore, *texts: str, name: str = "default", kind: PolicyKind = KIND) -> list[int]:
    return [store.put(kind, name, text, by="ann", now=NOW).version for text in texts]


def _activate(store: PolicyStore, version: int, **more: Any) -> None:
    store.activate(KIND, "default", version, by="ann", now=NOW, **more)


@contextmanager
def _waits(change: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Gives what starts ``change`` in a thread; what is done before the block ends must come before it."""
    order: list[str] = []

    def changed() -> None:
        change()
        order.append("changed")

    def start() -> None:
        thread.start()
        thread.join(0.3)
        order.append("acted")

    thread = threading.Thread(target=changed)
    yield start
    thread.join()
    assert order == ["acted", "changed"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "a\n", "ａ", "x" * 129, "-a"])
def test_a_name_that_is_no_identifier_is_refused(store: PolicyStore, name: str) -> None:
    for use in (
        lambda: store.put(KIND, name, TEXTS[0], by="ann", now=NOW),
        lambda: store.active(KIND, name),
        lambda: store.get(KIND, name, 1),
        lambda: store.versions(KIND, name),
        lambda: store.activate(KIND, name, 1, by="ann", now=NOW),
        lambda: store.rollback(KIND, name, by="ann", now=NOW),
        lambda: store.history(KIND, name),
    ):
        with pytest.raises(InputError):
            use()


def test_text_that_cannot_be_stored_is_refused(store: PolicyStore) -> None:
    with pytest.raises(TooLarge):
        _put(store, "x" * (MAX_TEXT_BYTES + 1))
    for text in ("a\0b", "\ud800"):
        with pytest.raises(InputError):
            _put(store, text)
    assert store.list() == ()


@pytest.mark.parametrize("by", ["", "a\nb", "x" * 2049])
def test_a_change_without_a_named_caller_is_refused(store: PolicyStore, by: str) -> None:
    _put(store, TEXTS[0])
    for use in (
        lambda: store.put(KIND, "default", TEXTS[1], by=by, now=NOW),
        lambda: store.activate(KIND, "default", 1, by=by, now=NOW),
        lambda: store.rollback(KIND, "default", by=by, now=NOW),
    ):
        with pytest.raises(InputError):
            use()


def test_a_text_altered_in_the_database_is_refused_wherever_it_is_read(
    store: PolicyStore, database: Database
) -> None:
    _put(store, *TEXTS[:2])
    _activate(store, 1)
    _activate(store, 2)
    with database.write() as connection:
        connection.execute(update(policy_version).values(text=policy_version.c.text + " "))
    for use in (
        lambda: store.active(KIND, "default"),
        lambda: store.get(KIND, "default", 1),
        lambda: store.versions(KIND, "default"),
        lambda: _activate(store, 1),
        lambda: store.rollback(KIND, "default", by="ann", now=NOW),
    ):
        with pytest.raises(PolicyCorrupt):
            use()
    assert store.list()[0].active == 2


def test_the_second_of_two_who_saw_the_same_active_version_is_told(store: PolicyStore) -> None:
    _put(store, *TEXTS)
    _activate(store, 1, expected=None)
    _activate(store, 2, expected=1)
    for use in (
        lambda: _activate(store, 3, expected=1),
        lambda: _activate(store, 3, expected=None),
        lambda: store.rollback(KIND, "default", by="bob", now=NOW, expected=1),
    ):
        with pytest.raises(PolicyStale) as caught:
            use()
        assert caught.value.details["active"] == 2
    assert store.active(KIND, "default").version == 2


def test_of_two_that_activate_at_once_one_wins_and_the_other_is_told(url: str, connect: Connect) -> None:
    first = PolicyStore(connect(url))
    _put(first, *TEXTS)
    _activate(first, 1)
    outcomes: list[str] = []
    barrier = threading.Barrier(2)

    def admin(version: int) -> None:
        database = connect(url)
        barrier.wait()
        try:
            _activate(PolicyStore(database), version, expected=1)
        except PolicyStale:
            outcomes.append("stale")
        else:
            outcomes.append("active")

    threads = [threading.Thread(target=admin, args=(version,)) for version in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["active", "stale"]
    assert len(first.history(KIND, "default")) == 2


def test_versions_put_at_once_get_numbers_of_their_own(url: str, connect: Connect) -> None:

    def put(index: int) -> None:
        database = connect(url)
        _put(PolicyStore(database), f"package policy\n# {index}\n")

    threads = [threading.Thread(target=put, args=(index,)) for index in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    versions = PolicyStore(connect(url)).versions(KIND, "default")
    assert [item.version for item in versions] == [5, 4, 3, 2, 1]
    assert len({item.digest for item in versions}) == 5


def test_what_is_not_there_is_not_found(store: PolicyStore, database: Database) -> None:
    _put(store, TEXTS[0])
    for use in (
        lambda: store.active(KIND, "default"),
        lambda: store.active(KIND, "other"),
        lambda: store.active(PolicyKind.RELEASE, "default"),
        lambda: store.versions(KIND, "other"),
        lambda: store.rollback(KIND, "default", by="ann", now=NOW),
        *(
            lambda version=version: store.get(KIND, "default", version)  # type: ignore[misc]
            for version in (0, -1, 2, 2**31, 2**63)
        ),
        lambda: _activate(store, 2),
    ):
        with pytest.raises(PolicyNotFound):
            use()
    with database.read() as connection, pytest.raises(PolicyNotFound):
        active_in(connection, KIND, "default")
    assert store.history(KIND, "default") == ()


def test_a_store_without_state_is_refused(store: PolicyStore, database: Database) -> None:
    with database.write() as connection:
        connection.execute(delete(policy_state))
    with pytest.raises(SchemaMismatch):
        store.generation()
    with pytest.raises(SchemaMismatch):
        _put(store, TEXTS[0])


def test_a_version_is_what_was_put(store: PolicyStore) -> None:
    text = "package policy\r\n# \N{SNOWMAN} \t\n"
    put = store.put(KIND, "default", text, by="ann", now=NOW)
    assert put == store.get(KIND, "default", 1)
    assert (put.text, put.created_by, put.created_at) == (text, "ann", NOW)
    assert put.digest == hashlib.sha256(text.encode()).hexdigest() == put.source.digest
    assert put.source == PolicySource(KIND, text)


def test_putting_the_latest_text_again_adds_nothing(store: PolicyStore) -> None:
    assert _put(store, TEXTS[0], TEXTS[0], TEXTS[1], TEXTS[1], TEXTS[0]) == [1, 1, 2, 2, 3]
    assert [item.version for item in store.versions(KIND, "default")] == [3, 2, 1]


def test_kinds_and_names_are_counted_by_themselves(store: PolicyStore) -> None:
    assert _put(store, TEXTS[0]) == [1]
    assert _put(store, TEXTS[0], name="other") == [1]
    assert _put(store, TEXTS[0], kind=PolicyKind.RELEASE) == [1]
    _activate(store, 1)
    assert [(item.kind.value, item.name, item.latest, item.active) for item in store.list()] == [
        ("appraisal", "default", 1, 1),
        ("appraisal", "other", 1, None),
        ("release", "default", 1, None),
    ]


def test_putting_activates_nothing(store: PolicyStore) -> None:
    _put(store, *TEXTS[:2])
    _activate(store, 1)
    _put(store, TEXTS[2])
    assert store.active(KIND, "default").version == 1
    (summary,) = store.list()
    assert (summary.latest, summary.active, summary.digest) == (
        3,
        1,
        hashlib.sha256(TEXTS[0].encode()).hexdigest(),
    )


def test_rolling_back_goes_back_step_by_step_and_never_alternates(store: PolicyStore) -> None:
    _put(store, *TEXTS)
    for version in (1, 2, 3):
        _activate(store, version)

    def back() -> int:
        return store.rollback(KIND, "default", by="bob", now=NOW + timedelta(days=1)).version

    assert [back(), back()] == [2, 1]
    with pytest.raises(PolicyNotFound):
        back()
    _activate(store, 3)
    assert back() == 1
    assert [(item.version, item.action, item.by) for item in store.history(KIND, "default")] == [
        (1, "rollback", "bob"),
        (3, "activate", "ann"),
        (1, "rollback", "bob"),
        (2, "rollback", "bob"),
        (3, "activate", "ann"),
        (2, "activate", "ann"),
        (1, "activate", "ann"),
    ]
    assert store.history(KIND, "default")[0].at == NOW + timedelta(days=1)


def test_activating_what_is_active_changes_nothing(store: PolicyStore) -> None:
    _put(store, TEXTS[0])
    _activate(store, 1)
    generation = store.generation()
    _activate(store, 1)
    assert store.generation() == generation
    assert len(store.history(KIND, "default")) == 1


def test_the_generation_tells_another_process_of_every_activation(
    store: PolicyStore, database: Database, connect: Connect
) -> None:
    reader = PolicyStore(connect(database.url))
    seen = [reader.generation()]
    _put(store, *TEXTS[:2])
    assert reader.generation() == seen[-1]
    for change in (
        lambda: _activate(store, 1),
        lambda: _activate(store, 2),
        lambda: store.rollback(KIND, "default", by="ann", now=NOW),
    ):
        change()
        assert reader.generation() > seen[-1]
        seen.append(reader.generation())


def test_the_active_digest_is_held_until_the_transaction_ends(url: str, connect: Connect) -> None:
    one, other = connect(url), connect(url)
    store = PolicyStore(one)
    _put(store, *TEXTS[:2])
    _activate(store, 1)
    with _waits(lambda: _activate(PolicyStore(other), 2)) as started, one.write() as connection:
        assert active_digest_in(connection, KIND, "default") == store.get(KIND, "default", 1).digest
        assert active_digest_in(connection, KIND, "other") is None
        started()
    with one.write() as connection:
        assert active_digest_in(connection, KIND, "default") == store.get(KIND, "default", 2).digest


def test_active_digests_are_held_and_follow_every_activation(url: str, connect: Connect) -> None:
    one, other = connect(url), connect(url)
    store = PolicyStore(one)
    _put(store, *TEXTS[:2])
    digests = ActiveDigests()
    wanted = [(KIND, "default"), (KIND, "other"), (KIND, "default")]

    def read() -> list[str | None]:
        with one.write() as connection:
            return digests.of(connection, wanted)

    assert read() == [None, None, None]
    first, second = (store.get(KIND, "default", version).digest for version in (1, 2))
    for by, version, digest in ((one, 1, first), (other, 2, second), (one, 1, first)):
        _activate(PolicyStore(by), version)
        assert read() == [digest, None, digest]
        assert read() == [digest, None, digest]
    with _waits(lambda: _activate(PolicyStore(other), 2)) as started, one.write() as connection:
        assert digests.of(connection, wanted) == [first, None, first]
        started()
    assert read() == [second, None, second]


def test_a_rollback_is_seen_by_active_digests(url: str, connect: Connect) -> None:
    database = connect(url)
    store = PolicyStore(database)
    _put(store, *TEXTS[:2])
    for version in (1, 2):
        _activate(store, version)
    digests = ActiveDigests()
    with database.write() as connection:
        assert digests.of(connection, [(KIND, "default")]) == [store.get(KIND, "default", 2).digest]
    store.rollback(KIND, "default", by="ann", now=NOW)
    with database.write() as connection:
        assert digests.of(connection, [(KIND, "default")]) == [store.get(KIND, "default", 1).digest]


def test_active_digests_refuse_a_database_without_its_state(tmp_path: Path, migrated_sqlite: Path) -> None:
    # On SQLite alone: elsewhere that row is not what they rest on.
    database = Database(f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'store.db')}")
    with database.write() as connection:
        connection.execute(delete(policy_state))
    with pytest.raises(SchemaMismatch), database.write() as connection:
        ActiveDigests().of(connection, [(KIND, "default")])
    database.close()


def test_a_reader_that_waited_for_an_activation_sees_what_it_became(url: str, connect: Connect) -> None:
    one, other = connect(url), connect(url)
    store = PolicyStore(one)
    _put(store, *TEXTS[:2])
    _activate(store, 1)
    found: list[str | None] = []

    def read() -> None:
        with other.write() as connection:
            found.append(active_digest_in(connection, KIND, "default"))

    with one.write() as connection:
        chosen = read_version(connection, KIND, "default", 2)
        generation = module._lock(connection)
        row = module._activation_row(chosen, "activate", 1, "ann", NOW)
        module._point(connection, row, generation)
        thread = threading.Thread(target=read)
        thread.start()
        thread.join(0.3)
    thread.join()
    assert found == [store.get(KIND, "default", 2).digest]


@settings(deadline=None, max_examples=60)
@given(name=st.text(max_size=8), text=st.text(max_size=30), by=st.text(max_size=5), version=st.integers())
def test_whatever_is_given_only_our_errors_come_out(
    tmp_path_factory: pytest.TempPathFactory, name: str, text: str, by: str, version: int
) -> None:
    store = _scratch(tmp_path_factory)
    for use in (
        lambda: store.put(KIND, name, text, by=by, now=NOW),
        lambda: store.activate(KIND, name, version, by=by, now=NOW),
        lambda: store.get(KIND, name, version),
    ):
        try:
            use()
        except TouchstoneError as error:
            assert error.code  # noqa: PT017 (either outcome is fine, another error is not)


_SCRATCH: list[PolicyStore] = []


def _scratch(tmp_path_factory: pytest.TempPathFactory) -> PolicyStore:
    if not _SCRATCH:
        database = Database(f"sqlite:///{tmp_path_factory.mktemp('scratch')}/store.db")
        migrate(database)
        _SCRATCH.append(PolicyStore(database))
    return _SCRATCH[0]
