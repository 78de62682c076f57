"""One thread of a process computes at a time; those that wait do not ask for the interpreter.

Every call into SQLite or OpenSSL gives the interpreter's lock up and takes it again. Where another thread
waits for that lock, each such call hands it over, and a request of two dozen calls is interrupted two dozen
times. Threads that wait for their turn instead leave the interpreter alone: requests take a tenth to a
quarter less of the processor.

A turn is a courtesy, nothing rests on it:

* Its holder gives it up while it waits for the disk or for another process (``waiting``).
* Who waited ``PATIENCE_S`` goes on without it, so that a holder that waits for something else (a network, a
  hardware security module) delays others by that time, not by its own.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S: Final = 0.02


class Turns:
    """The turns of one process."""

    def __init__(self) -> None:
        """Nobody's turn."""
        self._lock = threading.Lock()
        self._mine = threading.local()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn, and keep it until the block ends."""
        self._take()
        try:
            yield
        finally:
            self._give_up()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let others have the turn during the block; nothing happens in a thread that does not hold it."""
        if not self._give_up():
            yield
            return
        try:
            yield
        finally:
            self._take()

    def _take(self) -> None:
        self._mine.held = self._lock.acquire(timeout=PATIENCE_S)

    def _give_up(self) -> bool:
        held: bool = getattr(self._mine, "held", False)
        if held:
            self._mine.held = False
            self._lock.release()
        return held
