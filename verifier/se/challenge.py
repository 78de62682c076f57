"""The challenge: an attestation request, and its secrets sealed so that the guest brings them back.

A Secure Execution attestation is authenticated by a key that the verifier made and only the Ultravisor
could read. Nothing is kept between challenge and evidence: measurement key and request nonce travel
through the guest in the two members that Confidential Containers has for them, sealed with AES-256-GCM
under a key of ours. They are sealed, not merely encrypted to a public key: with the latter anyone who
has the public key could choose a measurement key and with it make evidence without any machine.

Sealed, under the settings' ``challenge_key``::

    01 | initialisation vector (12) | AES-256-GCM(...)
    encr_measurement_key: measurement key (64) | nonce (16) | flags (8) | time of issue (8, seconds)
    encr_request_nonce:   nonce (16)

The additional data of the two differ, so that one is never taken for the other. Freshness is the session's:
its nonce is in the report data, and the sealed request may serve several sessions within its lifetime.

The document is Confidential Containers' (``SeAttestationRequest``): their guests take the string as it is.
Random values come from the system here, and here alone; all else is pure.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.encoding import b64_encode
from common.errors import InvalidSetting
from verifier.errors import NonceUnknown
from verifier.se.request import (
    FLAG_NONCE,
    IV_BYTES,
    KEY_BYTES,
    MEASUREMENT_BYTES,
    NONCE_BYTES,
    PROTECTION_KEY_BYTES,
    RequestSecrets,
    build_request,
)
from verifier.se.response import additional_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from verifier.se.header import HeaderTags

SEAL_KEY_BYTES: Final = 32
_VERSION: Final = b"\x01"
_KEY_LABEL: Final = b"touchstone-se-measurement-key-v1"
_NONCE_LABEL: Final = b"touchstone-se-request-nonce-v1"
_FLAGS_BYTES: Final = 8
_TIME_BYTES: Final = 8
_PLAIN_BYTES: Final = KEY_BYTES + NONCE_BYTES + _FLAGS_BYTES + _TIME_BYTES
_SKEW: Final = timedelta(minutes=5)  # between the clocks of replicas


class OpenedRequest(msgspec.Struct, frozen=True):
    """What a challenge of ours had sealed.

    Attributes:
        measurement_key: HMAC key of the request.
        nonce: nonce of the request.
        flags: what it asked for.
        issued: when it was made.
    """

    measurement_key: bytes
    nonce: bytes
    flags: int
    issued: datetime


def make_challenge(
    seal_key: bytes,
    flags: int,
    host_keys: Sequence[ec.EllipticCurvePublicKey],
    tags: HeaderTags,
    now: datetime,
) -> str:
    """A new request as JSON: the ``nonce`` of a Confidential Containers challenge for ``se``.

    Args:
        seal_key: the settings' challenge key.
        flags: what to ask for, besides the nonce.
        host_keys: of documents that were verified.
        tags: of the image's header; the guest sends them back.
        now: time of issue.

    Raises:
        InvalidSetting: no host key, unknown flags, a key of another length.
    """
    flags |= FLAG_NONCE
    made = RequestSecrets(
        measurement_key=secrets.token_bytes(KEY_BYTES),
        nonce=secrets.token_bytes(NONCE_BYTES),
        protection_key=secrets.token_bytes(PROTECTION_KEY_BYTES),
        iv=secrets.token_bytes(IV_BYTES),
        customer_key=ec.generate_private_key(ec.SECP521R1()),
    )
    sealed_key, sealed_nonce = seal(seal_key, OpenedRequest(made.measurement_key, made.nonce, flags, now))
    document = {
        "request_blob": b64_encode(build_request(flags, host_keys, made)),
        "measurement_size": MEASUREMENT_BYTES,
        "additional_size": additional_size(flags),
        "encr_measurement_key": b64_encode(sealed_key),
        "encr_request_nonce": b64_encode(sealed_nonce),
        "image_hdr_tags": b64_encode(tags.raw),
    }
    return msgspec.json.encode(document).decode("ascii")


def seal(seal_key: bytes, request: OpenedRequest) -> tuple[bytes, bytes]:
    """Seal a request's secrets: ``encr_measurement_key`` and ``encr_request_nonce``.

    Raises:
        InvalidSetting: the key has not 32 bytes.
    """
    plain = request.measurement_key + request.nonce + request.flags.to_bytes(_FLAGS_BYTES, "big")
    plain += int(request.issued.timestamp()).to_bytes(_TIME_BYTES, "big")
    return _seal(seal_key, _KEY_LABEL, plain), _seal(seal_key, _NONCE_LABEL, request.nonce)


def open_sealed(
    seal_key: bytes, sealed_key: bytes, sealed_nonce: bytes, lifetime: timedelta, now: datetime
) -> OpenedRequest:
    """Open what evidence brought back.

    Raises:
        NonceUnknown: not sealed by us, the two are of different requests, or the request is too old.
    """
    plain = _open(seal_key, _KEY_LABEL, sealed_key)
    if len(plain) != _PLAIN_BYTES:
        raise NonceUnknown("the sealed measurement key is none of ours")
    key, nonce = plain[:KEY_BYTES], plain[KEY_BYTES : KEY_BYTES + NONCE_BYTES]
    if not hmac.compare_digest(_open(seal_key, _NONCE_LABEL, sealed_nonce), nonce):
        raise NonceUnknown("the sealed measurement key and nonce are of two requests")
    flags = int.from_bytes(plain[-_FLAGS_BYTES - _TIME_BYTES : -_TIME_BYTES], "big")
    seconds = int.from_bytes(plain[-_TIME_BYTES:], "big")
    issued = datetime.fromtimestamp(seconds, UTC)  # sealed by us: a time that datetime had
    if not issued - _SKEW <= now <= issued + lifetime:
        raise NonceUnknown(f"the attestation request was made at {issued.isoformat()}: it is too old")
    return OpenedRequest(key, nonce, flags, issued)


def _cipher(seal_key: bytes) -> AESGCM:
    if len(seal_key) != SEAL_KEY_BYTES:
        raise InvalidSetting(
            f"the key that seals challenges has {SEAL_KEY_BYTES} bytes, not {len(seal_key)}"
        )
    return AESGCM(seal_key)


def _seal(seal_key: bytes, label: bytes, plain: bytes) -> bytes:
    iv = secrets.token_bytes(IV_BYTES)
    return _VERSION + iv + _cipher(seal_key).encrypt(iv, plain, label)


def _open(seal_key: bytes, label: bytes, sealed: bytes) -> bytes:
    cipher = _cipher(seal_key)
    if not sealed.startswith(_VERSION):
        raise NonceUnknown("the sealed request is none of ours")
    iv, encrypted = sealed[1 : 1 + IV_BYTES], sealed[1 + IV_BYTES :]
    try:
        return cipher.decrypt(iv, encrypted, label)
    except (InvalidTag, ValueError) as error:
        raise NonceUnknown("the sealed request is none of ours, or was altered") from error
