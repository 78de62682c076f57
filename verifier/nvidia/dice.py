"""The firmware identities (FWID) that a leaf's extension states, from strict DER.

Hopper and LS10 have 2.23.133.5.4.1 with a CompositeDeviceID::

    SEQUENCE { version INTEGER, SubjectPublicKeyInfo, SEQUENCE { hash OID, OCTET STRING } }

Blackwell has 2.23.133.5.4.1.1 with a DiceTcbInfo, whose element [6] is a list of such FWIDs.

Sources: TCG DICE Attestation Architecture 1.1 section 6.1.1; Microsoft RIoT CompositeDeviceID; X.690.
"""

from __future__ import annotations

from typing import Final

from common.errors import Malformed

COMPOSITE_OID: Final = "2.23.133.5.4.1"
TCB_INFO_OID: Final = "2.23.133.5.4.1.1"
_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_OID: Final = 0x06
_OCTET_STRING: Final = 0x04
_FWIDS: Final = 0xA6  # [6], constructed
_SHA384: Final = bytes.fromhex("608648016503040202")
_SHA384_BYTES: Final = 48
_LONG_FORM: Final = 0x80
_MAX_LENGTH_BYTES: Final = 2
_MAX_ELEMENTS: Final = 32
_COMPOSITE_ELEMENTS: Final = 3

Element = tuple[int, bytes]


def fwids(oid: str, extension: bytes) -> tuple[bytes, ...]:
    """The SHA-384 FWIDs that an extension states; values of zeros state nothing and are left out.

    Args:
        oid: ``COMPOSITE_OID`` or ``TCB_INFO_OID``: which form it is.
        extension: its value.

    Raises:
        Malformed: not of that form.
    """
    elements = _children(_only(extension, _SEQUENCE))
    if oid == COMPOSITE_OID:
        tags = [tag for tag, _ in elements]
        if len(elements) != _COMPOSITE_ELEMENTS or tags != [_INTEGER, _SEQUENCE, _SEQUENCE]:
            raise Malformed("the leaf's device identity is not of the published form")
        found = [_fwid(elements[2][1])]
    else:
        lists = [content for tag, content in elements if tag == _FWIDS]
        if len(lists) != 1:
            raise Malformed("the leaf's TCB info does not have one list of firmware identities")
        items = _children(lists[0])
        if any(tag != _SEQUENCE for tag, _ in items):
            raise Malformed("the leaf's list of firmware identities has something else in it")
        found = [_fwid(content) for _, content in items]
    return tuple(value for value in found if any(value))


def _fwid(content: bytes) -> bytes:
    elements = _children(content)
    if [tag for tag, _ in elements] != [_OID, _OCTET_STRING]:
        raise Malformed("a firmware identity is not an algorithm and a digest")
    (_, algorithm), (_, digest) = elements
    if algorithm != _SHA384 or len(digest) != _SHA384_BYTES:
        raise Malformed("a firmware identity is not a SHA-384 digest")
    return digest


def _only(data: bytes, tag: int) -> bytes:
    elements = _children(data)
    if len(elements) != 1 or elements[0][0] != tag:
        raise Malformed("the leaf's extension is not one DER value of its form")
    return elements[0][1]


def _children(data: bytes) -> list[Element]:
    """Tag and content of each element that the bytes consist of."""
    found: list[Element] = []
    at = 0
    while at < len(data):
        if len(found) == _MAX_ELEMENTS:
            raise Malformed("the leaf's extension has too many elements")
        tag, start, end = _header(data, at)
        found.append((tag, data[start:end]))
        at = end
    return found


def _header(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag of the element at an offset, and where its content starts and ends."""
    if at + 2 > len(data):
        raise Malformed("the leaf's extension ends within an element")
    tag, length, start = data[at], data[at + 1], at + 2
    if length >= _LONG_FORM:
        count = length - _LONG_FORM
        if not 1 <= count <= _MAX_LENGTH_BYTES or start + count > len(data):
            raise Malformed("the leaf's extension has a length that is not DER, or too long")
        length = int.from_bytes(data[start : start + count], "big")
        if length < _LONG_FORM or (count == _MAX_LENGTH_BYTES and length <= 0xFF):  # noqa: PLR2004 (minimal)
            raise Malformed("the leaf's extension has a length that is not minimal DER")
        start += count
    if start + length > len(data):
        raise Malformed("the leaf's extension ends within an element")
    return tag, start, start + length
