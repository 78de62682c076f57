"""Routes: declared once, served by Flask and described by OpenAPI from the same declaration.

A handler is a plain function ``(services, call) -> Answer``. Around it stands, in this order: the request
id, the caller's scope (before anything of the body is read), query, body, the handler, the answer.
Nothing is open that does not say so: a route without a scope needs ``open_to_all=True``.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import parse_qsl

import msgspec
from flask import Response, request

from common.errors import Malformed, TouchstoneError
from service import metrics, requests, responses, tls
from service.errors import InternalError
from service.observability import new_request_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from service.access import Scope
    from service.composition import Services
    from service.responses import Reply

_LOG = logging.getLogger("touchstone.http")
_EMPTY: Mapping[str, str] = {}
_MAX_PARAMETERS = 64
Limit = Literal["body_bytes", "attestation_bytes", "request_bytes"]


class Caller(Protocol):
    """Who was admitted: the holder of a token of ours, or of a key broker administrator's."""

    @property
    def name(self) -> str:
        """As records name it."""


class Admission(Protocol):
    """Admits callers to a route by other means than a scope alone."""

    def __call__(self, services: Services, authorization: str | None, now: datetime) -> Caller | None:
        """Who calls; None on a route that is open to all at present.

        Raises:
            AccessError: not admitted.
        """


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A route without query parameters."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as a handler sees it.

    Attributes:
        now: the instant of the whole operation.
        request_id: under which logs and answers name it.
        path: path parameters.
        query: the decoded query.
        body: the decoded body.
        principal: who calls, on routes with a scope or an admission.
    """

    now: datetime
    request_id: str
    path: Mapping[str, str]
    query: Any
    body: Any
    principal: Caller | None

    @property
    def caller(self) -> str:
        """How records name the caller of a route that has a scope."""
        return "anonymous" if self.principal is None else self.principal.name


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler gives back.

    Attributes:
        status: one that the route declares.
        document: JSON-encodable, or ready bytes; None for no body.
        headers: further headers.
        content_type: of ready bytes.
    """

    status: int
    document: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = responses.JSON_TYPE


@dataclass(frozen=True, slots=True)
class Route:
    """One operation.

    Attributes:
        method: HTTP method.
        path: Flask rule; every parameter is a string without a slash.
        operation: unique id (``attestations.submit``).
        summary: one line.
        handler: the function.
        scope: what the caller needs; None on an open route, and where ``admit`` decides.
        admit: who is admitted, where that is more than a scope.
        body: type of the JSON body; None for none.
        query: struct of the query.
        answers: success status to the type of its body (None: no body, ``bytes``: not JSON).
        problems: statuses of refusals, beyond those that every route has.
        limit: which of ``[limits]`` bounds the body; ``request_bytes`` is of ``[coco]``.
        fast: decode the body in one pass, without the search for duplicate members.
        content_type: of the success answer.
    """

    method: str
    path: str
    operation: str
    summary: str
    handler: Callable[[Services, Call], Answer]
    scope: Scope | None
    answers: Mapping[int, Any]
    body: Any = None
    query: type[msgspec.Struct] = NoQuery
    problems: tuple[int, ...] = ()
    limit: Limit = "body_bytes"
    fast: bool = False
    content_type: str = responses.JSON_TYPE
    admit: Admission | None = None


class RouteTable:
    """Collects the routes of one part of the API.

    Args:
        name: the part (``attestations``); the OpenAPI tag.
    """

    def __init__(self, name: str) -> None:
        """Start empty."""
        self.name = name
        self.routes: list[Route] = []

    def add(
        self,
        method: str,
        path: str,
        *,
        answers: Mapping[int, Any],
        scope: Scope | None = None,
        open_to_all: bool = False,
        body: Any = None,
        query: type[msgspec.Struct] = NoQuery,
        problems: tuple[int, ...] = (),
        limit: Limit = "body_bytes",
        fast: bool = False,
        content_type: str = responses.JSON_TYPE,
        admit: Admission | None = None,
    ) -> Callable[[Callable[[Services, Call], Answer]], Callable[[Services, Call], Answer]]:
        """Decorator: declare ``handler`` as the route. Its docstring's first line is the summary."""
        if [scope is not None, admit is not None, open_to_all].count(True) != 1:
            raise TypeError(f"{method} {path}: give a scope, an admission, or open_to_all=True")

        def declare(handler: Callable[[Services, Call], Answer]) -> Callable[[Services, Call], Answer]:
            self.routes.append(
                Route(
                    method=method,
                    path=path,
                    operation=f"{self.name}.{handler.__name__}",
                    summary=(handler.__doc__ or "").strip().splitlines()[0],
                    handler=handler,
                    scope=scope,
                    answers=answers,
                    body=body,
                    query=query,
                    problems=problems,
                    limit=limit,
                    fast=fast,
                    content_type=content_type,
                    admit=admit,
                )
            )
            return handler

        return declare


