"""The attestation request control block: what a verifier asks the Ultravisor, encrypted to its host keys.

Big endian::

    0x00  magic (8, zero)                 0x08  version (4)       0x0C  size (4)
    0x10  initialisation vector (12)      0x1C  reserved (4)
    0x20  reserved (7)    0x27  number of key slots (1)    0x28  reserved (4)    0x2C  encrypted size (4)
    0x30  attestation flags (8)           0x38  algorithm (4)     0x3C  reserved (4)
    0x40  customer public key (160)
    0xE0  key slots (80 each): host-key hash (32), wrapped protection key (32), tag (16)
    then  encrypted: measurement key (64), nonce (16); GCM tag (16)

The request protection key (AES-256-GCM, additional data: all that stands before the encrypted part) is
wrapped for each host key with SHA-256(ECDH x-coordinate | 00000001), zero initialisation vector.

Pure: random values come in. Source: s390-tools, ``rust/pv/src/req.rs`` and ``uvattest/arcb.rs``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.binary import Reader
from common.errors import InvalidSetting, Malformed, TooLarge
from verifier.errors import UnsupportedEvidence
from verifier.se.host_key import COORDINATE_BYTES, coordinates, host_key_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION: Final = 0x100
HMAC_SHA512: Final = 1
MEASUREMENT_BYTES: Final = 64
KEY_BYTES: Final = 64
NONCE_BYTES: Final = 16
IV_BYTES: Final = 12
PROTECTION_KEY_BYTES: Final = 32
MAX_HOST_KEYS: Final = 255
MAX_REQUEST: Final = 64 << 10

FLAG_NONCE: Final = 1 << (63 - 1)
FLAG_IMAGE_PHKH: Final = 1 << (63 - 2)
FLAG_ATTESTATION_PHKH: Final = 1 << (63 - 3)
FLAG_SECRET_STORE: Final = 1 << (63 - 4)
FLAG_FIRMWARE: Final = 1 << (63 - 5)
KNOWN_FLAGS: Final = (
    FLAG_NONCE | FLAG_IMAGE_PHKH | FLAG_ATTESTATION_PHKH | FLAG_SECRET_STORE | FLAG_FIRMWARE
)

_MAGIC: Final = bytes(8)
_HEADER: Final = 0x30
_TAG: Final = 16
_SLOT: Final = 80
_HASH: Final = 32
_AAD_FIXED: Final = 0x40 + 2 * COORDINATE_BYTES
_COUNTER: Final = b"\x00\x00\x00\x01"
_ZERO_IV: Final = bytes(IV_BYTES)


class RequestSecrets(msgspec.Struct, frozen=True):
    """What only verifier and Ultravisor may know, and what must never be used twice.

    Attributes:
        measurement_key: HMAC key, 64 bytes.
        nonce: 16 bytes.
        protection_key: 32 bytes.
        iv: 12 bytes.
        customer_key: key on P-521 made for this request.
    """

    measurement_key: bytes
    nonce: bytes
    protection_key: bytes
    iv: bytes
    customer_key: ec.EllipticCurvePrivateKey


class KeySlot(msgspec.Struct, frozen=True):
    """The protection key, wrapped for one host key."""

    host_key_hash: bytes
    wrapped: bytes


class AttestationRequest(msgspec.Struct, frozen=True):
    """A parsed request.

    Attributes:
        flags: what is asked for.
        customer_key: coordinates of the customer's public key.
        slots: one per host key.
        iv: initialisation vector.
        authenticated: everything before the encrypted part.
        encrypted: measurement key and nonce, with the tag.
    """

    flags: int
    customer_key: bytes
    slots: tuple[KeySlot, ...]
    iv: bytes
    authenticated: bytes
    encrypted: bytes


def build_request(
    flags: int, host_keys: Sequence[ec.EllipticCurvePublicKey], secrets: RequestSecrets
) -> bytes:
    """Build a request for the Ultravisors of these host keys.

    Raises:
        InvalidSetting: no host key, more than 255, unknown flags, or secrets of another size.
    """
    _require_sizes(secrets)
    if not 1 <= len(host_keys) <= MAX_HOST_KEYS or flags & ~KNOWN_FLAGS or not flags & FLAG_NONCE:
        raise InvalidSetting(f"an attestation request has 1 to {MAX_HOST_KEYS} host keys and known flags")
    plain = secrets.measurement_key + secrets.nonce
    size = _AAD_FIXED + _SLOT * len(host_keys) + len(plain) + _TAG
    header = _MAGIC + VERSION.to_bytes(4, "big") + size.to_bytes(4, "big") + secrets.iv + bytes(4 + 7)
    header += bytes([len(host_keys)]) + bytes(4) + len(plain).to_bytes(4, "big")
    header += flags.to_bytes(8, "big") + HMAC_SHA512.to_bytes(4, "big") + bytes(4)
    header += coordinates(secrets.customer_key.public_key())
    slots = b"".join(_slot(key, secrets) for key in host_keys)
    authenticated = header + slots
    return authenticated + AESGCM(secrets.protection_key).encrypt(secrets.iv, plain, authenticated)


def _require_sizes(secrets: RequestSecrets) -> None:
    sizes = (len(secrets.measurement_key), len(secrets.nonce), len(secrets.protection_key), len(secrets.iv))
    wanted = (KEY_BYTES, NONCE_BYTES, PROTECTION_KEY_BYTES, IV_BYTES)
    if sizes != wanted or not isinstance(secrets.customer_key.curve, ec.SECP521R1):
        raise InvalidSetting(
            f"secrets of an attestation request have {wanted} bytes, not {sizes}, on P-521"
        )


def _slot(host_key: ec.EllipticCurvePublicKey, secrets: RequestSecrets) -> bytes:
    key = wrapping_key(secrets.customer_key, host_key)
    return host_key_hash(host_key) + AESGCM(key).encrypt(_ZERO_IV, secrets.protection_key, b"")


def wrapping_key(own: ec.EllipticCurvePrivateKey, peer: ec.EllipticCurvePublicKey) -> bytes:
    """The AES-256 key between customer key and host key, the same from both sides."""
    return hashlib.sha256(own.exchange(ec.ECDH(), peer) + _COUNTER).digest()


def parse_request(data: bytes) -> AttestationRequest:
    """Parse a request. What it keeps secret stays so.

    Raises:
        TooLarge: over 64 KiB.
        Malformed: sizes that do not add up, reserved bytes that are not zero.
        UnsupportedEvidence: another version or algorithm, or flags that are not known.
    """
    if len(data) > MAX_REQUEST:
        raise TooLarge(f"attestation request of {len(data)} bytes, the limit is {MAX_REQUEST}")
    reader = Reader(data, "attestation request", "big")
    magic, version, size = reader.take(8, "magic"), reader.u32("version"), reader.u32("size")
    iv, reserved = reader.take(IV_BYTES, "initialisation vector"), reader.take(4 + 7, "reserved")
    slots, reserved2, encrypted = (
        reader.u8("key slots"),
        reader.u32("reserved"),
        reader.u32("encrypted size"),
    )
    if magic != _MAGIC or version != VERSION:
        raise UnsupportedEvidence(f"attestation request of version {version:#x}, not {VERSION:#x}")
    flags, algorithm, reserved3 = reader.u64("flags"), reader.u32("algorithm"), reader.u32("reserved")
    if algorithm != HMAC_SHA512 or flags & ~KNOWN_FLAGS:
        raise UnsupportedEvidence(f"attestation request with algorithm {algorithm} and flags {flags:#x}")
    if any(reserved) or reserved2 or reserved3 or not slots:
        raise Malformed("attestation request without key slots, or with reserved bytes that are not zero")
    if size != len(data) or size != _AAD_FIXED + _SLOT * slots + encrypted + _TAG:
        raise Malformed(f"the attestation request says that it has {size} bytes, and has {len(data)}")
    customer = reader.take(2 * COORDINATE_BYTES, "customer public key")
    found = tuple(
        KeySlot(reader.take(_HASH, "host-key hash"), reader.take(_SLOT - _HASH, "wrapped key"))
        for _ in range(slots)
    )
    end = reader.position
    return AttestationRequest(flags, customer, found, iv, data[:end], data[end:])


def open_request(request: AttestationRequest, protection_key: bytes) -> tuple[bytes, bytes]:
    """Measurement key and nonce of a request, for who has its protection key.

    Raises:
        Malformed: the key is another, the request was altered, or holds something else.
    """
    try:
        plain = AESGCM(protection_key).decrypt(request.iv, request.encrypted, request.authenticated)
    except (InvalidTag, ValueError) as error:
        raise Malformed("the attestation request does not open with this protection key") from error
    if len(plain) != KEY_BYTES + NONCE_BYTES:
        raise Malformed("the attestation request holds no measurement key and nonce")
    return plain[:KEY_BYTES], plain[KEY_BYTES:]
