"""A program that runs while its ``with`` block does: in a folder of its own, on a free loopback port."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Self

from common.errors import DependencyMissing, UnavailableError

if TYPE_CHECKING:
    from types import TracebackType

_READY_S: Final = 20.0
_STOP_S: Final = 10.0
_POLL_S: Final = 0.02
_PROJECT: Final = Path(__file__).resolve().parent.parent


class Daemon(ABC):
    """Starts, waits until it answers, and stops.

    Args:
        port: fixed port; a free one otherwise.
    """

    program: ClassVar[str]
    install: ClassVar[str]
    not_ready: ClassVar[type[UnavailableError]]

    def __init__(self, port: int | None = None) -> None:
        """Choose the port; nothing runs yet."""
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        """Start and wait until it answers.

        Raises:
            DependencyMissing: no binary.
            UnavailableError: it did not come up.
        """
        binary = self._binary()
        if binary is None:
            raise DependencyMissing(f"there is no {self.program} binary", advice=self.install)
        self._folder = tempfile.TemporaryDirectory(prefix=f"touchstone-{self.program}-")
        folder = Path(self._folder.name)
        self._process = subprocess.Popen(
            [str(binary), *self._arguments(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it and remove its folder."""
        self.stop()

    def stop(self) -> None:
        """Stop it; harmless when it is stopped already."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _binary(self) -> Path | None:
        return find_binary(self.program)

    @abstractmethod
    def _arguments(self, folder: Path) -> list[str]:
        """Its command line; files that it needs are written to ``folder``."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it is ready."""

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise self.not_ready(f"{self.program} ended with status {self._process.returncode}")
            if self._answers():
                return
            time.sleep(_POLL_S)
        raise self.not_ready(f"{self.program} did not answer within {_READY_S:.0f} s")


def find_binary(name: str) -> Path | None:
    """A program in ``.tools/bin`` below the project, else on ``PATH``; None if there is none."""
    local = _PROJECT / ".tools" / "bin" / name
    if local.is_file():
        return local
    found = shutil.which(name)
    return Path(found) if found else None


def free_port() -> int:
    """A loopback port that was free a moment ago.

    Below the range from which the system takes the ports of outgoing connections (Linux: from 32768), of
    which one that runs at the same time could otherwise get it before the server that it is meant for.
    """
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def children_of(pid: int) -> set[int]:
    """Process ids of a process's direct children."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