def view_of(route: Route, services: Services) -> Callable[..., Response]:
    """The Flask view of a route."""
    serve = server_of(route, services)

    def view(**parameters: str) -> Response:
        return to_flask(serve(request.environ, parameters))

    return view


def server_of(route: Route, services: Services) -> Callable[[Mapping[str, Any], Mapping[str, str]], Reply]:
    """What serves a route: WSGI environment and path parameters in, an answer out; never raises."""
    read_call = _reader(route, services)
    handler = route.handler
    method, path = route.method, route.path
    log_requests = services.settings.log.requests

    def serve(environ: Mapping[str, Any], parameters: Mapping[str, str]) -> Reply:
        started = time.perf_counter()
        request_id = new_request_id()
        try:
            call = read_call(environ, request_id, parameters)
            answer = _respond(handler(services, call), request_id)
        except TouchstoneError as error:
            answer = refuse(error, request_id)
        except Exception as error:  # noqa: BLE001 (nothing of it may reach the caller)
            answer = fail(error, request_id)
        seconds = time.perf_counter() - started
        metrics.request_done(method, path, answer.status, seconds)
        if log_requests:
            _log_request(route, answer.status, seconds, request_id)
        return answer

    return serve


def to_flask(reply: Reply) -> Response:
    """An answer as Flask sends it."""
    return Response(reply.body, status=reply.status, headers=reply.headers)


def refuse(error: TouchstoneError, request_id: str, headers: Mapping[str, str] = _EMPTY) -> Reply:
    """Answer a typed error, and count and log it by its code."""
    metrics.refused(error.code)
    answer = responses.respond_problem(error, request_id=request_id, headers=headers)
    level = logging.ERROR if answer.status >= 500 else logging.INFO  # noqa: PLR2004 (server errors)
    _LOG.log(
        level,
        "refused",
        extra={"fields": {"request_id": request_id, "code": error.code, "status": answer.status}},
    )
    return answer


def fail(error: Exception, request_id: str) -> Reply:
    """Answer an unexpected exception: its type and place go to the log, nothing to the caller."""
    _LOG.error("unexpected failure", exc_info=error, extra={"fields": {"request_id": request_id}})
    metrics.refused(InternalError.code)
    return responses.respond_problem(
        InternalError("the server failed to handle the request"), request_id=request_id
    )


def _reader(
    route: Route, services: Services
) -> Callable[[Mapping[str, Any], str, Mapping[str, str]], Call]:
    settings = services.settings
    limits = settings.coco if route.limit == "request_bytes" else settings.limits
    limit = int(getattr(limits, route.limit))
    certified = services.settings.server.tls_client_certificates == "admin"
    decoder = msgspec.json.Decoder(route.body) if route.body is not None and route.fast else None

    def read(environ: Mapping[str, Any], request_id: str, parameters: Mapping[str, str]) -> Call:
        now = services.clock()
        caller: Caller | None = None
        if certified and (route.scope is not None or route.admit is not None):
            tls.require_client_certificate(environ)
        if route.scope is not None:
            principal = services.tokens.authenticate(environ.get("HTTP_AUTHORIZATION"), now)
            principal.require(route.scope)
            caller = principal
        elif route.admit is not None:
            caller = route.admit(services, environ.get("HTTP_AUTHORIZATION"), now)
        query = None
        if route.query is not NoQuery or environ.get("QUERY_STRING"):
            query = requests.decode_query(route.query, _arguments(environ))
        body = None
        if decoder is not None:
            body = requests.decode_fast(decoder, requests.read_body(environ, limit))
        elif route.body is not None:
            body = requests.decode_strict(route.body, requests.read_body(environ, limit), limit)
        return Call(now, request_id, parameters, query, body, caller)

    return read


def _arguments(environ: Mapping[str, Any]) -> list[tuple[str, str]]:
    text = environ.get("QUERY_STRING", "")
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict")
    except ValueError as error:
        raise Malformed("the query has too many parameters, or is not UTF-8") from error


def _respond(answer: Answer, request_id: str) -> Reply:
    if isinstance(answer.document, bytes):
        return responses.respond(
            answer.document,
            status=answer.status,
            request_id=request_id,
            content_type=answer.content_type,
            headers=answer.headers,
        )
    return responses.respond_json(
        answer.document, status=answer.status, request_id=request_id, headers=answer.headers
    )


def _log_request(route: Route, status: int, seconds: float, request_id: str) -> None:
    fields = {
        "request_id": request_id,
        "operation": route.operation,
        "status": status,
        "milliseconds": round(seconds * 1000, 3),
    }
    _LOG.info("answered", extra={"fields": fields})
