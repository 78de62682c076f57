"""Group commit: threads share a commit, and nothing else."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from common.errors import DatabaseUnavailable
from storage.database import Database
from storage.grouped import GroupCommit


@pytest.fixture
def database(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path / 'grouped.db'}")
    with database.write() as connection:
        connection.execute(text("CREATE TABLE entry (number INTEGER PRIMARY KEY)"))
    yield database
    database.close()


def insert(number: int):
    def work(connection: Connection) -> int:
        connection.execute(text("INSERT INTO entry VALUES (:number)"), {"number": number})
        return number

    return work


def stored(database: Database) -> set[int]:
    with database.read() as connection:
        return set(connection.execute(text("SELECT number FROM entry")).scalars())


class Held:
    """Transactions that wait at their commit until they are let go; counts them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.begun = 0
        self.inside = threading.Event()
        self.let_go = threading.Event()

    @contextmanager
    def __call__(self):
        with self.database.write() as connection:
            self.begun += 1
            yield connection
            self.inside.set()
            assert self.let_go.wait(10)


def test_what_comes_while_one_commits_is_one_group(database: Database) -> None:
    held = Held(database)
    groups = GroupCommit(held)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(groups.run, insert(0))
        assert held.inside.wait(10)
        others = [pool.submit(groups.run, insert(number)) for number in range(1, 9)]
        while len(groups._waiting) < 8:
            pass
        held.let_go.set()
        assert [future.result(10) for future in (first, *others)] == list(range(9))
    assert held.begun == 2
    assert stored(database) == set(range(9))


def test_who_fails_is_undone_alone(database: Database) -> None:
    held = Held(database)
    groups = GroupCommit(held)

    def fail(connection: Connection) -> None:
        insert(50)(connection)
        raise KeyError("mine")

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(groups.run, insert(0))
        assert held.inside.wait(10)
        good = pool.submit(groups.run, insert(1))
        bad = pool.submit(groups.run, fail)
        double = pool.submit(groups.run, insert(0))
        while len(groups._waiting) < 3:
            pass
        held.let_go.set()
        assert (first.result(10), good.result(10)) == (0, 1)
        with pytest.raises(KeyError, match="mine"):
            bad.result(10)
        with pytest.raises(Exception, match="UNIQUE"):
            double.result(10)
    assert stored(database) == {0, 1}


def test_a_failed_commit_fails_every_member_and_the_next_group_goes_on(database: Database) -> None:
    broken = True

    @contextmanager
    def transaction():
        with database.write() as connection:
            yield connection
            if broken:
                raise DatabaseUnavailable("the disk is full")

    groups = GroupCommit(transaction)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(groups.run, insert(number)) for number in range(8)]
        for future in futures:
            with pytest.raises(DatabaseUnavailable):
                future.result(10)
    assert stored(database) == set()
    broken = False
    assert groups.run(insert(1)) == 1
    assert stored(database) == {1}


def test_many_threads_all_get_their_own_answer(database: Database) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda number: database.write_together(insert(number)), range(400)))
    assert found == list(range(400))
    assert stored(database) == set(range(400))
