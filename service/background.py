"""Work beside requests, done by one process of the server.

Every worker has the thread; the one that holds a lock file in the data directory works, and the system
hands the lock on when that process ends. Replicas with data directories of their own each do it for
themselves: what runs here must be harmless when done twice.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOG = logging.getLogger("touchstone.background")


class BackgroundThread:
    """Calls something at intervals, while this process holds the lock; starts at once.

    Args:
        name: of the thread.
        lock: path of the lock file.
        interval_s: from one call to the next.
        act: what is done; whatever it raises is logged, and the next interval tries again.
        stopping: set by ``close``, for work that should look at it; one of its own otherwise.
    """

    def __init__(
        self,
        name: str,
        lock: Path,
        interval_s: float,
        act: Callable[[], object],
        stopping: threading.Event | None = None,
    ) -> None:
        """Start the thread."""
        self._name = name
        self._lock = lock
        self._interval_s = interval_s
        self._act = act
        self._stopping = stopping or threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self, timeout_s: float | None = None) -> None:
        """Stop after the present call; wait for it no longer than ``timeout_s``."""
        self._stopping.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not self._stopping.wait(self._interval_s):
                if _holds(lock):
                    self._guarded()
        finally:
            os.close(lock)

    def _guarded(self) -> None:
        try:
            self._act()
        except Exception:  # noqa: BLE001 (whatever happens in it, the thread goes on)
            _LOG.exception("%s failed", self._name)


def _holds(lock: int) -> bool:
    """Take or keep the lock."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
