"""A reader of the CBOR that our own platform gives: definite lengths, integers, strings, lists, maps, tags.

Tags are left out, their content is the value. Not for documents of others: the verifier has a full reader.

Source: RFC 8949 section 3.
"""

from __future__ import annotations

from typing import Any, Final

from common.binary import Reader
from common.errors import InputError, Malformed
from guest_agent.errors import EvidenceNotMade

_MAX_DEPTH: Final = 16
_SHORT: Final = 24  # a count up to 23 stands in the initial byte
_LONGEST: Final = 27  # 24 to 27: it follows in 1, 2, 4 or 8 bytes
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG = range(7)
_SIMPLE: Final = {20: False, 21: True, 22: None}


def loads(data: object) -> Any:
    """The value.

    Raises:
        EvidenceNotMade: not bytes of such a value and nothing else.
    """
    if not isinstance(data, bytes):
        raise EvidenceNotMade("the token has no CBOR where it should")
    reader = Reader(data, "CBOR", "big")
    try:
        value = _value(reader, _MAX_DEPTH)
        reader.finish()
    except (InputError, UnicodeDecodeError, TypeError) as error:
        raise EvidenceNotMade("the token is not CBOR that can be read here") from error
    return value


def _value(reader: Reader, left: int) -> Any:
    if left == 0:
        raise Malformed("CBOR: nested too deeply")
    initial = reader.u8("initial byte")
    kind, count = initial >> 5, _count(reader, initial & 0x1F)
    if kind in {_UNSIGNED, _NEGATIVE}:
        return count if kind == _UNSIGNED else -1 - count
    if kind in {_BYTES, _TEXT}:
        data = reader.take(count, "string")
        return data if kind == _BYTES else data.decode("utf-8")
    if kind in {_LIST, _MAP} and count > reader.remaining:
        raise Malformed("CBOR: more items than bytes")
    if kind == _LIST:
        return [_value(reader, left - 1) for _ in range(count)]
    if kind == _MAP:
        return dict((_value(reader, left - 1), _value(reader, left - 1)) for _ in range(count))  # noqa: C402
    if kind == _TAG:
        return _value(reader, left - 1)
    if count not in _SIMPLE:
        raise Malformed("CBOR: a simple value or float")
    return _SIMPLE[count]


def _count(reader: Reader, short: int) -> int:
    if short < _SHORT:
        return short
    if short > _LONGEST:
        raise Malformed("CBOR: an indefinite length")
    return int.from_bytes(reader.take(1 << (short - _SHORT), "count"), "big")
