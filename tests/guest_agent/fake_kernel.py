"""A kernel's side of the TEE interfaces: configfs-tsm as files, ioctls as a function of all bytes."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

from guest_agent.attesters.configfs_tsm import TsmReports
from guest_agent.attesters.ioctl import Device

Make = Callable[[bytes], tuple[bytes, bytes]]


class Tsm(TsmReports):
    """A configfs-tsm whose provider answers when the generation is read after a write.

    ``make`` maps the inblob to outblob and auxblob.
    """

    def __init__(self, reports: Path, provider: str, make: Make, *, auxblob: bool = True) -> None:
        reports.mkdir(parents=True, exist_ok=True)
        self._name = provider
        self._make = make
        self._has_auxblob = auxblob
        self.inblobs: list[bytes] = []
        super().__init__(reports, make_folder=self._created, remove_folder=self._removed)

    def _created(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "provider").write_text(f"{self._name}\n")
        (folder / "generation").write_text("0\n")
        (folder / "inblob").touch()

    def _removed(self, folder: Path) -> None:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()

    def answer(self, folder: Path, inblob: bytes) -> None:
        """What the kernel does on a write to ``inblob``."""
        self.inblobs.append(inblob)
        outblob, auxblob = self._make(inblob)
        (folder / "outblob").write_bytes(outblob)
        if self._has_auxblob:
            (folder / "auxblob").write_bytes(auxblob)
        (folder / "generation").write_text("1\n")


def serve(monkeypatch, tsm: Tsm) -> Tsm:
    """Let writes to ``inblob`` reach ``tsm``: plain files do not act on them."""
    from guest_agent.attesters import configfs_tsm

    honest = configfs_tsm._write

    def write(path: Path, data: bytes) -> None:
        honest(path, data)
        tsm.answer(path.parent, data)

    monkeypatch.setattr(configfs_tsm, "_write", write)
    return tsm


def at(address: int, size: int) -> bytes:
    """The bytes that a struct's address leads to."""
    return ctypes.string_at(address, size)


def put(address: int, data: bytes) -> None:
    """Write there, as the kernel does."""
    ctypes.memmove(address, data, len(data))


def device(folder: Path, handler: Callable[[int, bytearray], int | None]) -> Device:
    """A character device whose ioctls ``handler`` answers: request and struct in, errno or None out."""
    path = folder / "device"
    path.touch()

    def ioctl(descriptor: int, request: int, argument: bytearray) -> int:
        os.fstat(descriptor)  # an open one
        failed = handler(request, argument)
        if failed:
            raise OSError(failed, os.strerror(failed))
        return 0

    return Device(path, ioctl)


BUSY = errno.EBUSY
IO = errno.EIO
