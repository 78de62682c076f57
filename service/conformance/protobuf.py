"""A reader of protobuf wire format, enough to take fields out of a message whose schema is known.

Source: protobuf.dev, "Encoding". Only varint and length-delimited fields are read; fixed-size and group
fields refuse the message.
"""

from __future__ import annotations

from typing import Final

from common.errors import Malformed

_VARINT: Final = 0
_LENGTH_DELIMITED: Final = 2
_WIRE_TYPE_BITS: Final = 3
_CONTINUE: Final = 0x80
_PAYLOAD: Final = 0x7F
_PAYLOAD_BITS: Final = 7
_MAX_VARINT_BYTES: Final = 10

Fields = dict[int, list[int | bytes]]


def fields_of(message: bytes) -> Fields:
    """Field number to its values, in order.

    Raises:
        Malformed: cut short, or a wire type that is not read.
    """
    result: Fields = {}
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire_type = key >> _WIRE_TYPE_BITS, key & ((1 << _WIRE_TYPE_BITS) - 1)
        if wire_type == _VARINT:
            value, position = _varint(message, position)
            result.setdefault(number, []).append(value)
        elif wire_type == _LENGTH_DELIMITED:
            size, position = _varint(message, position)
            if size > len(message) - position:
                raise Malformed("protobuf: a field is longer than the message")
            result.setdefault(number, []).append(message[position : position + size])
            position += size
        else:
            raise Malformed(f"protobuf: wire type {wire_type} is not read")
    return result


def bytes_of(fields: Fields, number: int) -> list[bytes]:
    """Every length-delimited value of a field."""
    return [value for value in fields.get(number, []) if isinstance(value, bytes)]


def int_of(fields: Fields, number: int) -> int:
    """The last varint of a field; 0 where it is absent (proto3's default)."""
    values = [value for value in fields.get(number, []) if isinstance(value, int)]
    return values[-1] if values else 0


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for count in range(_MAX_VARINT_BYTES):
        if position + count >= len(data):
            break
        byte = data[position + count]
        value |= (byte & _PAYLOAD) << (_PAYLOAD_BITS * count)
        if not byte & _CONTINUE:
            return value, position + count + 1
    raise Malformed("protobuf: a number is cut short or too long")
