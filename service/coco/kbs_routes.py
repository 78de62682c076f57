"""``/kbs/v0``: the KBS protocol's HTTP, below Flask.

The protocol has one catch-all route whose first segment decides, answers errors in a form of its own, and
is called by guests in numbers, so it is served here as a WSGI application of its own (``service.direct``
says what Flask's part of a request costs). Order: prefix, method, body (bounded before it is read),
``coco.kbs``, answer; a refusal is logged under the request id that the answer carries.

The cookie is ``HttpOnly``, ``SameSite=Strict`` and of path ``/kbs/v0``; ``Secure`` where TLS reaches us.
"""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from email.utils import format_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, unquote

import msgspec

from coco import refusals
from coco.kbs import KbsCall
from common.errors import Malformed, TouchstoneError
from service import metrics, requests, tls
from service.observability import new_request_id
from service.responses import REQUEST_ID_HEADER
from wire.kbs import BASE_PATH, SESSION_COOKIE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from coco.kbs import KbsAnswer, KbsApi
    from coco.session import KbsSession
    from service.settings import Settings

_LOG = logging.getLogger("touchstone.kbs")
_PREFIX: Final = f"{BASE_PATH}/"
_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE"})
_UNESCAPED: Final = "/:@!$&'()*+,;=-._~"  # RFC 3986 section 3.3
_MAX_PARAMETERS: Final = 64
_JSON: Final = "application/json"
_STATUS_LINES: Final = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
_ENCODER = msgspec.json.Encoder()
# First segments that metrics name; others would let a caller make labels.
_ROUTES: Final = frozenset(
    {"auth", "attest", "resource", "resource-policy", "attestation-policy", "reference-value"}
)
_INTERNAL: Final = HTTPStatus.INTERNAL_SERVER_ERROR.value


