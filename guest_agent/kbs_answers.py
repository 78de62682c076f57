"""What a KBS's answer means: a document, a resource, or a refusal of one of five kinds.

The reference KBS answers 401 to nearly everything, so the ``type`` of its ErrorInformation decides where
the status does not: ``PolicyDeny`` is a policy's word, ``PluginInternalError`` is what an unknown
resource gets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from guest_agent.errors import (
    KbsDenied,
    KbsRefused,
    KbsResourceUnknown,
    KbsUnauthenticated,
    ServerAnswerInvalid,
)
from guest_agent.http import printable
from guest_agent.resource_uri import RESOURCE_PLUGIN
from wire.kbs import ERROR_TYPE_PREFIX, EncryptedResource, ErrorInformation

if TYPE_CHECKING:
    from guest_agent.kbs_http import Answer
    from guest_agent.kbs_keys import TeeKey
    from guest_agent.resource_uri import ResourceUri

_JSON: Final = "application/json"
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_DENIED: Final = "PolicyDeny"
_UNKNOWN: Final = frozenset({"PluginInternalError", "PluginNotFound", "InvalidRequestPath"})
_MAX_VARIANT: Final = 64
T = TypeVar("T")

Refusal = KbsDenied | KbsResourceUnknown | KbsUnauthenticated | KbsRefused


def decoded(answer: Answer, kind: type[T]) -> T:
    """The answer's JSON.

    Raises:
        ServerAnswerInvalid: it is not such a document.
    """
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ServerAnswerInvalid("the KBS's answer is not of the protocol's form") from error


def resource_of(answer: Answer, uri: ResourceUri, key: TeeKey) -> bytes:
    """The plaintext of an answer to ``GET``.

    A resource is always encrypted. A plugin's answer is, where it is JSON of a flattened JWE's members;
    else it is returned as it came.

    Raises:
        ServerAnswerInvalid: a resource that is not encrypted.
        SecretUndecryptable: not for this key, or altered.
    """
    if uri.plugin == RESOURCE_PLUGIN:
        return key.open(decoded(answer, EncryptedResource))
    if answer.content_type != _JSON:
        return answer.body
    try:
        encrypted = msgspec.json.decode(answer.body, type=EncryptedResource)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return answer.body
    return key.open(encrypted)


def refusal(answer: Answer, what: str) -> Refusal:
    """The error that an answer without success is.

    Args:
        answer: of any other status than 200.
        what: what could not be done, for a message where the KBS gives none.
    """
    try:
        told = msgspec.json.decode(answer.body, type=ErrorInformation)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        told = ErrorInformation("", "")
    variant = printable(told.type.removeprefix(ERROR_TYPE_PREFIX))[:_MAX_VARIANT]
    error = _kind(answer.status, variant)(printable(told.detail) or f"{what} (status {answer.status})")
    error.variant = variant
    error.status = answer.status
    return error


def _kind(status: int, variant: str) -> type[Refusal]:
    if status == _FORBIDDEN or variant == _DENIED:
        return KbsDenied
    if status == _NOT_FOUND or (status == _UNAUTHORIZED and variant in _UNKNOWN):
        return KbsResourceUnknown
    return KbsUnauthenticated if status == _UNAUTHORIZED else KbsRefused
