"""A bounds-checked reader over bytes: it rejects, it never pads and never returns short.

Python slices shorten silently; every parser of hostile bytes here reads through ``Reader`` or
checks its length itself before a fixed ``struct`` unpack.
"""

from __future__ import annotations

from typing import Literal

from common.errors import Malformed


class Reader:
    """Sequential reader with one byte order.

    Args:
        data: the bytes.
        what: name of the structure, for messages.
        order: byte order of integers (``big`` for TPM, ``little`` for AMD, Intel and TCG logs).
    """

    __slots__ = ("_data", "_order", "_position", "_what")

    def __init__(self, data: bytes, what: str, order: Literal["big", "little"]) -> None:
        """Start at offset 0."""
        self._data = data
        self._what = what
        self._order: Literal["big", "little"] = order
        self._position = 0

    @property
    def position(self) -> int:
        """Offset of the next byte."""
        return self._position

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._position

    def take(self, count: int, field: str) -> bytes:
        """The next ``count`` bytes.

        Raises:
            Malformed: fewer remain.
        """
        if count < 0 or count > self.remaining:
            raise Malformed(
                f"{self._what}: {field} wants {count} bytes at offset {self._position}, "
                f"{self.remaining} remain"
            )
        start = self._position
        self._position += count
        return self._data[start : self._position]

    def u8(self, field: str) -> int:
        """One unsigned byte."""
        return self.take(1, field)[0]

    def u16(self, field: str) -> int:
        """An unsigned 16-bit integer."""
        return int.from_bytes(self.take(2, field), self._order)

    def u32(self, field: str) -> int:
        """An unsigned 32-bit integer."""
        return int.from_bytes(self.take(4, field), self._order)

    def u64(self, field: str) -> int:
        """An unsigned 64-bit integer."""
        return int.from_bytes(self.take(8, field), self._order)

    def sized16(self, field: str, *, limit: int = 0xFFFF) -> bytes:
        """A 16-bit length, then as many bytes (TPM2B_*).

        Raises:
            Malformed: longer than ``limit`` or than what remains.
        """
        size = self.u16(f"{field} size")
        if size > limit:
            raise Malformed(f"{self._what}: {field} has {size} bytes, the limit is {limit}")
        return self.take(size, field)

    def finish(self) -> None:
        """Demand that every byte was read.

        Raises:
            Malformed: bytes remain.
        """
        if self.remaining:
            raise Malformed(f"{self._what}: {self.remaining} bytes after the end")
