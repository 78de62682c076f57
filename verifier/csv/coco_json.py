"""Hygon's structures as JSON of csv-rs spells them (serde), put back into the bytes they were.

A structure is an object with exactly the members of its layout, in any order; an integer is a number in
range; a byte string is a list of as many numbers of 0 to 255. The bytes are the only result: nothing is
interpreted here.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from common.errors import Malformed


class Octets(NamedTuple):
    """A list of ``size`` numbers, one a byte."""

    size: int


class Number(NamedTuple):
    """One number of ``size`` bytes, little endian."""

    size: int


class Pair(NamedTuple):
    """A list of two objects of the same layout."""

    layout: tuple[tuple[str, Any], ...]


_U8, _U16, _U32 = Number(1), Number(2), Number(4)
_SIGNATURE: Final = (("r", Octets(72)), ("s", Octets(72)))
_KEY: Final = (("g", _U32), ("x", Octets(72)), ("y", Octets(72)))
_SLOT: Final = (("usage", _U32), ("algo", _U32), ("signature", _SIGNATURE), ("_reserved", Octets(368)))

CSV_CERTIFICATE: Final = (
    (
        "body",
        (
            ("ver", _U32),
            (
                "data",
                (
                    ("firmware", (("major", _U8), ("minor", _U8))),
                    ("reserved1", _U16),
                    ("pubkey", (("usage", _U32), ("algo", _U32), ("key", _KEY))),
                    ("uid_size", _U16),
                    ("user_id", Octets(254)),
                    ("sid", Octets(16)),
                    ("reserved2", Octets(608)),
                ),
            ),
        ),
    ),
    ("sigs", Pair(_SLOT)),
)
CA_CERTIFICATE: Final = (
    (
        "body",
        (
            (
                "preamble",
                (
                    ("ver", _U32),
                    (
                        "data",
                        (
                            ("kid", Octets(16)),
                            ("sid", Octets(16)),
                            ("usage", _U32),
                            ("reserved", Octets(24)),
                        ),
                    ),
                ),
            ),
            ("pubkey", _KEY),
            ("uid_size", _U16),
            ("user_id", Octets(254)),
            ("reserved", Octets(108)),
        ),
    ),
    ("signature", _SIGNATURE),
    ("_reserved", Octets(112)),
)


def to_bytes(value: object, layout: Any, what: str) -> bytes:
    """The bytes of a structure.

    Args:
        value: JSON.
        layout: ``CSV_CERTIFICATE``, ``CA_CERTIFICATE``, or one of the parts that they are made of.
        what: path of ``value``, for messages.

    Raises:
        Malformed: ``value`` is not of the layout.
    """
    if isinstance(layout, Octets):
        return octets(value, layout.size, what)
    if isinstance(layout, Number):
        return _number(value, layout.size, what)
    if isinstance(layout, Pair):
        if not isinstance(value, list) or len(value) != 2:  # noqa: PLR2004
            raise Malformed(f"{what} is not a list of two")
        return b"".join(to_bytes(item, layout.layout, what) for item in value)
    if not isinstance(value, dict) or value.keys() != {name for name, _ in layout}:
        raise Malformed(f"{what} has not the members that its structure has")
    return b"".join(to_bytes(value[name], part, f"{what}.{name}") for name, part in layout)


def octets(value: object, size: int, what: str) -> bytes:
    """The bytes of a list of ``size`` numbers.

    Raises:
        Malformed: not a list, of another length, or with something that is no byte.
    """
    if not isinstance(value, list) or len(value) != size:
        raise Malformed(f"{what} is not a list of {size} bytes")
    if not all(type(item) is int and 0 <= item <= 0xFF for item in value):  # noqa: PLR2004
        raise Malformed(f"{what} has a member that is not a byte")
    return bytes(value)


def _number(value: object, size: int, what: str) -> bytes:
    if type(value) is not int or not 0 <= value < 1 << 8 * size:
        raise Malformed(f"{what} is not a number of {size} bytes")
    return value.to_bytes(size, "little")
