"""Signs CoRIMs: COSE_Sign1 with ES256 or ES384, every header parameter protected.

Invariants: what ``sign`` makes, ``cose.parse`` accepts; it signs a CoRIM (tag 501) and nothing else. The
key id is the SHA-256 of the SubjectPublicKeyInfo, 32 bytes.

Sources: RFC 9052 section 4.4; RFC 9053 section 2.1; draft-ietf-rats-corim-11 sections 4.2.1 and 4.2.3.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from cbor2 import CBORTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from common.errors import InvalidSetting
from provenance.errors import ManifestMalformed
from provenance.manifests.corim import cbor, cose

if TYPE_CHECKING:
    from datetime import datetime

_CORIM_HEAD: Final = b"\xd9\x01\xf5"  # tag 501
_TIME_TAG: Final = 1
# Curve to COSE algorithm, hash and bytes of a coordinate.
_ALGORITHMS: Final = {
    "secp256r1": (-7, hashes.SHA256, 32),
    "secp384r1": (-35, hashes.SHA384, 48),
}


def sign(
    corim: bytes, private_key: object, *, signer: str, now: datetime, not_after: datetime | None = None
) -> bytes:
    """Sign a CoRIM.

    Args:
        corim: tag 501, encoded.
        private_key: ECDSA P-256 or P-384.
        signer: name of the signing organisation, for corim-meta.
        now: start of the signature's validity, aware; whole seconds count.
        not_after: its end; without one the signature states no validity of its own.

    Raises:
        ManifestMalformed: not a CoRIM, or no signer's name.
        InvalidSetting: another kind of key.
    """
    if not corim.startswith(_CORIM_HEAD) or not signer:
        raise ManifestMalformed("only a CoRIM is signed, by a signer with a name")
    if not isinstance(private_key, ec.EllipticCurvePrivateKey) or private_key.curve.name not in _ALGORITHMS:
        raise InvalidSetting(
            "the signing key is not ECDSA P-256 or P-384",
            advice="Make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem",
        )
    algorithm, digest, width = _ALGORITHMS[private_key.curve.name]
    meta: dict[int, object] = {0: {0: signer}}
    if not_after is not None:
        meta[1] = {0: _time(now), 1: _time(not_after)}
    header = {
        cose.ALG: algorithm,
        cose.CONTENT: cose.CONTENT_TYPE,
        cose.KID: _key_id(private_key),
        cose.CORIM_META: cbor.encode(meta),
    }
    protected = cbor.encode(header)
    message = cose.Sign1(protected, header, corim, b"\x00")
    r, s = decode_dss_signature(private_key.sign(message.to_be_signed, ec.ECDSA(digest())))
    signature = r.to_bytes(width, "big") + s.to_bytes(width, "big")
    return cbor.encode(CBORTag(cose.COSE_SIGN1_TAG, [protected, {}, corim, signature]))


def _time(instant: datetime) -> CBORTag:
    return CBORTag(_TIME_TAG, int(instant.timestamp()))


def _key_id(key: ec.EllipticCurvePrivateKey) -> bytes:
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).digest()
