"""Messages of the reference-value provider service, read strictly: version, type, payload.

A signed type's payload is an envelope, or a JSON object of the envelope and what is to be derived from it.
It comes as base64, as every payload does, or as the JSON text itself.

Source: coco-wire section 3.1.
"""

from __future__ import annotations

from typing import Final

import msgspec

from coco.errors import MessageMalformed, MessageVersion
from common import strict_json
from common.encoding import b64_decode, b64url_decode
from provenance.model import DerivationRequest  # noqa: TC001 (msgspec resolves it at run time)

VERSION: Final = "0.1.0"
MAX_MESSAGE_BYTES: Final = 8 << 20
MAX_DERIVATIONS: Final = 16


class Message(msgspec.Struct, frozen=True):
    """A message as it comes; members that it does not know are left alone, as by the reference.

    Attributes:
        type: extractor.
        payload: base64; of a signed type the JSON text itself, too.
        version: of messages.
    """

    type: str
    payload: str
    version: str = VERSION


class SignedPayload(msgspec.Struct, frozen=True):
    """A signed type's payload.

    Attributes:
        envelope: the bytes that were signed and their signature, in whatever format.
        requests: what to derive; None where the payload is the envelope alone.
    """

    envelope: bytes
    requests: tuple[DerivationRequest, ...] | None = None


class _Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    envelope: str
    derivation: DerivationRequest | tuple[DerivationRequest, ...]


def parse(text: str) -> Message:
    """Read a message.

    Raises:
        InputError: not strict JSON, or not of the form.
        MessageVersion: of another version.
    """
    data = text.encode("utf-8", "surrogatepass")
    document = strict_json.loads(data, what="message", max_bytes=MAX_MESSAGE_BYTES)
    try:
        message = msgspec.convert(document, Message, strict=True)
    except msgspec.ValidationError as error:
        raise MessageMalformed("the message lacks type or payload, or one of them is no text") from error
    if message.version != VERSION:
        given = ascii(message.version[:64])[1:-1]
        raise MessageVersion(f"Version unmatched! Need {VERSION}, given {given}.")
    return message


def signed_payload(payload: str) -> SignedPayload:
    """Read a signed type's payload.

    Raises:
        InputError: not base64, or a JSON object with a ``derivation`` that is not of the form.
    """
    is_json = payload.lstrip().startswith("{")
    data = payload.encode("utf-8", "surrogatepass") if is_json else decoded(payload, "payload")
    if not data.lstrip().startswith(b"{"):
        return SignedPayload(data)
    document = strict_json.loads(data, what="payload", max_bytes=MAX_MESSAGE_BYTES)
    if not isinstance(document, dict) or "derivation" not in document:
        return SignedPayload(data)
    try:
        asked = msgspec.convert(document, _Asked, strict=True)
    except msgspec.ValidationError as error:
        raise MessageMalformed(f"the payload cannot be read: {str(error)[:200]}") from error
    requests = asked.derivation if isinstance(asked.derivation, tuple) else (asked.derivation,)
    if not 1 <= len(requests) <= MAX_DERIVATIONS:
        raise MessageMalformed(f"a payload asks for 1 to {MAX_DERIVATIONS} derivations")
    return SignedPayload(decoded(asked.envelope, "envelope"), requests)


def decoded(text: str, what: str) -> bytes:
    """Base64, standard or URL-safe; padding may be left out of the latter.

    Raises:
        Malformed: neither.
    """
    if "-" in text or "_" in text:
        return b64url_decode(text.rstrip("="), what=what)
    return b64_decode(text, what=what)
