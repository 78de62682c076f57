"""Typed errors as HTTP answers: RFC 9457 problem documents, with the status decided by category or code.

A problem document names the stable ``code``, what is wrong (``detail``), what to do next (``advice``),
the request id, and where a verification failed the checks made so far. Nothing else leaves: an error
that is not ours becomes ``internal.error`` without a word of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from common.checks import Check  # noqa: TC001 (msgspec resolves it at run time)
from common.errors import (
    AccessError,
    AuditError,
    ConfigurationError,
    Conflict,
    DerivationError,
    EndorsementError,
    EvidenceError,
    InputError,
    NotFound,
    PolicyError,
    ReferenceValueError,
    ReleaseError,
    StatementError,
    TooLarge,
    TouchstoneError,
    UnavailableError,
)
from service.errors import (
    ClientCertificateMissing,
    InternalError,
    MediaTypeUnsupported,
    MethodNotAllowed,
    ScopeMissing,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBLEM_TYPE = "application/problem+json"
_TYPE_PREFIX = "urn:touchstone:error:"
_RETRY_AFTER_S = "1"
_ENCODER = msgspec.json.Encoder()

_BAD_REQUEST = 400
_UNAUTHORIZED = 401
_FORBIDDEN = 403
_NOT_FOUND = 404
_METHOD_NOT_ALLOWED = 405
_CONFLICT = 409
_TOO_LARGE = 413
_UNSUPPORTED_MEDIA_TYPE = 415
_UNPROCESSABLE = 422
_TOO_MANY_REQUESTS = 429
_INTERNAL = 500
_UNAVAILABLE = 503

# By code, for errors whose class says more than its category; RFC 9110 section 15.
_BY_CODE: Mapping[str, int] = {
    NotFound.code: _NOT_FOUND,
    Conflict.code: _CONFLICT,
    TooLarge.code: _TOO_LARGE,
    MethodNotAllowed.code: _METHOD_NOT_ALLOWED,
    MediaTypeUnsupported.code: _UNSUPPORTED_MEDIA_TYPE,
    InternalError.code: _INTERNAL,
    ScopeMissing.code: _FORBIDDEN,
    ClientCertificateMissing.code: _FORBIDDEN,
    # A nonce that was spent, has expired or is another's: the state contradicts the request.
    "evidence.nonce": _CONFLICT,
    "feed.event_invalid": _UNPROCESSABLE,
    "feed.forked": _CONFLICT,
    "feed.gap": _CONFLICT,
    "feed.peer_unknown": _NOT_FOUND,
    "policy.not_found": _NOT_FOUND,
    "policy.conflict": _CONFLICT,
    "policy.serial": _CONFLICT,
    "policy.rollback_refused": _CONFLICT,
    "reference.unknown_attestation": _NOT_FOUND,
    "reference.unknown_value": _NOT_FOUND,
    "reference.retracted": _CONFLICT,
    "release.not_found": _NOT_FOUND,
    "release.stale": _CONFLICT,
    "release.version_state": _CONFLICT,
    "release.quota": _TOO_MANY_REQUESTS,
}

# By category: the first that the error is an instance of.
_BY_CATEGORY: tuple[tuple[type[TouchstoneError], int], ...] = (
    (InputError, _BAD_REQUEST),
    (EvidenceError, _UNPROCESSABLE),
    (EndorsementError, _UNPROCESSABLE),
    (StatementError, _UNPROCESSABLE),
    (DerivationError, _UNPROCESSABLE),
    (ReferenceValueError, _UNPROCESSABLE),
    (PolicyError, _UNPROCESSABLE),
    (ReleaseError, _FORBIDDEN),
    (AccessError, _UNAUTHORIZED),
    # No audit record, no release: until the log can be written the service cannot serve.
    (AuditError, _UNAVAILABLE),
    (UnavailableError, _UNAVAILABLE),
    (ConfigurationError, _INTERNAL),
)


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem document (RFC 9457 section 3).

    Attributes:
        type: ``urn:touchstone:error:<code>``.
        title: what the code means; the same for every occurrence.
        status: the HTTP status.
        detail: what is wrong this time.
        code: the stable code.
        advice: what to do next.
        request_id: under which the server's log knows the call.
        checks: the checks made before the failure, where a verification failed.
        details: further public facts.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    advice: str
    request_id: str
    checks: tuple[Check, ...] = ()
    details: dict[str, Any] = {}


def status_of(error: type[TouchstoneError]) -> int:
    """The HTTP status of an error class."""
    by_code = _BY_CODE.get(error.code)
    if by_code is not None:
        return by_code
    for category, status in _BY_CATEGORY:
        if issubclass(error, category):
            return status
    return _INTERNAL


def problem_of(error: TouchstoneError, request_id: str) -> Problem:
    """The problem document of an error."""
    kind = type(error)
    return Problem(
        type=_TYPE_PREFIX + kind.code,
        title=(kind.__doc__ or kind.__name__).strip().splitlines()[0],
        status=status_of(kind),
        detail=error.message,
        code=kind.code,
        advice=error.advice,
        request_id=request_id,
        checks=error.checks,
        details=error.details,
    )


def encode(problem: Problem) -> bytes:
    """The document as JSON."""
    return _ENCODER.encode(problem)


def headers_of(status: int) -> dict[str, str]:
    """Headers that a status asks for (RFC 9110 sections 11.6.1 and 10.2.3)."""
    if status == _UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
    if status == _UNAVAILABLE:
        return {"Retry-After": _RETRY_AFTER_S}
    return {}
