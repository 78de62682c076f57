"""Locks of the endorsement store: between threads and between processes, by files that are never removed.

Writers exclude each other and readers of items with companions (``exclusive``, ``shared``). Whoever asks a
source for an item excludes others who would ask for it too (``flight``). A folder that cannot be written
has no writers: there, nothing is locked.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from common.errors import FetchFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FOLDER: Final = ".locks"
_FLIGHTS: Final = 64  # items share them by digest, so that their number stays small
_POLL_S: Final = 0.02
_MODE: Final = 0o644


class Locks:
    """Of one folder; None: of a store in memory, which needs none.

    Args:
        folder: of the store.
        patience_s: how long to wait for another who asks for the same item.
    """

    def __init__(self, folder: Path | None, *, patience_s: float = 30.0) -> None:
        """Make no file yet."""
        self._folder = None if folder is None else folder / _FOLDER
        self._patience_s = patience_s

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nobody else writes, nor reads an item with companions."""
        with self._held("write", fcntl.LOCK_EX, create=True):
            yield

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Nobody writes."""
        with self._held("write", fcntl.LOCK_SH, create=False):
            yield

    @contextmanager
    def marks(self) -> Iterator[None]:
        """Nobody else raises a mark. May be taken by who holds ``exclusive``, never the other way round."""
        with self._held("marks", fcntl.LOCK_EX, create=True):
            yield

    @contextmanager
    def flight(self, name: str) -> Iterator[None]:
        """Nobody else asks for this item.

        Raises:
            FetchFailed: somebody else has been asking for too long.
        """
        number = hashlib.sha256(name.encode()).digest()[0] % _FLIGHTS
        descriptor = self._open(f"flight-{number:02}", create=True)
        if descriptor is None:
            yield
            return
        try:
            self._wait(descriptor, name)
            yield
        finally:
            os.close(descriptor)

    def _wait(self, descriptor: int, name: str) -> None:
        until = time.monotonic() + self._patience_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise FetchFailed(f"{name} is being asked for by another process") from None
                time.sleep(_POLL_S)
            else:
                return

    @contextmanager
    def _held(self, name: str, how: int, *, create: bool) -> Iterator[None]:
        descriptor = self._open(name, create=create)
        if descriptor is None:
            yield
            return
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    def _open(self, name: str, *, create: bool) -> int | None:
        if self._folder is None:
            return None
        flags = os.O_RDWR | os.O_CREAT if create else os.O_RDONLY
        try:
            if create:
                self._folder.mkdir(parents=True, exist_ok=True)
            return os.open(self._folder / name, flags | os.O_CLOEXEC, _MODE)
        except OSError:
            return None  # a writer will say why; a reader finds no writer
