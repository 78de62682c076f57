"""COSE_Sign1, verified with one key of the trust policy, or with the certificate that the header carries.

Order: decode (tag 18, four elements) -> protected header: known parameters only, no ``crit``, content
type -> empty unprotected header -> key by ``kid`` or all that fit -> the header's algorithm is the key's ->
signature.

Stricter than RFC 9052: every header parameter is protected (an unprotected algorithm, key id or
certificate would be a choice of whoever carried the message), the payload is attached, ``alg`` is a
number, and the algorithm of a key is decided by the trust policy alone.

Not read: hash envelopes (labels 258 to 260), countersignatures, x5t, x5u (nothing is fetched).

Sources: RFC 9052 sections 3.1, 4.2 and 4.4; RFC 9053 sections 2.1 and 2.2; RFC 8230 section 2; RFC 9360
section 2 (x5chain); RFC 9864 (fully specified algorithms); draft-ietf-rats-corim-11 section 4.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from cbor2 import CBORTag
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from provenance.errors import (
    ManifestMalformed,
    SignerCertificateInvalid,
    SignerUntrusted,
    StatementSignatureInvalid,
    StatementUnsigned,
)
from provenance.manifests.corim import cbor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.keys import VerificationKey

COSE_SIGN1_TAG: Final = 18  # RFC 9052 section 2
CONTENT_TYPE: Final = "application/rim+cbor"  # draft-ietf-rats-corim-11 section 11.12.1
# IANA COSE Header Parameters.
ALG, CRIT, CONTENT, KID, CORIM_META, CWT_CLAIMS, X5CHAIN = 1, 2, 3, 4, 8, 15, 33
_KNOWN: Final = frozenset({ALG, CONTENT, KID, CORIM_META, CWT_CLAIMS, X5CHAIN})
# Algorithm of a key in the trust policy to the IANA COSE algorithm numbers that mean it. RS256 (-257) is
# deprecated in COSE (RFC 8812 section 2), so PKCS #1 v1.5 keys sign no CoRIM.
ALGORITHMS: Final = {
    "ecdsa-p256-sha256": (-7, -9),  # ES256, ESP256
    "ecdsa-p384-sha384": (-35, -51),  # ES384, ESP384
    "ecdsa-p521-sha512": (-36, -52),  # ES512, ESP512
    "ed25519": (-8, -19),  # EdDSA, Ed25519
    "rsa-pss-sha256": (-37,),  # PS256
}
# RFC 9053 section 2.1: r and s, each as long as the curve's order.
_COORDINATE_BYTES: Final = {"ecdsa-p256-sha256": 32, "ecdsa-p384-sha384": 48, "ecdsa-p521-sha512": 66}
_MAX_CHAIN: Final = 8
_PARTS: Final = 4


class Sign1(msgspec.Struct, frozen=True):
    """A parsed message; nothing in it is verified.

    Attributes:
        protected: the protected header's bytes, as signed.
        header: the same, decoded.
        payload: the bytes that are signed.
        signature: raw.
    """

    protected: bytes
    header: dict[Any, Any]
    payload: bytes
    signature: bytes

    @property
    def chain(self) -> tuple[bytes, ...]:
        """Certificates of ``x5chain``, DER, the signer's first; empty where there is none."""
        value = self.header.get(X5CHAIN)
        if value is None:
            return ()
        chain = [value] if isinstance(value, bytes) else value
        if (
            not isinstance(chain, list)
            or not 1 <= len(chain) <= _MAX_CHAIN
            or not all(isinstance(item, bytes) for item in chain)
        ):
            raise ManifestMalformed("x5chain is not a certificate, or a list of one to eight")
        return tuple(chain)

    @property
    def to_be_signed(self) -> bytes:
        """Sig_structure (RFC 9052 section 4.4), without external data."""
        return cbor.encode(["Signature1", self.protected, b"", self.payload])


def parse(data: bytes) -> Sign1:
    """Decode a message.

    Raises:
        ManifestMalformed: see the module's text.
        StatementUnsigned: the signature is empty.
    """
    value = cbor.decode(data, what="the signed CoRIM", tags=frozenset({COSE_SIGN1_TAG}) | _HEADER_TAGS)
    if not isinstance(value, CBORTag) or value.tag != COSE_SIGN1_TAG:
        raise ManifestMalformed("the signed CoRIM is not a COSE_Sign1 with tag 18")
    parts = value.value
    if not isinstance(parts, list) or len(parts) != _PARTS:
        raise ManifestMalformed("a COSE_Sign1 has four elements")
    protected, unprotected, payload, signature = parts
    if not isinstance(protected, bytes) or not isinstance(signature, bytes):
        raise ManifestMalformed("the protected header or the signature is not a byte string")
    if not isinstance(unprotected, dict) or unprotected:
        raise ManifestMalformed(
            "the unprotected header is not an empty map: what is not signed is not read"
        )
    if not isinstance(payload, bytes):
        raise ManifestMalformed("the payload is not attached")
    if not signature:
        raise StatementUnsigned("the COSE signature is empty")
    return Sign1(protected, _header(protected), payload, signature)


