"""Request bodies and queries at the edge: bounded before they are read, decoded strictly, typed.

Order: content type, then the declared length against the route's limit, then reading (which stops at
the limit where no length was declared), then decoding. Unknown members are refused everywhere. On
administrative documents a member given twice is refused too; the guest routes decode straight into
structs, where no two readers of one document can differ, since nothing in it is signed as JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import msgspec

from common import strict_json
from common.errors import DuplicateKey, Malformed, TooLarge, UnknownField
from service.errors import MediaTypeUnsupported

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_JSON = "application/json"
_LENGTH_DIGITS = 12
_UNKNOWN_FIELD = "Object contains unknown field"
T = TypeVar("T")


def read_body(environ: Mapping[str, Any], limit: int) -> bytes:
    """The body of a JSON request, of at most ``limit`` bytes.

    The WSGI environment is read directly: werkzeug's stream costs more than decoding the evidence does,
    and ends without a word where a body without a declared length reaches its maximum.

    Raises:
        MediaTypeUnsupported: not ``application/json``.
        TooLarge: longer than ``limit``; at most one byte beyond it was read.
        Malformed: the client stopped before the end.
    """
    content_type = environ.get("CONTENT_TYPE", "")
    if content_type != _JSON and content_type.partition(";")[0].strip().lower() != _JSON:
        raise MediaTypeUnsupported(f"the body is not {_JSON}")
    return read_bytes(environ, limit)


def read_bytes(environ: Mapping[str, Any], limit: int) -> bytes:
    """The body of a request of any type, of at most ``limit`` bytes.

    Raises:
        TooLarge, Malformed: as ``read_body``.
    """
    declared = environ.get("CONTENT_LENGTH") or None
    if declared is None:
        # Only a server that ends the stream itself (chunked coding) may be read without a length.
        data = _read(environ["wsgi.input"], limit + 1) if environ.get("wsgi.input_terminated") else b""
        if len(data) > limit:
            raise TooLarge(f"the body is longer than {limit} bytes")
        return data
    if not declared.isascii() or not declared.isdigit():
        raise Malformed("Content-Length is not a number")
    if len(declared) > _LENGTH_DIGITS or int(declared) > limit:
        raise TooLarge(f"the body has {declared[:_LENGTH_DIGITS]} bytes, the limit is {limit}")
    data = _read(environ["wsgi.input"], int(declared))
    if len(data) != int(declared):
        raise Malformed("the body ended early")
    return data


def decode_fast(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """Decode into the decoder's struct in one pass.

    Raises:
        UnknownField: a member that the schema lacks.
        Malformed: not JSON, or not of the schema.
    """
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise _refusal(error, "the body") from error


def decode_strict(kind: type[T], data: bytes, limit: int) -> T:
    """Decode an administrative document: duplicate members and excess depth are refused too.

    Raises:
        DuplicateKey: a member is given twice.
        UnknownField: a member that the schema lacks.
        Malformed: not JSON, or not of the schema.
    """
    document = strict_json.loads(data, what="the body", max_bytes=limit)
    try:
        return msgspec.convert(document, kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _refusal(error, "the body") from error


def decode_query(kind: type[T], arguments: Iterable[tuple[str, str]]) -> T:
    """The query string as a struct; numbers and booleans are converted from text.

    Raises:
        DuplicateKey: a parameter is given twice.
        UnknownField: a parameter that the route lacks.
        Malformed: a value of the wrong type.
    """
    values: dict[str, str] = {}
    for name, value in arguments:
        if name in values:
            raise DuplicateKey("a query parameter is given twice")
        values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.MsgspecError as error:
        raise _refusal(error, "the query") from error


def _read(stream: BinaryIO, size: int) -> bytes:
    """Up to ``size`` bytes; fewer only at the end of the stream."""
    try:
        data = stream.read(size)
        while len(data) < size:
            more = stream.read(size - len(data))
            if not more:
                break
            data += more
    except OSError as error:
        raise Malformed("the body ended early") from error
    return data


def _refusal(error: Exception, what: str) -> Malformed | UnknownField:
    if isinstance(error, msgspec.ValidationError):
        if str(error).startswith(_UNKNOWN_FIELD):
            return UnknownField(f"{what}: {error}")
        return Malformed(f"{what}: {error}")
    return Malformed(f"{what} is not JSON")
