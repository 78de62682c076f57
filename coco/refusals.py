"""How the KBS API answers a refusal: ErrorInformation, and which status.

Two manners, by setting: *accurate* statuses (RFC 9110), or those of the *reference*, which answers 401 to
nearly everything, for clients that attest anew on any 401. Type and detail are the reference's in both: its
clients show them. In both manners

* a stale result (values retracted, another policy active since) is a 401: attesting anew mends it;
* a failed attestation always reads the same, so that it tells nothing about what was wrong: the cause is in
  the log, under the request id of the answer;
* what is not available is a 503: attesting anew would not mend it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from coco.errors import (
    AdminDenied,
    ForeignTokenInvalid,
    HandshakeRefused,
    PluginFailed,
    PluginUnavailable,
    PluginUnknown,
    PolicyDocumentInvalid,
    ReferenceValueUnknown,
    RvpsRefused,
    SessionInvalid,
    TeeKeyRefused,
    TokenMissing,
)
from common.errors import (
    EndorsementError,
    EvidenceError,
    InputError,
    InvalidIdentifier,
    PolicyError,
    TooLarge,
    TouchstoneError,
    UnavailableError,
)
from kms.errors import (
    AuditUnavailable,
    QuotaExceeded,
    ReleaseDenied,
    ReleaseStale,
    SecretNotFound,
    SessionUnbound,
    VersionUnusable,
)
from verifier.errors import EarInvalid
from wire.kbs import ERROR_TYPE_PREFIX, ErrorInformation

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_DETAIL: Final = 1024
_PLUGIN: Final = "Plugin internal error"
_TOKEN: Final = "Token Verifier error"  # noqa: S105 (a text that clients show)
_ATTEST: Final = "Attestation error: RCAR handshake Attest failed"


class Refusal(msgspec.Struct, frozen=True):
    """One way of refusing.

    Attributes:
        variant: of the reference's error type.
        accurate: status by RFC 9110.
        reference: status that the reference gives.
        detail: fixed text; None: the error's own message after ``prefix``.
        prefix: before the message.
    """

    variant: str
    accurate: int
    reference: int = 401
    detail: str | None = None
    prefix: str = ""


# By class, the first that the error is an instance of.
_REFUSALS: Final[tuple[tuple[type[TouchstoneError], Refusal], ...]] = (
    (
        HandshakeRefused,
        Refusal("AttestationError", 401, prefix="Attestation error: RCAR handshake Auth failed: "),
    ),
    (TokenMissing, Refusal("TokenNotFound", 401)),
    (AdminDenied, Refusal("AdminAuthAccess", 401)),
    (PluginUnknown, Refusal("PluginNotFound", 404, 404)),
    (TooLarge, Refusal("SerdeError", 413, 413)),
    (PolicyDocumentInvalid, Refusal("ParsePolicyError", 400, prefix="Failed to parse policy: ")),
    (ReferenceValueUnknown, Refusal("RvpsError", 404, prefix="RVPS configuration failed: ")),
    (RvpsRefused, Refusal("RvpsError", 400, prefix="RVPS configuration failed: ")),
    (ReleaseStale, Refusal("TokenVerifierError", 401, prefix="Token Verifier error: ")),
    (ReleaseDenied, Refusal("PolicyDeny", 403, detail="Access denied by policy")),
    (SecretNotFound, Refusal("PluginInternalError", 404, detail=_PLUGIN)),
    (VersionUnusable, Refusal("PluginInternalError", 404, detail=_PLUGIN)),
    (QuotaExceeded, Refusal("PluginInternalError", 429, detail=_PLUGIN)),
    (InvalidIdentifier, Refusal("PluginInternalError", 404, detail=_PLUGIN)),
    (PluginFailed, Refusal("PluginInternalError", 400, detail=_PLUGIN)),
    (PluginUnavailable, Refusal("PluginInternalError", 503, 503, detail=_PLUGIN)),
    (TeeKeyRefused, Refusal("JweError", 400)),
    (SessionUnbound, Refusal("TokenVerifierError", 401, detail=_TOKEN)),
    (EarInvalid, Refusal("TokenVerifierError", 401, detail=_TOKEN)),
    (ForeignTokenInvalid, Refusal("TokenVerifierError", 401, detail=_TOKEN)),
    (PolicyError, Refusal("PolicyEngineError", 400, prefix="Policy engine error: ")),
    (SessionInvalid, Refusal("AttestationError", 401, detail=_ATTEST)),
    (EvidenceError, Refusal("AttestationError", 401, detail=_ATTEST)),
    (EndorsementError, Refusal("AttestationError", 401, detail=_ATTEST)),
    (AuditUnavailable, Refusal("PluginInternalError", 503, 503, detail=_PLUGIN)),
    (UnavailableError, Refusal("PluginInternalError", 503, 503, detail=_PLUGIN)),
    (InputError, Refusal("SerdeError", 400)),
)
_INTERNAL: Final = Refusal("PluginInternalError", 500, 500, detail=_PLUGIN)
# Whatever stops an attestation, other than that we cannot serve, reads the same.
_OF_ATTEST: Final = Refusal("AttestationError", 401, detail=_ATTEST)


def refusal_of(error: TouchstoneError, *, attesting: bool) -> Refusal:
    """How an error is answered.

    Args:
        error: what was raised.
        attesting: by a ``POST attest``.
    """
    for kind, refusal in _REFUSALS:
        if isinstance(error, kind):
            unavailable = refusal.reference >= 413  # noqa: PLR2004 (413 and 503 in both manners)
            return _OF_ATTEST if attesting and not unavailable else refusal
    return _INTERNAL


def information(error: TouchstoneError, refusal: Refusal) -> ErrorInformation:
    """The body of the answer."""
    detail = refusal.detail
    if detail is None:
        detail = (refusal.prefix + error.message)[:_MAX_DETAIL]
    return ErrorInformation(type=ERROR_TYPE_PREFIX + refusal.variant, detail=detail)


@contextmanager
def rvps(doing: str) -> Iterator[None]:
    """What the reference value service refuses reads as its errors do.

    Raises:
        RvpsRefused: with the cause after what was being done.
    """
    try:
        yield
    except UnavailableError:
        raise
    except TouchstoneError as error:
        raise RvpsRefused(f"{doing}: {error.message}", advice=error.advice) from error
