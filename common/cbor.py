"""Strict CBOR: what may be read in two ways, or costs more than its size, is refused before it is decoded.

``cbor2`` decodes; by default it keeps the last of two equal keys, ignores trailing bytes, and turns some
tags into Python objects (dates, regular expressions, shared references). Order here: size -> a scan of
the heads without recursion (length, shortest form, depth, tags, keys) -> ``cbor2`` with duplicate keys
refused -> plain values only.

Accepted: integers, byte and text strings, arrays, maps with integer or text keys, booleans, null, and the
tags given; arrays and maps of indefinite length where the caller says so. Refused: floating point,
undefined, other simple values, strings in chunks, lengths and integers that are not in their shortest
form, trailing bytes.

Not demanded: sorted keys (section 4.2.1), which the formats that are read with this do not ask for either.

Source: RFC 8949 sections 3, 4.1 and 5.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

import cbor2
import msgspec
from cbor2 import CBORTag

from common.errors import DuplicateKey, Malformed, TooLarge

if TYPE_CHECKING:
    from common.errors import TouchstoneError

_UINT, _NEGINT, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
# RFC 8949 section 3: additional information 24 to 27 says how many bytes of argument follow, and the
# smallest argument that needs them (section 4.1, preferred serialization).
_FOLLOWING: Final = {24: (1, 24), 25: (2, 1 << 8), 26: (4, 1 << 16), 27: (8, 1 << 32)}
_IMMEDIATE: Final = 24
_FALSE, _TRUE, _NULL = 20, 21, 22  # section 3.3
_MAJOR_SHIFT: Final = 5
_INFORMATION: Final = 0x1F
_INDEFINITE: Final = 31  # section 3.2
_BREAK: Final = 0xFF
_ENDLESS: Final = -1
_NO_TAGS: Final[frozenset[int]] = frozenset()


class Limits(msgspec.Struct, frozen=True):
    """What one document may cost.

    Attributes:
        max_bytes: of its encoding.
        max_items: data items in it, each key and value counted.
        max_depth: containers and tags that may be open at once, the document itself counted.
    """

    max_bytes: int
    max_items: int
    max_depth: int


# Evidence: verification checklist, common rules (64 KiB, depth 32).
EVIDENCE: Final = Limits(max_bytes=64 << 10, max_items=8192, max_depth=32)


def decode(
    data: bytes,
    *,
    what: str,
    tags: frozenset[int] = _NO_TAGS,
    limits: Limits = EVIDENCE,
    indefinite: bool = False,
    error: type[TouchstoneError] | None = None,
) -> Any:
    """The one value in ``data``; tags as ``CBORTag``, never as what cbor2 would make of them.

    Args:
        data: encoded.
        what: its name in messages.
        tags: tag numbers that may occur.
        limits: what it may cost.
        indefinite: arrays and maps may have an indefinite length.
        error: raised for whatever is wrong, in place of the three below.

    Raises:
        TooLarge: larger, longer or deeper than ``limits``.
        DuplicateKey: a map has a key twice.
        Malformed: anything else of the module's text.
    """
    if not data:
        raise (error or Malformed)(f"{what} is empty")
    if len(data) > limits.max_bytes:
        raise (error or TooLarge)(f"{what} is larger than {limits.max_bytes} bytes")
    _Scan(data, what, tags, limits, indefinite=indefinite, error=error).run()
    try:
        return cbor2.loads(
            data,
            semantic_decoders={tag: _keeper(tag) for tag in tags},
            max_depth=2 * limits.max_depth,
            allow_indefinite=indefinite,
            allow_duplicate_keys=False,
        )
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError) as failure:
        twice = "uplicate" in str(failure)
        cause = "a map has a key twice" if twice else "not CBOR"
        raise (error or (DuplicateKey if twice else Malformed))(
            f"{what} cannot be decoded: {cause}"
        ) from failure


def encode(value: object) -> bytes:
    """Deterministic encoding (RFC 8949 section 4.2.1) of plain values and ``CBORTag``."""
    return cbor2.dumps(value, canonical=True)


def _keeper(tag: int) -> Any:
    def keep(value: object, _immutable: bool) -> CBORTag:
        return CBORTag(tag, value)

    return keep


class _Scan:
    """Walks the heads of an encoding once, front to back, with an explicit stack."""

    def __init__(
        self,
        data: bytes,
        what: str,
        tags: frozenset[int],
        limits: Limits,
        *,
        indefinite: bool,
        error: type[TouchstoneError] | None,
    ) -> None:
        self._data = data
        self._what = what
        self._tags = tags
        self._limits = limits
        self._indefinite = indefinite
        self._error = error
        self._at = 0
        # Items still to come in each open array, map (counted twice) or tag, and whether it is a map. Of an
        # indefinite length: how many came, counted down from ``_ENDLESS``.
        self._open: list[tuple[int, bool]] = [(1, False)]

    def run(self) -> None:
        items = 0
        limits = self._limits
        while self._open:
            left, is_map = self._open.pop()
            if left == 0 or (left < 0 and self._ends(left, is_map=is_map)):
                continue
            self._open.append((left - 1, is_map))
            items += 1
            if items > limits.max_items or len(self._open) > limits.max_depth:
                self._refuse(
                    f"has more than {limits.max_items} items or is nested deeper than {limits.max_depth}",
                    TooLarge,
                )
            # Definite: an even number is left before a key. Endless: an odd number (from -1 downwards).
            self._item(is_key=is_map and left % 2 == (left < 0))
        if self._at != len(self._data):
            self._refuse("has bytes after its end")

    def _ends(self, left: int, *, is_map: bool) -> bool:
        """Whether the break of an indefinite length is next; it is read then."""
        if self._at >= len(self._data) or self._data[self._at] != _BREAK:
            return False
        if is_map and left % 2 == 0:
            self._refuse("has a map key without a value")
        self._at += 1
        return True

    def _item(self, *, is_key: bool) -> None:
        major, argument = self._head()
        if is_key and major not in (_UINT, _NEGINT, _TEXT):
            self._refuse("has a map key that is neither an integer nor text")
        if argument == _ENDLESS:
            self._open.append((_ENDLESS, major == _MAP))
        elif major in (_BYTES, _TEXT):
            self._skip(argument)
        elif major in (_ARRAY, _MAP):
            self._enter(argument if major == _ARRAY else 2 * argument, is_map=major == _MAP)
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
        if information == _INDEFINITE and self._indefinite and major in (_ARRAY, _MAP):
            return major, _ENDLESS
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

    def _refuse(self, text: str, otherwise: type[TouchstoneError] = Malformed) -> NoReturn:
        raise (self._error or otherwise)(f"{self._what} {text}")
