"""Files that may change while a process runs: the last good reading of them.

Invariants:

* They are looked at once a second at most, and read anew only when they changed.
* What cannot be used leaves the former reading, and is told once for each state of the files.
* A change while reading is seen at the next look, since the signature is taken before.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from common.errors import TouchstoneError
from common.files import version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

T = TypeVar("T")
CHECK_INTERVAL_S: Final = 1.0


class WatchedFiles(Generic[T]):
    """The present reading of some files. Safe to use from many threads.

    Args:
        paths: the files.
        read: reads them; raises ``TouchstoneError`` where they cannot be used.
        failed: told why changed files cannot be used.
        changed: told of each new reading but the first.

    Raises:
        TouchstoneError: they cannot be used at the start.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        read: Callable[[], T],
        *,
        failed: Callable[[TouchstoneError], None],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Read them for the first time."""
        self._paths = tuple(paths)
        self._read = read
        self._on_failure = failed
        self._on_change = changed
        self._lock = threading.Lock()
        self._signature = self._look()
        self._unusable: object = None
        self._reading = read()
        self._check_at = time.monotonic() + CHECK_INTERVAL_S

    def current(self) -> T:
        """The last good reading."""
        if time.monotonic() >= self._check_at:
            with self._lock:
                self._refresh()
        return self._reading

    def _refresh(self) -> None:
        self._check_at = time.monotonic() + CHECK_INTERVAL_S
        signature = self._look()
        if signature in (self._signature, self._unusable):
            return
        try:
            reading = self._read()
        except TouchstoneError as error:
            self._unusable = signature
            self._on_failure(error)
            return
        self._signature, self._unusable, self._reading = signature, None, reading
        self._on_change()

    def _look(self) -> tuple[object, ...]:
        return tuple(version_of(path) for path in self._paths)
