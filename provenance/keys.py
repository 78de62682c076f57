"""Public keys, each bound to exactly one signature algorithm: verification never tries a second one.

A raw key's algorithm is named by the trust policy; a certificate's follows from its key, as Sigstore's
algorithm registry pairs them. Supported: ECDSA over P-256, P-384 and P-521 with the SHA-2 hash of the
same strength (FIPS 186-5) in DER, for P-256 also in IEEE P1363 form; Ed25519 (RFC 8032); RSA-PSS and RSA
PKCS#1 v1.5 with SHA-256 and at least 2048 bits (RFC 8017).

Source of the pairing: sigstore/architecture-docs, algorithm-registry.md.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from provenance.errors import SignerCertificateInvalid, TrustPolicyInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography import x509

_EC: Final[Mapping[str, tuple[type[ec.EllipticCurve], type[hashes.HashAlgorithm]]]] = {
    "ecdsa-p256-sha256": (ec.SECP256R1, hashes.SHA256),
    "ecdsa-p384-sha384": (ec.SECP384R1, hashes.SHA384),
    "ecdsa-p521-sha512": (ec.SECP521R1, hashes.SHA512),
}
_ED25519: Final = "ed25519"
_RSA_PSS: Final = "rsa-pss-sha256"
_RSA_PKCS1: Final = "rsa-pkcs1v15-sha256"
# The same signature as r and s side by side (IEEE P1363) instead of in DER: some services sign so.
_P1363: Final = "ecdsa-p256-sha256-p1363"
_P1363_BYTES: Final = 64
ALGORITHMS: Final = (*_EC, _P1363, _ED25519, _RSA_PSS, _RSA_PKCS1)
_MIN_RSA_BITS: Final = 2048

_Key = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


class VerificationKey:
    """A public key and its one algorithm; made by ``from_pem`` or ``from_certificate``.

    Attributes:
        algorithm: one of ``ALGORITHMS``.
        der: SubjectPublicKeyInfo, DER.
        spki_sha256: SHA-256 of ``der``, hex: the key's identity everywhere.
    """

    __slots__ = ("_key", "algorithm", "der", "spki_sha256")

    def __init__(self, algorithm: str, key: _Key) -> None:
        """Bind ``key`` to ``algorithm``, which the caller has checked to fit."""
        self.algorithm = algorithm
        self._key = key
        self.der = key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.spki_sha256 = hashlib.sha256(self.der).hexdigest()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether ``signature`` is this key's over ``message``."""
        try:
            self._verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def _verify(self, signature: bytes, message: bytes) -> None:
        key = self._key
        if self.algorithm == _P1363 and isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(_der_of_p1363(signature), message, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(_EC[self.algorithm][1]()))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        elif self.algorithm == _RSA_PSS:
            # RFC 8017 section 9.1: salt as long as the hash, the only length accepted here.
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
            key.verify(signature, message, pss, hashes.SHA256())
        else:
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())


def from_pem(algorithm: str, pem: str) -> VerificationKey:
    """The key of a trust policy.

    Args:
        algorithm: one of ``ALGORITHMS``.
        pem: SubjectPublicKeyInfo, PEM.

    Raises:
        TrustPolicyInvalid: not a public key, or not one of that algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise TrustPolicyInvalid(f"a key's algorithm is not one of {', '.join(ALGORITHMS)}")
    try:
        key = serialization.load_pem_public_key(pem.encode("utf-8"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustPolicyInvalid("a key is not a PEM public key") from error
    if isinstance(key, _Key) and algorithm in _fitting(key):
        return VerificationKey(algorithm, key)
    raise TrustPolicyInvalid(f"a key is not an {algorithm} key")


def from_public_pem(pem: str) -> VerificationKey:
    """A key by itself, with the algorithm that the registry pairs with it (of RSA: PKCS#1 v1.5).

    Raises:
        TrustPolicyInvalid: not a public key, or of a kind that is not supported.
    """
    try:
        key = serialization.load_pem_public_key(pem.encode("utf-8"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustPolicyInvalid("a key is not a PEM public key") from error
    if isinstance(key, _Key):
        for algorithm in _fitting(key)[-1:]:
            return VerificationKey(algorithm, key)
    raise TrustPolicyInvalid("a key's type is not supported")


def from_certificate(certificate: x509.Certificate) -> VerificationKey:
    """The key of a signing certificate, with the algorithm that the registry pairs with it.

    Raises:
        SignerCertificateInvalid: a key type or size that is not supported.
    """
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignerCertificateInvalid("the signing certificate's key cannot be read") from error
    if isinstance(key, _Key):
        # The registry's RSA algorithm for signing certificates is PKCS#1 v1.5, the last of RSA's two.
        for algorithm in _fitting(key)[-1:]:
            return VerificationKey(algorithm, key)
    raise SignerCertificateInvalid("the signing certificate's key type is not supported")


def _der_of_p1363(signature: bytes) -> bytes:
    if len(signature) != _P1363_BYTES:
        raise InvalidSignature
    half = _P1363_BYTES // 2
    r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    return encode_dss_signature(r, s)


def _fitting(key: _Key) -> tuple[str, ...]:
    if isinstance(key, ec.EllipticCurvePublicKey):
        names = tuple(name for name, (curve, _) in _EC.items() if isinstance(key.curve, curve))
        return (_P1363, *names) if isinstance(key.curve, ec.SECP256R1) else names
    if isinstance(key, ed25519.Ed25519PublicKey):
        return (_ED25519,)
    return (_RSA_PSS, _RSA_PKCS1) if key.key_size >= _MIN_RSA_BITS else ()
