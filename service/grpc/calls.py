"""One unary call: who calls, the instant, the answer or the status, metrics and log; nothing else leaks.

A refusal is ``ABORTED`` with the reference's words before our message, which is what its clients show.
Codes that a client acts on are exact: ``UNAUTHENTICATED``, ``PERMISSION_DENIED``, ``RESOURCE_EXHAUSTED``,
``UNAVAILABLE``; something unexpected is ``INTERNAL`` without a word of its own. The stable code and the
request id go along as trailing metadata (``touchstone-code``, ``touchstone-request-id``).
"""

from __future__ import annotations

import ipaddress
import logging
import time
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar
from urllib.parse import unquote

import grpc
import msgspec

from common.errors import AccessError, AuditError, TooLarge, TouchstoneError, UnavailableError
from service import metrics
from service.errors import InternalError, ScopeMissing
from service.observability import new_request_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from service.composition import Services

_LOG: Final = logging.getLogger("touchstone.grpc")
_MAX_DETAILS: Final = 1024  # it travels in a header
_MAX_NAME: Final = 200
_METHOD: Final = "gRPC"
# The first that the error is an instance of.
_CODES: Final[tuple[tuple[type[TouchstoneError], grpc.StatusCode], ...]] = (
    (ScopeMissing, grpc.StatusCode.PERMISSION_DENIED),
    (AccessError, grpc.StatusCode.UNAUTHENTICATED),
    (TooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (UnavailableError, grpc.StatusCode.UNAVAILABLE),
    (AuditError, grpc.StatusCode.UNAVAILABLE),
    (InternalError, grpc.StatusCode.INTERNAL),
)
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class GrpcCall(msgspec.Struct, frozen=True):
    """One call, as a handler sees it.

    Attributes:
        now: the instant of the whole operation.
        authorization: metadata of that name; None if there is none.
        certificate: name in the client certificate that the handshake verified; None without one.
        loopback: whether the caller is on this machine.
    """

    now: datetime
    authorization: str | None
    certificate: str | None
    loopback: bool


def unary(
    services: Services,
    method: str,
    failing: str,
    handle: Callable[[_Request, GrpcCall], _Response],
) -> Callable[[_Request, grpc.ServicerContext], _Response]:
    """What the library calls for a method.

    Args:
        services: clock and log settings.
        method: ``/package.Service/Method``.
        failing: words of the reference before the cause of a refusal.
        handle: answers, or raises a typed error.
    """
    log_requests = services.settings.log.requests

    def serve(request: _Request, context: grpc.ServicerContext) -> _Response:
        started = time.perf_counter()
        request_id = new_request_id()
        if _too_late(context):
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the call began")
        try:
            outcome: _Response | TouchstoneError = handle(request, _call_of(context, services.clock()))
        except TouchstoneError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 (nothing of it may reach the caller)
            _LOG.error("unexpected failure", exc_info=error, extra={"fields": {"request_id": request_id}})
            outcome = InternalError("the server failed to handle the call")
        code = code_of(outcome) if isinstance(outcome, TouchstoneError) else grpc.StatusCode.OK
        seconds = time.perf_counter() - started
        metrics.request_done(_METHOD, method, code.value[0], seconds)
        if log_requests:
            _log_request(method, code, seconds, request_id)
        if isinstance(outcome, TouchstoneError):
            _refuse(context, outcome, code, failing, request_id)
        return outcome

    return serve


def code_of(error: TouchstoneError) -> grpc.StatusCode:
    """The status of an error."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return grpc.StatusCode.ABORTED


def is_loopback_peer(peer: str) -> bool:
    """Whether a peer is this machine.

    Args:
        peer: as the library names it: ``ipv4:127.0.0.1:5``, ``ipv6:%5B::1%5D:5``.
    """
    kind, _, address = peer.partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return False
    host = unquote(address).rpartition(":")[0].removeprefix("[").removesuffix("]").partition("%")[0]
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def _too_late(context: grpc.ServicerContext) -> bool:
    """Whether nobody waits for the answer any more: a call may have queued for a thread."""
    remaining = context.time_remaining()
    return not context.is_active() or (remaining is not None and remaining <= 0)


def _call_of(context: grpc.ServicerContext, now: datetime) -> GrpcCall:
    values = [item.value for item in context.invocation_metadata() if item.key == "authorization"]
    # Two are joined, as HTTP does: no reader then takes one of them.
    authorization = ", ".join(str(value) for value in values) if values else None
    return GrpcCall(now, authorization, _certificate(context), is_loopback_peer(context.peer()))


def _certificate(context: grpc.ServicerContext) -> str | None:
    """A name of the verified client certificate, for the records."""
    found = context.auth_context()
    if not found.get("x509_pem_cert"):
        return None
    names = found.get("x509_subject_alternative_name") or found.get("x509_common_name") or [b"unnamed"]
    text = names[0].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "?" for character in text)[:_MAX_NAME]


def _refuse(
    context: grpc.ServicerContext,
    error: TouchstoneError,
    code: grpc.StatusCode,
    failing: str,
    request_id: str,
) -> NoReturn:
    """End the call, by raising what the library wants."""
    metrics.refused(error.code)
    fields = {"request_id": request_id, "code": error.code, "status": code.name, "cause": error.message}
    server_fault = code in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE}
    _LOG.log(logging.ERROR if server_fault else logging.INFO, "refused", extra={"fields": fields})
    context.set_trailing_metadata((("touchstone-code", error.code), ("touchstone-request-id", request_id)))
    text = f"{failing}: {error.message}" if code is grpc.StatusCode.ABORTED else error.message
    if isinstance(error, AccessError):
        text = f"{error.message}. {error.advice}"
    context.abort(code, text[:_MAX_DETAILS])
    raise AssertionError  # not reached: abort raises


def _log_request(method: str, code: grpc.StatusCode, seconds: float, request_id: str) -> None:
    fields = {
        "request_id": request_id,
        "operation": method,
        "status": code.name,
        "milliseconds": round(seconds * 1000, 3),
    }
    _LOG.info("answered", extra={"fields": fields})
