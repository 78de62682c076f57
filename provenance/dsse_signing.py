"""Signs DSSE envelopes with a raw key; ``provenance.dsse`` reads and verifies them.

The algorithm follows from the key: Ed25519, or ECDSA over P-256 or P-384 with the SHA-2 hash of its
strength. The key id is the SHA-256 of the SubjectPublicKeyInfo, hex. An Ed25519 envelope over the same
payload is the same bytes each time.

Source: DSSE v1.0, protocol.md and envelope.md.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from common import strict_json
from common.encoding import b64_encode
from common.errors import InvalidSetting
from provenance.dsse import DsseEnvelope

SigningKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def sign(payload_type: str, payload: bytes, private_key: object) -> bytes:
    """An envelope with one signature, as canonical JSON.

    Raises:
        InvalidSetting: another kind of key.
    """
    key = signing_key(private_key)
    envelope = DsseEnvelope(payload_type=payload_type, payload=payload, signatures=())
    signature = {"keyid": key_id(key), "sig": b64_encode(_signature(key, envelope.pae))}
    return strict_json.canonical(
        {"payload": b64_encode(payload), "payloadType": payload_type, "signatures": [signature]}
    )


def signing_key(key: object) -> SigningKey:
    """The key, if it is one that may sign.

    Raises:
        InvalidSetting: another kind of key.
    """
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1)):
        return key
    raise InvalidSetting(
        "the signing key is not ECDSA P-256, ECDSA P-384 or Ed25519",
        advice="Make one: openssl genpkey -algorithm ed25519 -out signing-key.pem",
    )


def key_id(key: SigningKey) -> str:
    """SHA-256 of the key's SubjectPublicKeyInfo, hex."""
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def _signature(key: SigningKey, message: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    digest = hashes.SHA384() if isinstance(key.curve, ec.SECP384R1) else hashes.SHA256()
    return key.sign(message, ec.ECDSA(digest))
