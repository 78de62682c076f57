"""Strict CBOR: what may be read in two ways, or costs more than its size, is refused before it is decoded.

``cbor2`` decodes; by default it keeps the last of two equal keys, ignores trailing bytes, and turns some
tags into Python objects (dates, regular expressions, shared references). Order here: size -> a scan of
the heads without recursion (length, shortest form, depth, tags, keys) -> ``cbor2`` with duplicate keys and
indefinite lengths refused -> plain values only.

Accepted: integers, byte and text strings, arrays, maps with integer or text keys, booleans, null, and the
tags given. Refused: floating point, undefined, other simple values, indefinite lengths, lengths and
integers that are not in their shortest form, trailing bytes.

Not demanded: sorted keys (section 4.2.1), which the draft does not ask for either.

Source: RFC 8949 sections 3, 4.1 and 5.3.
"""

from __future__ import annotations

from typing import Any, Final

import cbor2
from cbor2 import CBORTag

from provenance.errors import ManifestMalformed

MAX_BYTES: Final = 4 << 20
MAX_ITEMS: Final = 200_000
MAX_DEPTH: Final = 24
_UINT, _NEGINT, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
# RFC 8949 section 3: additional information 24 to 27 says how many bytes of argument follow, and the
# smallest argument that needs them (section 4.1, preferred serialization).
_FOLLOWING: Final = {24: (1, 24), 25: (2, 1 << 8), 26: (4, 1 << 16), 27: (8, 1 << 32)}
_IMMEDIATE: Final = 24
_FALSE, _TRUE, _NULL = 20, 21, 22  # section 3.3
_MAJOR_SHIFT: Final = 5
_INFORMATION: Final = 0x1F


def decode(data: bytes, *, what: str, tags: frozenset[int]) -> Any:
    """The one value in ``data``; tags as ``CBORTag``, never as what cbor2 would make of them.

    Args:
        data: encoded.
        what: its name in messages.
        tags: tag numbers that may occur.

    Raises:
        ManifestMalformed: see the module's text.
    """
    if not 0 < len(data) <= MAX_BYTES:
        raise ManifestMalformed(f"{what} is empty or larger than {MAX_BYTES} bytes")
    _Scan(data, what, tags).run()
    try:
        return cbor2.loads(
            data,
            semantic_decoders={tag: _keeper(tag) for tag in tags},
            max_depth=2 * MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        )
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError) as error:
        cause = "a map has a key twice" if "uplicate" in str(error) else "not CBOR"
        raise ManifestMalformed(f"{what} cannot be decoded: {cause}") from error


def encode(value: object) -> bytes:
    """Deterministic encoding (RFC 8949 section 4.2.1) of plain values and ``CBORTag``."""
    return cbor2.dumps(value, canonical=True)


def _keeper(tag: int) -> Any:
    def keep(value: object, _immutable: bool) -> CBORTag:
        return CBORTag(tag, value)

    return keep


class _Scan:
    """Walks the heads of an encoding once, front to back, with an explicit stack."""

    def __init__(self, data: bytes, what: str, tags: frozenset[int]) -> None:
        self._data = data
        self._what = what
        self._tags = tags
        self._at = 0
        # Items still to come in each open array, map (counted twice) or tag; for maps, of which kind.
        self._open: list[tuple[int, bool]] = [(1, False)]

    def run(self) -> None:
        items = 0
        while self._open:
            left, is_map = self._open.pop()
            if left == 0:
                continue
            self._open.append((left - 1, is_map))
            items += 1
            if items > MAX_ITEMS or len(self._open) > MAX_DEPTH:
                self._refuse(f"has more than {MAX_ITEMS} items or is nested deeper than {MAX_DEPTH}")
            self._item(is_key=is_map and left % 2 == 0)
        if self._at != len(self._data):
            self._refuse("has bytes after its end")

    def _item(self, *, is_key: bool) -> None:
        major, argument = self._head()
        if is_key and major not in (_UINT, _NEGINT, _TEXT):
            self._refuse("has a map key that is neither an integer nor text")
        if major in (_BYTES, _TEXT):
            self._skip(argument)
        elif major == _ARRAY:
            self._enter(argument, is_map=False)
        elif major == _MAP:
            self._enter(2 * argument, is_map=True)
        elif major == _TAG:
            if argument not in self._tags:
                self._refuse(f"has the tag {argument}, which has no place in it")
            self._enter(1, is_map=False)
        elif major == _SIMPLE and argument not in (_FALSE, _TRUE, _NULL):
            self._refuse("has a floating-point number or a simple value that is not false, true or null")

    def _head(self) -> tuple[int, int]:
        first = self._take(1)[0]
        major, information = first >> _MAJOR_SHIFT, first & _INFORMATION
        if information < _IMMEDIATE:
            return major, information
        if information not in _FOLLOWING or major == _SIMPLE:
            self._refuse(
                "has an indefinite length, a reserved head, or a simple value or number refused here"
            )
        width, least = _FOLLOWING[information]
        argument = int.from_bytes(self._take(width), "big")
        if argument < least:
            self._refuse("has a length or integer that is not in its shortest form")
        return major, argument

    def _take(self, count: int) -> bytes:
        start = self._at
        self._skip(count)
        return self._data[start : self._at]

    def _skip(self, count: int) -> None:
        if count > len(self._data) - self._at:
            self._refuse("ends in the middle of an item")
        self._at += count

    def _enter(self, count: int, *, is_map: bool) -> None:
        # An item takes a byte at least: a larger count cannot be true, and must not be counted down.
        if count > len(self._data) - self._at:
            self._refuse("ends in the middle of an item")
        self._open.append((count, is_map))

    def _refuse(self, text: str) -> None:
        raise ManifestMalformed(f"{self._what} {text}")