class KbsRoutes:
    """WSGI middleware that serves the protocol's paths.

    Args:
        app: the application below, for everything else.
        api: the protocol.
        settings: limits and the manner of statuses.
        clock: the present time.
        turn: entered around each call, once it is read (``storage.turns``).
    """

    def __init__(
        self,
        app: WSGIApplication,
        api: KbsApi,
        settings: Settings,
        clock: Callable[[], datetime],
        turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Keep the parts."""
        self._turn = turn
        self._app = app
        self._api = api
        self._clock = clock
        self._limit = settings.coco.request_bytes
        self._accurate = settings.coco.statuses == "accurate"
        encrypted = settings.server.tls_key is not None or settings.server.behind_tls_proxy
        self._cookie = f"; Path={BASE_PATH}; HttpOnly; SameSite=Strict" + ("; Secure" if encrypted else "")
        self._certified = settings.server.tls_client_certificates == "admin"
        self._log_requests = settings.log.requests

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        path = environ.get("PATH_INFO", "")
        if not path.startswith(_PREFIX):
            return self._app(environ, start_response)
        started = time.perf_counter()
        request_id = new_request_id()
        segments = _segments(environ, path)
        status, headers, body = self._served(environ, segments, request_id)
        headers += [
            (REQUEST_ID_HEADER, request_id),
            ("Cache-Control", "no-store"),
            ("Content-Length", str(len(body))),
        ]
        start_response(_STATUS_LINES.get(status, str(status)), headers)
        self._done(
            environ["REQUEST_METHOD"], segments[0], status, time.perf_counter() - started, request_id
        )
        return [body]

    def _served(
        self, environ: WSGIEnvironment, segments: tuple[str, ...], request_id: str
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        method = environ["REQUEST_METHOD"]
        if method not in _METHODS:
            return 405, [("Allow", ", ".join(sorted(_METHODS)))], b""
        try:
            now = self._clock()
            call = KbsCall(
                method=method,
                target=_target(environ),
                path=segments,
                query=_query(environ),
                authorization=environ.get("HTTP_AUTHORIZATION"),
                cookie=environ.get("HTTP_COOKIE"),
                body=b"" if method == "GET" else requests.read_bytes(environ, self._limit),
                certified=not self._certified or tls.peer_certificate(environ) is not None,
            )
            with self._turn():  # not before the body is here: a slow client would keep it
                answer = self._api.handle(call, now)
            return self._answer(answer)
        except TouchstoneError as error:
            return self._refuse(error, method, segments, request_id)
        except Exception as error:  # noqa: BLE001 (nothing of it may reach the caller)
            _LOG.error("unexpected failure", exc_info=error, extra={"fields": {"request_id": request_id}})
            metrics.refused("internal.error")
            failed = TouchstoneError("the server failed")
            return self._refuse(failed, method, segments, request_id, logged=True)

    def _answer(self, answer: KbsAnswer) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = [("Content-Type", answer.content_type)] if answer.content_type else []
        if answer.session is not None:
            headers.append(("Set-Cookie", self._cookie_of(answer.session)))
        return answer.status, headers, answer.body

    def _cookie_of(self, session: KbsSession) -> str:
        expires = _http_date(session.expires)
        return f"{SESSION_COOKIE}={session.cookie}; Expires={expires}{self._cookie}"

    def _refuse(
        self,
        error: TouchstoneError,
        method: str,
        segments: tuple[str, ...],
        request_id: str,
        *,
        logged: bool = False,
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        attesting = method == "POST" and segments == ("attest",)
        refusal = refusals.refusal_of(error, attesting=attesting)
        status = refusal.accurate if self._accurate else refusal.reference
        if not logged:
            metrics.refused(error.code)
            fields = {
                "request_id": request_id,
                "code": error.code,
                "status": status,
                "cause": error.message,
            }
            level = logging.ERROR if status >= _INTERNAL else logging.INFO
            _LOG.log(level, "refused", extra={"fields": fields | _named(error.details)})
        body = _ENCODER.encode(refusals.information(error, refusal))
        return status, [("Content-Type", _JSON)], body

    def _done(self, method: str, segment: str, status: int, seconds: float, request_id: str) -> None:
        known = segment if segment in _ROUTES else "plugin"
        route = f"{_PREFIX}{known}"
        metrics.request_done(method if method in _METHODS else "other", route, status, seconds)
        if self._log_requests:
            fields = {
                "request_id": request_id,
                "operation": f"kbs.{known}",
                "status": status,
                "milliseconds": round(seconds * 1000, 3),
            }
            _LOG.info("answered", extra={"fields": fields})


@lru_cache(maxsize=64)
def _http_date(moment: datetime) -> str:
    """RFC 9110 section 5.6.7. Sessions end on whole seconds: many share one."""
    return format_datetime(moment, usegmt=True)


def _target(environ: Mapping[str, Any]) -> str:
    """The request target as it was sent, where the server tells; else the path, encoded again."""
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if raw:
        return str(raw)
    query = environ.get("QUERY_STRING", "")
    # Otherwise an escaped `?` would end the path that access rules are held against.
    path = quote(str(environ.get("PATH_INFO", "")).encode("latin-1"), safe=_UNESCAPED)
    return path + (f"?{query}" if query else "")


def _segments(environ: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """The decoded segments. An escaped slash stays in its segment: no resource has two spellings."""
    raw = _target(environ).partition("?")[0]
    if "%" not in raw or "%2f" not in raw.lower():
        return tuple(path.removeprefix(_PREFIX).split("/"))
    below = raw.partition(_PREFIX)[2]
    return tuple(unquote(part).replace("/", "%2F") for part in below.split("/"))


def _query(environ: Mapping[str, Any]) -> dict[str, str]:
    text = environ.get("QUERY_STRING", "")
    if not text:
        return {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict")
    except ValueError as error:
        raise Malformed("the query has too many parameters, or is not UTF-8") from error
    query = dict(pairs)
    if len(query) != len(pairs):
        raise Malformed("a query parameter is given twice")
    return query


def _named(details: Mapping[str, object]) -> dict[str, object]:
    """Reasons of a denial, for the log: the caller is not told them."""
    return {"reasons": details["reasons"]} if "reasons" in details else {}
