"""The change event: one change of one instance, in a DSSE envelope signed by that instance.

Invariants of a verified event:

* It is signed by the key that the settings name for the instance that its payload names.
* ``chain`` is SHA-256 over ``previous`` (32 bytes) and ``record``: who has ``previous`` sees at once
  whether something was left out, repeated or changed (``rvps.snapshot``).
* What the event carries is what its record speaks of: the envelope has the digest that the record names.

Not done here: whether the receiver trusts what the envelope says (``service.feed.subscriber``).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import strict_json
from common.encoding import b64_decode, b64_encode, hex_decode
from common.errors import InputError, StatementError
from provenance import dsse, dsse_signing
from service.feed.errors import EventInvalid, PeerUnknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.keys import VerificationKey

PAYLOAD_TYPE: Final = "application/vnd.touchstone.change+json"
FORMAT: Final = "urn:touchstone:change:v1"
MAX_EVENT_BYTES: Final = 48 << 20
_SHA256_BYTES: Final = 32
INGESTED: Final = "ingested"
RETRACTED: Final = "retracted"


class RetractedValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The one value that a retraction of a reference value is about.

    Attributes:
        attestation: digest of the attestation it was derived from, hex.
        name: reference name.
        value: as JSON.
    """

    attestation: str
    name: str
    value: str


class ChangeEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The payload.

    Attributes:
        format: ``FORMAT``.
        instance: the publishing instance, its token issuer.
        epoch: number of the change there, from 1.
        previous: chain digest before it, hex.
        chain: chain digest after it, hex.
        record: the change record, text, exactly as it was hashed.
        envelope: of an ingest, the submitted envelope, base64.
        statements: of an ingest, reference-value statements over what was derived, each a DSSE envelope
            signed by the same instance, base64.
        retracted: of the retraction of one value, that value.
    """

    format: str
    instance: str
    epoch: int
    previous: str
    chain: str
    record: str
    envelope: str | None = None
    statements: tuple[str, ...] = ()
    retracted: RetractedValue | None = None

    @property
    def change(self) -> dict[str, Any]:
        """The record, decoded; ``verify`` has checked that it is an object."""
        decoded: dict[str, Any] = strict_json.loads(self.record.encode("utf-8"), what="the change record")
        return decoded


def sign(event: ChangeEvent, private_key: object) -> bytes:
    """The event as a signed envelope; the same bytes each time with an Ed25519 key."""
    return dsse_signing.sign(PAYLOAD_TYPE, strict_json.canonical(msgspec.to_builtins(event)), private_key)


def verify(data: bytes, keys: Mapping[str, VerificationKey]) -> ChangeEvent:
    """Verify signature, format, chain and contents of an event of a peer.

    Args:
        data: the envelope.
        keys: the key of each instance that is followed. The payload, yet unverified, says which it is;
            that key then signs for that instance alone.

    Raises:
        PeerUnknown: the event is of an instance that is not followed.
        EventInvalid: any of it does not hold.
    """
    try:
        return _verified(data, keys)
    except (EventInvalid, PeerUnknown):
        raise
    except (InputError, StatementError, msgspec.ValidationError) as error:
        raise EventInvalid(f"the change event does not hold: {str(error)[:200]}") from error


def encode(data: bytes) -> str:
    """Bytes as they stand in an event."""
    return b64_encode(data)


def decode(text: str) -> bytes:
    """The bytes of a member.

    Raises:
        EventInvalid: not base64.
    """
    try:
        return b64_decode(text, what="a member of the event")
    except InputError as error:
        raise EventInvalid(error.message) from error


def _verified(data: bytes, keys: Mapping[str, VerificationKey]) -> ChangeEvent:
    envelope = dsse.parse(dsse.load_json(data))
    document = strict_json.loads(envelope.payload, what="the event", max_bytes=MAX_EVENT_BYTES)
    key = _key_of(document, keys)
    dsse.verify_with_keys(envelope, {key.spki_sha256: key}, {key.spki_sha256: key.spki_sha256})
    if envelope.payload_type != PAYLOAD_TYPE:
        raise EventInvalid("the envelope holds something other than a change event")
    event = msgspec.convert(document, ChangeEvent)
    _check(event)
    return event


def _key_of(document: object, keys: Mapping[str, VerificationKey]) -> VerificationKey:
    name = document.get("instance") if isinstance(document, dict) else None
    if not isinstance(name, str):
        raise EventInvalid("the change event names no instance")
    if name not in keys:
        raise PeerUnknown("the event is of an instance that is not followed here")
    return keys[name]


def _check(event: ChangeEvent) -> None:
    if event.format != FORMAT:
        raise EventInvalid("the event is of another format")
    previous = hex_decode(event.previous, what="previous", length=_SHA256_BYTES)
    linked = hashlib.sha256(previous + event.record.encode("utf-8")).hexdigest()
    if linked != event.chain:
        raise EventInvalid("the event's chain digest does not follow from its record")
    change = event.change
    if not isinstance(change, dict) or change.get("epoch") != event.epoch or event.epoch < 1:
        raise EventInvalid("the event's record is of another epoch")
    if change.get("change") == INGESTED:
        carried = decode(event.envelope or "")
        if hashlib.sha256(carried).hexdigest() != change.get("attestation"):
            raise EventInvalid("the event carries another envelope than its record names")
    elif change.get("change") != RETRACTED or event.envelope is not None or event.statements:
        raise EventInvalid("the event's record is neither an ingest nor a retraction")
