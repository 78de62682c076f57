"""Group commit: durable transactions of several threads share one wait for the disk (SQLite).

SQLite has one writer at a time, and a durable commit waits for the disk, which takes longer than the
writing. Threads of a process that come while one of them waits would each wait in turn. Here the first
becomes the leader: it runs the work of all that have come, each within a savepoint of its own, commits
once, and tells them. What comes meanwhile is the next group.

Invariants:

* A caller returns only after the commit that holds its work; if that fails, every member of the group gets
  the error, and nothing of the group is stored.
* Work that raises is undone alone: its savepoint is rolled back, the others go on.
* Work runs in the leader's thread, on the transaction it is given, after that of the members before it in
  the same transaction: it sees what they wrote.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection

T = TypeVar("T")
_MAX_GROUP = 64


class _Job(Generic[T]):
    """One caller's work and what came of it."""

    __slots__ = ("error", "leads", "result", "woken", "work")

    def __init__(self, work: Callable[[Connection], T]) -> None:
        self.work = work
        self.woken = threading.Event()
        self.leads = False
        self.result: T | None = None
        self.error: BaseException | None = None

    def run(self, connection: Connection) -> None:
        """Run within a savepoint."""
        driver: Any = connection.connection.dbapi_connection
        driver.execute("SAVEPOINT member")
        try:
            self.result = self.work(connection)
        except BaseException as error:  # noqa: BLE001 (handed to the caller that it belongs to)
            self.error = error
            driver.execute("ROLLBACK TO member")
        driver.execute("RELEASE member")


class GroupCommit:
    """Runs work in groups. Each leader leads one group, its own, and then wakes the next leader.

    Args:
        transaction: begins a durable write transaction.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        """Start without work."""
        self._transaction = transaction
        self._lock = threading.Lock()
        self._waiting: list[_Job[Any]] = []
        self._led = False

    def run(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction that is durable when this returns.

        Raises:
            Exception: what ``work`` raised; its part is undone.
            DatabaseUnavailable: the database does not answer; nothing was stored.
        """
        job = _Job(work)
        with self._lock:
            self._waiting.append(job)
            job.leads = not self._led
            self._led = True
        if not job.leads:
            job.woken.wait()
        if job.leads:
            self._lead()
        if job.error is not None:
            raise job.error
        return cast("T", job.result)

    def _lead(self) -> None:
        """Commit the group of all that wait, then let the next group be led."""
        with self._lock:
            group, self._waiting = self._waiting[:_MAX_GROUP], self._waiting[_MAX_GROUP:]
        try:
            self._commit(group)
        finally:
            with self._lock:
                self._led = bool(self._waiting)
                following = self._waiting[0] if self._waiting else None
            if following is not None:
                following.leads = True
                following.woken.set()
            for job in group:
                if not job.leads:
                    job.woken.set()

    def _commit(self, group: list[_Job[Any]]) -> None:
        try:
            with self._transaction() as connection:
                if len(group) == 1:  # the transaction itself is its savepoint
                    group[0].result = group[0].work(connection)
                    return
                for job in group:
                    job.run(connection)
        except BaseException as error:  # noqa: BLE001 (handed to every caller)
            for job in group:
                job.error = error
