"""The two names of hardware in a subjectAltName, from their DER.

    HardwareModuleName ::= SEQUENCE { hwType OBJECT IDENTIFIER, hwSerialNum OCTET STRING }
    PermanentIdentifier ::= SEQUENCE {
        identifierValue UTF8String OPTIONAL, assigner OBJECT IDENTIFIER OPTIONAL }

Sources: RFC 4108 section 5; RFC 4043 section 2; X.690 sections 8.1.3, 8.19 and 10.1.
"""

from __future__ import annotations

from typing import Final

from common.errors import Malformed

_SEQUENCE: Final = 0x30
_IDENTIFIER: Final = 0x06
_OCTETS: Final = 0x04
_TEXT: Final = 0x0C
_LONG_FORM: Final = 0x80
_ONE_BYTE: Final = 0x81
_HEADER: Final = 2
_FIRST_ARCS: Final = 40
_LAST_ARC: Final = 2
_SEVEN_BITS: Final = 7


def hardware_module_name(data: bytes) -> tuple[str, str]:
    """Kind of module (dotted) and serial number (hex).

    Raises:
        Malformed: not exactly that structure.
    """
    content, rest = _value(data, _SEQUENCE)
    kind, tail = _value(content, _IDENTIFIER)
    serial, end = _value(tail, _OCTETS)
    if rest or end or not serial:
        raise Malformed("hardwareModuleName has more, or less, than a type and a serial number")
    return _dotted(kind), serial.hex()


def permanent_identifier(data: bytes) -> tuple[str, str]:
    """Assigner (dotted; empty: none) and identifier (hex of its text).

    Raises:
        Malformed: not that structure, or without an identifier.
    """
    content, rest = _value(data, _SEQUENCE)
    text, tail = _value(content, _TEXT)
    assigner, end = _value(tail, _IDENTIFIER) if tail else (b"", b"")
    if rest or end or not text:
        raise Malformed("permanentIdentifier has more, or less, than an identifier and who assigned it")
    return (_dotted(assigner) if assigner else ""), text.hex()


def _value(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Content of the first value, and what follows it. Lengths up to 255, in their minimal form."""
    if len(data) < _HEADER or data[0] != tag:
        raise Malformed(f"a hardware name lacks a value with tag {tag:#04x}")
    start, size = _HEADER, data[1]
    if size == _ONE_BYTE and len(data) > _HEADER and data[_HEADER] >= _LONG_FORM:
        start, size = _HEADER + 1, data[_HEADER]
    elif size >= _LONG_FORM:
        raise Malformed("a hardware name has a length that is not minimal DER, or over 255")
    if len(data) < start + size:
        raise Malformed("a hardware name is cut off")
    return data[start : start + size], data[start + size :]


def _dotted(data: bytes) -> str:
    arcs: list[int] = []
    value, fresh = 0, True
    for byte in data:
        if fresh and byte == _LONG_FORM:
            raise Malformed("an object identifier is not minimal DER")
        value, fresh = value << _SEVEN_BITS | byte & (_LONG_FORM - 1), not byte & _LONG_FORM
        if fresh:
            arcs.append(value)
            value = 0
    if not arcs or not fresh:
        raise Malformed("an object identifier is empty or cut off")
    first = min(arcs[0] // _FIRST_ARCS, _LAST_ARC)
    return ".".join(map(str, (first, arcs[0] - first * _FIRST_ARCS, *arcs[1:])))
