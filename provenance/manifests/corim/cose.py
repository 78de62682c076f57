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

from common import cose
from common.cose import ALG, COSE_SIGN1_TAG, KID, X5CHAIN
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

__all__ = [
    "ALG", "ALGORITHMS", "CONTENT", "CONTENT_TYPE", "CORIM_META", "COSE_SIGN1_TAG", "CWT_CLAIMS", "KID",
    "X5CHAIN", "Sign1", "parse", "verify", "verify_with_certificate",
]  # fmt: skip

CONTENT_TYPE: Final = "application/rim+cbor"  # draft-ietf-rats-corim-11 section 11.12.1
# IANA COSE Header Parameters, beside those of ``common.cose``.
CONTENT, CORIM_META, CWT_CLAIMS = 3, 8, 15
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


class Sign1(cose.Sign1, frozen=True):
    """A parsed message of a CoRIM; nothing in it is verified."""

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


def parse(data: bytes) -> Sign1:
    """Decode a message.

    Raises:
        ManifestMalformed: see the module's text.
        StatementUnsigned: the signature is empty.
    """
    message = cose.parse(
        data,
        what="the signed CoRIM",
        kind=Sign1,
        tags=_HEADER_TAGS,
        limits=cbor.LIMITS,
        error=ManifestMalformed,
    )
    if not message.signature:
        raise StatementUnsigned("the COSE signature is empty")
    _require_header(message.header)
    return message


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


def _require_header(header: dict[Any, Any]) -> None:
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


def _is_named(kid: object, name: str, key: VerificationKey) -> bool:
    if kid is None:
        return True
    return kid in (name.encode(), key.spki_sha256.encode(), bytes.fromhex(key.spki_sha256))


def _holds(key: VerificationKey, signature: bytes, message: bytes) -> bool:
    width = _COORDINATE_BYTES.get(key.algorithm)
    if width is None:
        return key.verifies(signature, message)
    der = cose.dss_signature(signature, width)
    return der is not None and key.verifies(der, message)


def _shown(labels: set[Any]) -> str:
    return ", ".join(ascii(str(label)[:32]) for label in sorted(labels, key=str)[:4])
