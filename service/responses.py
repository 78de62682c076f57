"""Every answer leaves through here: JSON bytes, the request id, and the security headers.

The headers are those of an API that no browser page should embed, cache or sniff (OWASP REST security).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from flask import Response

from service import problems

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.errors import TouchstoneError

JSON_TYPE = "application/json"
REQUEST_ID_HEADER = "X-Request-Id"
_SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_ENCODER = msgspec.json.Encoder()


def respond(
    body: bytes,
    *,
    status: int,
    request_id: str,
    content_type: str = JSON_TYPE,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer with ready-made bytes."""
    every = {REQUEST_ID_HEADER: request_id, **_SECURITY_HEADERS, **(headers or {})}
    return Response(body, status=status, headers=every, content_type=content_type)


def respond_json(
    document: object, *, status: int, request_id: str, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer whose body is ``document`` as JSON; None gives an empty body."""
    body = b"" if document is None else _ENCODER.encode(document)
    return respond(body, status=status, request_id=request_id, headers=headers)


def respond_problem(
    error: TouchstoneError, *, request_id: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The problem document of an error."""
    problem = problems.problem_of(error, request_id)
    return respond(
        problems.encode(problem),
        status=problem.status,
        request_id=request_id,
        content_type=problems.PROBLEM_TYPE,
        headers={**problems.headers_of(problem.status), **(headers or {})},
    )
