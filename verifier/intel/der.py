"""A reader for the DER inside Intel's certificate extension: nested sequences and five simple types.

Source: ITU-T X.690 sections 8.1.3 (length), 8.2 (BOOLEAN), 8.3 (INTEGER), 8.19 (OBJECT IDENTIFIER), 10.1
and 11.1 (DER: minimal length, TRUE is FF). Values are whole: bytes after one are refused.
"""

from __future__ import annotations

from typing import Final

from common.errors import Malformed

SEQUENCE: Final = 0x30
BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
ENUMERATED: Final = 0x0A
_LONG_FORM: Final = 0x80
_MAX_LENGTH_BYTES: Final = 2
_CONTINUES: Final = 0x80
_HEADER: Final = 2  # tag and one length byte
_PAIR: Final = 2
_FIRST_ARC: Final = 40
_LAST_FIRST_ARC: Final = 2


def members(data: bytes, what: str) -> list[tuple[int, bytes]]:
    """Tag and content of each value in a SEQUENCE.

    Raises:
        Malformed: another tag, a length that does not fit, trailing bytes.
    """
    content = whole(data, SEQUENCE, what)
    found = []
    position = 0
    while position < len(content):
        tag, start, end = _value(content, position, what)
        found.append((tag, content[start:end]))
        position = end
    return found


def by_oid(data: bytes, what: str) -> dict[str, tuple[int, bytes]]:
    """A SEQUENCE of (OBJECT IDENTIFIER, value) pairs: dotted identifier to tag and content of the value.

    Raises:
        Malformed: another shape, or an identifier twice.
    """
    found: dict[str, tuple[int, bytes]] = {}
    for tag, content in members(data, what):
        if tag != SEQUENCE:
            raise Malformed(f"{what} holds something other than pairs")
        pair = members(_encoded(SEQUENCE, content), what)
        if len(pair) != _PAIR or pair[0][0] != OBJECT_IDENTIFIER:
            raise Malformed(f"{what} holds something other than pairs")
        oid = object_identifier(pair[0][1], what)
        if oid in found:
            raise Malformed(f"{what} has {oid} twice")
        found[oid] = pair[1]
    return found


def whole(data: bytes, tag: int, what: str) -> bytes:
    """The content of the one value that ``data`` is.

    Raises:
        Malformed: another tag, or a length that is not the rest.
    """
    found, start, end = _value(data, 0, what)
    if found != tag or end != len(data):
        raise Malformed(f"{what} is not one DER value with tag {tag:#04x}")
    return data[start:end]


def unsigned(value: tuple[int, bytes], tag: int, what: str) -> int:
    """A non-negative INTEGER or ENUMERATED.

    Raises:
        Malformed: another tag, a negative number, a superfluous leading zero.
    """
    found, content = value
    if found != tag or not content or content[0] & 0x80:
        raise Malformed(f"{what} is not a non-negative number")
    if len(content) > 1 and content[0] == 0 and not content[1] & 0x80:
        raise Malformed(f"{what} is not minimal DER")
    return int.from_bytes(content, "big")


def octets(value: tuple[int, bytes], size: int, what: str) -> bytes:
    """An OCTET STRING of ``size`` bytes.

    Raises:
        Malformed: another tag or length.
    """
    if value[0] != OCTET_STRING or len(value[1]) != size:
        raise Malformed(f"{what} is not an OCTET STRING of {size} bytes")
    return value[1]


def boolean(value: tuple[int, bytes], what: str) -> bool:
    """A BOOLEAN.

    Raises:
        Malformed: another tag, or a content that is neither 00 nor FF.
    """
    if value[0] != BOOLEAN or value[1] not in (b"\x00", b"\xff"):
        raise Malformed(f"{what} is not a BOOLEAN")
    return value[1] == b"\xff"


def object_identifier(content: bytes, what: str) -> str:
    """Dotted form of an OBJECT IDENTIFIER's content.

    Raises:
        Malformed: empty, unfinished, or not minimal.
    """
    arcs: list[int] = []
    number = 0
    fresh = True
    for byte in content:
        if fresh and byte == _CONTINUES:
            raise Malformed(f"{what} has an object identifier that is not minimal DER")
        number = number << 7 | byte & 0x7F
        fresh = not byte & _CONTINUES
        if fresh:
            arcs.append(number)
            number = 0
    if not arcs or not fresh:
        raise Malformed(f"{what} has an unfinished object identifier")
    first = min(arcs[0] // _FIRST_ARC, _LAST_FIRST_ARC)
    return ".".join(str(arc) for arc in (first, arcs[0] - first * _FIRST_ARC, *arcs[1:]))


def sequence(content: bytes) -> bytes:
    """A SEQUENCE with this content, for ``by_oid`` of a value inside another."""
    return _encoded(SEQUENCE, content)


def _encoded(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < _LONG_FORM:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG_FORM | len(length))) + length + content


def _value(data: bytes, position: int, what: str) -> tuple[int, int, int]:
    """Tag, start and end of the content of the value at ``position``."""
    if len(data) - position < _HEADER:
        raise Malformed(f"{what} ends inside a DER value")
    tag, length = data[position], data[position + 1]
    start = position + _HEADER
    if length & _LONG_FORM:
        count = length & ~_LONG_FORM
        encoded = data[start : start + count]
        if not 1 <= count <= _MAX_LENGTH_BYTES or len(encoded) != count:
            raise Malformed(f"{what} has a DER length that is not of one or two bytes")
        length = int.from_bytes(encoded, "big")
        if length < _LONG_FORM or encoded[0] == 0:
            raise Malformed(f"{what} has a DER length that is not minimal")
        start += count
    if length > len(data) - start:
        raise Malformed(f"{what} ends inside a DER value")
    return tag, start, start + length
