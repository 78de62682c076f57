"""Calls to character devices: request numbers of Linux, structs with addresses, one seam for tests.

A struct that holds addresses is packed by hand; what they point to lives in ``Buffer`` objects, which
must outlive the call. ``Ioctl`` is ``fcntl.ioctl``: a test gives another one, sees the number and every
byte, and answers by writing to the same addresses.

Source: Linux, include/uapi/asm-generic/ioctl.h.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from typing import TYPE_CHECKING, Any, Final, Protocol

from guest_agent.errors import EvidenceNotMade, TeeUnavailable

if TYPE_CHECKING:
    from pathlib import Path

_NR_BITS: Final = 8
_SIZE_SHIFT: Final = 16
_DIRECTION_SHIFT: Final = 30
_WRITE: Final = 1
_READ: Final = 2


class Ioctl(Protocol):
    """``fcntl.ioctl`` on a buffer that the kernel may change."""

    def __call__(self, descriptor: int, request: int, argument: bytearray, /) -> Any:
        """Make the call.

        Raises:
            OSError: it failed.
        """


def iowr(kind: str, number: int, size: int) -> int:
    """``_IOWR(kind, number, size)``."""
    return _request(_READ | _WRITE, kind, number, size)


def ior(kind: str, number: int, size: int) -> int:
    """``_IOR(kind, number, size)``."""
    return _request(_READ, kind, number, size)


class Buffer:
    """Bytes at a fixed address, for the kernel to read and write."""

    __slots__ = ("_array",)

    def __init__(self, data: bytes, size: int | None = None) -> None:
        """Copy ``data``, followed by zeros up to ``size``."""
        size = len(data) if size is None else size
        self._array = (ctypes.c_ubyte * size).from_buffer_copy(data.ljust(size, b"\0"))

    @property
    def address(self) -> int:
        """Where the bytes are, while this object lives."""
        return ctypes.addressof(self._array)

    @property
    def data(self) -> bytes:
        """The bytes as they are now."""
        return bytes(self._array)


class Device:
    """A character device.

    Args:
        path: the device.
        ioctl: how it is called.
    """

    def __init__(self, path: Path, ioctl: Ioctl = fcntl.ioctl) -> None:
        """Keep both; nothing is opened yet."""
        self.path = path
        self._ioctl = ioctl

    def call(self, request: int, argument: bytearray, *, failure: str) -> None:
        """Open the device, call it once, close it; ``argument`` holds what the kernel wrote.

        Args:
            request: number of the call.
            argument: the struct.
            failure: what could not be done, for the message.

        Raises:
            TeeUnavailable: the device cannot be opened.
            EvidenceNotMade: the call failed; its errno is the cause's.
        """
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise TeeUnavailable(f"cannot open {self.path} ({error.strerror})") from error
        try:
            self._ioctl(descriptor, request, argument)
        except OSError as error:
            raise EvidenceNotMade(f"cannot {failure}: {self.path} ({error.strerror})") from error
        finally:
            os.close(descriptor)


def _request(direction: int, kind: str, number: int, size: int) -> int:
    return direction << _DIRECTION_SHIFT | size << _SIZE_SHIFT | ord(kind) << _NR_BITS | number
