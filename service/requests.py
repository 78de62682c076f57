"""Request bodies and queries at the edge: bounded before they are read, decoded strictly, typed.

Order: content type, then the declared length against the route's limit, then reading (which stops at
the limit where no length was declared), then decoding. Unknown members are refused everywhere. On
administrative documents a member given twice is refused too; the guest routes decode straight into
structs, where no two readers of one document can differ, since nothing in it is signed as JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from common import strict_json
from common.errors import DuplicateKey, Malformed, TooLarge, UnknownField
from service.errors import MediaTypeUnsupported

if TYPE_CHECKING:
    from flask import Request
    from werkzeug.datastructures import MultiDict

_JSON = "application/json"
_UNKNOWN_FIELD = "Object contains unknown field"
T = TypeVar("T")


def read_body(request: Request, limit: int) -> bytes:
    """The body of a JSON request, of at most ``limit`` bytes.

    Raises:
        MediaTypeUnsupported: not ``application/json``.
        TooLarge: longer than ``limit``; nothing beyond it was read.
        Malformed: the client stopped before the end.
    """
    if request.mimetype != _JSON:
        raise MediaTypeUnsupported(f"the body is not {_JSON}")
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge(f"the body has {request.content_length} bytes, the limit is {limit}")
    request.max_content_length = limit
    try:
        return request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise TooLarge(f"the body is longer than {limit} bytes") from error
    except ClientDisconnected as error:
        raise Malformed("the body ended early") from error


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


def decode_query(kind: type[T], arguments: MultiDict[str, str]) -> T:
    """The query string as a struct; numbers and booleans are converted from text.

    Raises:
        DuplicateKey: a parameter is given twice.
        UnknownField: a parameter that the route lacks.
        Malformed: a value of the wrong type.
    """
    values: dict[str, str] = {}
    for name, value in arguments.items(multi=True):
        if name in values:
            raise DuplicateKey("a query parameter is given twice")
        values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.MsgspecError as error:
        raise _refusal(error, "the query") from error


def _refusal(error: Exception, what: str) -> Malformed | UnknownField:
    if isinstance(error, msgspec.ValidationError):
        if str(error).startswith(_UNKNOWN_FIELD):
            return UnknownField(f"{what}: {error}")
        return Malformed(f"{what}: {error}")
    return Malformed(f"{what} is not JSON")
