"""A reader for the three DER types in AMD certificate extensions: exactly one encoding of each value.

Source: ITU-T X.690 sections 8.1.3 (length), 8.3 (INTEGER) and 10.1 (DER: minimal length). A value is the
whole extension: bytes after it are refused.
"""

from __future__ import annotations

from typing import Final

from common.errors import Malformed

_INTEGER: Final = 0x02
_OCTET_STRING: Final = 0x04
_IA5_STRING: Final = 0x16
_LONG_FORM: Final = 0x80
_HEADER: Final = 2  # tag and one length byte
_SIGN_BIT: Final = 0x80


def integer(data: bytes, what: str) -> int:
    """A non-negative INTEGER (``02 01 73``, ``02 02 00 d9``).

    Raises:
        Malformed: another tag, a negative number, a superfluous leading zero, trailing bytes.
    """
    content = _content(data, _INTEGER, what)
    if not content:
        raise Malformed(f"{what} is an INTEGER without content")
    if content[0] & _SIGN_BIT:
        raise Malformed(f"{what} is negative")
    if len(content) > 1 and content[0] == 0 and not content[1] & _SIGN_BIT:
        raise Malformed(f"{what} is not minimal DER")
    return int.from_bytes(content, "big")


def ia5_string(data: bytes, what: str) -> str:
    """An IA5String of printable ASCII.

    Raises:
        Malformed: another tag, an empty string, control or non-ASCII characters, trailing bytes.
    """
    content = _content(data, _IA5_STRING, what)
    if not content.isascii() or not (text := content.decode("ascii")).isprintable() or not text:
        raise Malformed(f"{what} is not printable ASCII")
    return text


def octet_string(data: bytes, what: str) -> bytes:
    """An OCTET STRING.

    Raises:
        Malformed: another tag, a length that is not the rest, trailing bytes.
    """
    return _content(data, _OCTET_STRING, what)


def _content(data: bytes, tag: int, what: str) -> bytes:
    # No value here is longer than 127 bytes (HWID: 64), so that only the short form can be minimal.
    if len(data) < _HEADER or data[0] != tag or data[1] & _LONG_FORM:
        raise Malformed(f"{what} is not a short DER value with tag {tag:#04x}")
    if len(data) != _HEADER + data[1]:
        raise Malformed(f"{what} has {len(data) - _HEADER} content bytes, its length says {data[1]}")
    return data[_HEADER:]
