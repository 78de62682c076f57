"""Raw signing keys and bare DSSE envelopes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from common import strict_json
from common.encoding import b64_encode
from provenance.dsse import DsseEnvelope, DsseSignature
from provenance.statement import PAYLOAD_TYPE

if TYPE_CHECKING:
    from collections.abc import Sequence

_CURVES: Final[dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]]] = {
    "ecdsa-p256-sha256": (ec.SECP256R1(), hashes.SHA256()),
    "ecdsa-p384-sha384": (ec.SECP384R1(), hashes.SHA384()),
}


class TestKey:
    """A fresh signing key.

    Args:
        algorithm: ``ecdsa-p256-sha256``, ``ecdsa-p384-sha384`` or ``ed25519``.
    """

    __test__ = False

    def __init__(self, algorithm: str = "ecdsa-p256-sha256") -> None:
        """Generate."""
        self.algorithm = algorithm
        self._key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
        if algorithm in _CURVES:
            self._key = ec.generate_private_key(_CURVES[algorithm][0])
        else:
            self._key = ed25519.Ed25519PrivateKey.generate()
        public = self._key.public_key()
        self.public_pem = public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode("ascii")
        self.spki_sha256 = hashlib.sha256(
            public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        ).hexdigest()

    def sign(self, data: bytes) -> bytes:
        """Sign ``data``."""
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            return self._key.sign(data, ec.ECDSA(_CURVES[self.algorithm][1]))
        return self._key.sign(data)

    def root(self, name: str, **members: Any) -> dict[str, Any]:
        """A trust policy's root for this key."""
        return {
            "name": name,
            "kind": "public-key",
            "algorithm": self.algorithm,
            "key": self.public_pem,
            **members,
        }


def sign_dsse(
    payload: bytes,
    keys: Sequence[tuple[TestKey, str]],
    *,
    payload_type: str = PAYLOAD_TYPE,
) -> bytes:
    """A bare DSSE envelope.

    Args:
        payload: what is signed.
        keys: each with the ``keyid`` that it claims; none is written if empty.
        payload_type: of the envelope.
    """
    pae = DsseEnvelope(payload_type, payload, (DsseSignature(b"unsigned"),)).pae
    signatures = [
        {"sig": b64_encode(key.sign(pae))} | ({"keyid": keyid} if keyid else {}) for key, keyid in keys
    ]
    return strict_json.canonical(
        {"payload": b64_encode(payload), "payloadType": payload_type, "signatures": signatures}
    )