def verify(message: Sign1, keys: Sequence[tuple[str, VerificationKey]]) -> VerificationKey:
    """The one of ``keys`` that signed.

    Args:
        message: the parsed message.
        keys: candidates, each with the key id that the trust policy gives it (the SHA-256 of its
            SubjectPublicKeyInfo, hex, is understood too).

    Raises:
        SignerUntrusted: the key id, or the algorithm where there is none, is of no candidate.
        StatementSignatureInvalid: the algorithm is not the named key's, or the signature does not hold.
    """
    candidates = [key for name, key in keys if _is_named(message.header.get(KID), name, key)]
    if not candidates:
        raise SignerUntrusted("the key id of the COSE signature is of no key that the trust policy names")
    algorithm = message.header[ALG]
    fitting = [key for key in candidates if algorithm in ALGORITHMS.get(key.algorithm, ())]
    if not fitting:
        if KID in message.header:
            raise StatementSignatureInvalid("the COSE algorithm is not the one of the key that is named")
        raise SignerUntrusted("no key that the trust policy names has the COSE signature's algorithm")
    message_bytes = message.to_be_signed
    for key in fitting:
        if _holds(key, message.signature, message_bytes):
            return key
    raise StatementSignatureInvalid("the COSE signature does not verify")


def verify_with_certificate(message: Sign1, key: VerificationKey) -> None:
    """Verify with the key of a certificate whose path was validated before.

    Raises:
        SignerCertificateInvalid: the key has no COSE algorithm here (RSA).
        StatementSignatureInvalid: another algorithm in the header, or the signature does not hold.
    """
    algorithms = ALGORITHMS.get(key.algorithm)
    if algorithms is None:
        raise SignerCertificateInvalid("the certificate's key has no COSE algorithm that is read here")
    if message.header[ALG] not in algorithms:
        raise StatementSignatureInvalid("the COSE algorithm is not the one of the certificate's key")
    if not _holds(key, message.signature, message.to_be_signed):
        raise StatementSignatureInvalid("the COSE signature does not verify")


# Tags 1 (time) and 32 (URI, RFC 8949 section 3.4.5.3) may stand in the CWT claims.
_HEADER_TAGS: Final = frozenset({1, 32})


def _header(protected: bytes) -> dict[Any, Any]:
    header = cbor.decode(protected, what="the protected header", tags=_HEADER_TAGS)
    if not isinstance(header, dict):
        raise ManifestMalformed("the protected header is not a map")
    if CRIT in header:
        raise ManifestMalformed(
            "the protected header has critical parameters (crit), and none is understood"
        )
    unknown = set(header) - _KNOWN
    if unknown:
        raise ManifestMalformed(f"the protected header has parameters that are not read: {_shown(unknown)}")
    algorithm = header.get(ALG)
    if not isinstance(algorithm, int) or isinstance(algorithm, bool):
        raise ManifestMalformed("the protected header names no algorithm by number")
    if header.get(CONTENT) != CONTENT_TYPE:
        raise ManifestMalformed(f"the content type is not {CONTENT_TYPE}")
    if KID in header and not (isinstance(header[KID], bytes) and header[KID]):
        raise ManifestMalformed("the key id is not a byte string")
    return header


def _is_named(kid: object, name: str, key: VerificationKey) -> bool:
    if kid is None:
        return True
    return kid in (name.encode(), key.spki_sha256.encode(), bytes.fromhex(key.spki_sha256))


def _holds(key: VerificationKey, signature: bytes, message: bytes) -> bool:
    width = _COORDINATE_BYTES.get(key.algorithm)
    if width is None:
        return key.verifies(signature, message)
    if len(signature) != 2 * width:
        return False
    r, s = int.from_bytes(signature[:width], "big"), int.from_bytes(signature[width:], "big")
    return key.verifies(encode_dss_signature(r, s), message)


def _shown(labels: set[Any]) -> str:
    return ", ".join(ascii(str(label)[:32]) for label in sorted(labels, key=str)[:4])
