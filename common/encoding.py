"""Strict text encodings: base64url and hex that accept exactly one spelling of each value.

Sources: RFC 4648 sections 4, 5 and 8; RFC 7515 section 2 (base64url without padding).
"""

from __future__ import annotations

import base64
import binascii
import re

from common.errors import InvalidIdentifier, Malformed

# "-" and "_" to what the standard alphabet has; its "+", "/" and the padding to what it has not.
_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/***")
_HEX = re.compile(r"(?:[0-9a-f]{2})*\Z")
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")
_RESOURCE_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}\Z")
_RESOURCE_SEGMENTS = 3


def b64url_encode(data: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64url_decode(text: str, *, what: str = "value") -> bytes:
    """Decode unpadded base64url.

    Raises:
        Malformed: a character outside the alphabet, padding, or non-zero trailing bits (a second
            spelling of the same bytes).
    """
    # Strict decoding of the standard alphabet; the translation leaves no second spelling of a character.
    try:
        standard = text.encode("ascii").translate(_TO_STANDARD)
        data = binascii.a2b_base64(standard + b"=" * (-len(standard) % 4), strict_mode=True)
    except ValueError as error:  # binascii.Error and UnicodeEncodeError are of it
        raise Malformed(f"{what} is not unpadded base64url") from error
    # Only the last, incomplete group can have bits that the bytes do not hold.
    tail = len(standard) % 4
    if tail and binascii.b2a_base64(data[-(tail - 1) :], newline=False)[:tail] != standard[-tail:]:
        raise Malformed(f"{what} is not canonical base64url")
    return data


def b64_decode(text: str, *, what: str = "value") -> bytes:
    """Decode padded standard base64 (RFC 4648 section 4), canonical spelling only.

    Raises:
        Malformed: anything else.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"{what} is not base64") from error
    if base64.b64encode(data).decode("ascii") != text:
        raise Malformed(f"{what} is not canonical base64")
    return data


def b64_encode(data: bytes) -> str:
    """Padded standard base64."""
    return base64.b64encode(data).decode("ascii")


def hex_decode(text: str, *, what: str = "value", length: int | None = None) -> bytes:
    """Decode lower-case hex of an optional exact ``length`` in bytes.

    Raises:
        Malformed: upper case, odd length, other characters, or the wrong length.
    """
    if not _HEX.match(text):
        raise Malformed(f"{what} is not lower-case hex")
    data = bytes.fromhex(text)
    if length is not None and len(data) != length:
        raise Malformed(f"{what} has {len(data)} bytes, not {length}")
    return data


def identifier(text: str, *, what: str = "identifier") -> str:
    r"""Return ``text`` if it is ``[A-Za-z0-9][A-Za-z0-9_.-]{0,127}`` and nothing else.

    ``\Z`` is used, not ``$``, which would accept a trailing newline.

    Raises:
        InvalidIdentifier: otherwise.
    """
    if not _IDENTIFIER.match(text) or ".." in text:
        raise InvalidIdentifier(f"{what} is not an identifier")
    return text


def resource_path(text: str) -> str:
    """Return ``text`` if it is ``repository/type/tag``, as CoCo's resource plugin spells it.

    Three segments of ``[A-Za-z0-9_-][A-Za-z0-9_.-]*``, ASCII only. Stricter than CoCo: a segment has at
    most 128 characters and no ``..``.

    Raises:
        InvalidIdentifier: otherwise; nothing is decoded or normalised first.
    """
    segments = text.split("/")
    if len(segments) != _RESOURCE_SEGMENTS or ".." in text:
        raise InvalidIdentifier("a resource id is repository/type/tag")
    if not all(_RESOURCE_SEGMENT.match(segment) for segment in segments):
        raise InvalidIdentifier("a segment of the resource id is not an identifier")
    return text
