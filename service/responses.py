"""Every answer leaves through here: JSON bytes, the request id, and the security headers.

The headers are those of an API that no browser page should embed, cache or sniff (OWASP REST security).
The constant ones are added below Flask, so that no answer can miss them, and at next to no cost.

A ``Reply`` is an answer before any framework: Flask sends it for most routes, ``service.direct`` for the
few that guests call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from service import problems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from common.errors import TouchstoneError

JSON_TYPE = "application/json"
REQUEST_ID_HEADER = "X-Request-Id"
_SECURITY_HEADERS = [
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
]
_ENCODER = msgspec.json.Encoder()


class Reply(msgspec.Struct, frozen=True):
    """One answer.

    Attributes:
        status: HTTP status.
        headers: names and values, without the constant ones and the length.
        body: the bytes.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class SecurityHeaders:
    """WSGI middleware that adds the constant headers to every answer.

    Args:
        app: the application below.
    """

    def __init__(self, app: WSGIApplication) -> None:
        """Wrap ``app``."""
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""

        def start(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], object]:
            headers.extend(_SECURITY_HEADERS)
            return start_response(status, headers, exc_info)

        return self._app(environ, start)


def respond(
    body: bytes,
    *,
    status: int,
    request_id: str,
    content_type: str = JSON_TYPE,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """An answer with ready-made bytes."""
    every = [
        ("Content-Type", content_type),
        (REQUEST_ID_HEADER, request_id),
        ("Cache-Control", "no-store"),
    ]
    if headers:
        every = [pair for pair in every if pair[0] not in headers] + list(headers.items())
    return Reply(status, every, body)


def respond_json(
    document: object, *, status: int, request_id: str, headers: Mapping[str, str] | None = None
) -> Reply:
    """An answer whose body is ``document`` as JSON; None gives an empty body."""
    body = b"" if document is None else _ENCODER.encode(document)
    return respond(body, status=status, request_id=request_id, headers=headers)


def respond_problem(
    error: TouchstoneError, *, request_id: str, headers: Mapping[str, str] | None = None
) -> Reply:
    """The problem document of an error."""
    problem = problems.problem_of(error, request_id)
    return respond(
        problems.encode(problem),
        status=problem.status,
        request_id=request_id,
        content_type=problems.PROBLEM_TYPE,
        headers={**problems.headers_of(problem.status), **(headers or {})},
    )
