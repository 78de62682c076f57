"""Connections of callers who are slow, and of those who are answered before they have said everything."""

from __future__ import annotations

import socket
import time
from io import RawIOBase
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_LINGER_S: Final = 1.0
_LINGER_BYTES: Final = 1 << 20
_CHUNK: Final = 64 << 10


class TooSlow(OSError):
    """The request did not come in time."""


class DeadlineReader(RawIOBase):
    """Reads a socket until a deadline, however slowly the bytes come.

    Args:
        connection: the socket.
        seconds: from now.
    """

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read what is there.

        Raises:
            TooSlow: the deadline has passed.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TooSlow
        self._connection.settimeout(left)
        try:
            return self._connection.recv_into(buffer)
        except TimeoutError as error:
            raise TooSlow from error


def linger(connection: socket.socket) -> None:
    """Read on for a moment what was not read, so that closing does not take the answer back."""
    deadline = time.monotonic() + _LINGER_S
    left = _LINGER_BYTES
    connection.shutdown(socket.SHUT_WR)
    while left > 0 and (seconds := deadline - time.monotonic()) > 0:
        connection.settimeout(seconds)
        data = connection.recv(min(left, _CHUNK))
        if not data:
            return
        left -= len(data)
