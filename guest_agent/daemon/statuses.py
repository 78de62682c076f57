"""Typed errors as HTTP statuses and gRPC status codes: one table, the first class that fits decides.

The reference answers 500 to every failure, so that a denial by policy looks like a crash. Here 500 says
that we are at fault, and nothing else does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.errors import (
    AccessError,
    ConfigurationError,
    DependencyMissing,
    EvidenceError,
    FetchFailed,
    InputError,
    NotFound,
    ReleaseError,
    TooLarge,
    TouchstoneError,
    UnavailableError,
)
from guest_agent.errors import (
    Busy,
    EvidenceNotMade,
    KbsUnauthenticated,
    KbsUnreachable,
    NotConfigured,
    PeerRefused,
    ServerAnswerInvalid,
    ServerRefused,
    ServerTimeout,
    TeeUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

INTERNAL: Final = 500
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_FIRST_SERVER_ERROR: Final = 500

# Class, HTTP status (RFC 9110 section 15), name of the gRPC status.
_TABLE: Final[tuple[tuple[type[TouchstoneError], int, str], ...]] = (
    (KbsUnauthenticated, 401, "UNAUTHENTICATED"),
    (NotFound, 404, "NOT_FOUND"),
    (TooLarge, 413, "INVALID_ARGUMENT"),
    (InputError, 400, "INVALID_ARGUMENT"),
    (PeerRefused, 403, "PERMISSION_DENIED"),
    (AccessError, 403, "PERMISSION_DENIED"),
    (ReleaseError, 403, "PERMISSION_DENIED"),
    (EvidenceError, 409, "FAILED_PRECONDITION"),
    (NotConfigured, 501, "FAILED_PRECONDITION"),
    (ConfigurationError, 501, "FAILED_PRECONDITION"),
    (Busy, 503, "RESOURCE_EXHAUSTED"),
    (TeeUnavailable, 503, "UNAVAILABLE"),
    (EvidenceNotMade, 503, "UNAVAILABLE"),
    (DependencyMissing, 503, "UNAVAILABLE"),
    (ServerTimeout, 504, "DEADLINE_EXCEEDED"),
    (ServerAnswerInvalid, 502, "UNAVAILABLE"),
    (FetchFailed, 502, "UNAVAILABLE"),
    (UnavailableError, 502, "UNAVAILABLE"),
)
# What a server of ours or of others refused with, where no class of its own says it.
_REMOTE: Final[Mapping[int, tuple[int, str]]] = {
    _UNAUTHORIZED: (401, "UNAUTHENTICATED"),
    _FORBIDDEN: (403, "PERMISSION_DENIED"),
    _NOT_FOUND: (404, "NOT_FOUND"),
}


def status_of(error: TouchstoneError) -> tuple[int, str]:
    """HTTP status, and the name of the gRPC status code."""
    if isinstance(error, ServerRefused):
        return _REMOTE.get(error.status, (502, "UNAVAILABLE"))
    if isinstance(error, KbsUnreachable) and isinstance(error.__cause__, ServerTimeout):
        return status_of(error.__cause__)
    for kind, status, code in _TABLE:
        if isinstance(error, kind):
            return status, code
    return INTERNAL, "INTERNAL"


def document_of(error: TouchstoneError) -> dict[str, Any]:
    """What leaves: code, what is wrong, what to do next."""
    code = getattr(error, "remote_code", "") or error.code
    return {"code": code, "detail": error.message, "advice": error.advice}


INTERNAL_DOCUMENT: Final[Mapping[str, str]] = {
    "code": "internal.error",
    "detail": "the guest agent failed",
    "advice": "Its log names the request; report it.",
}
