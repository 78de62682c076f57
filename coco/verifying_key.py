"""Public keys that signatures of others' tokens are verified with.

A key has one algorithm: its own (EC by curve, Ed25519), or of RSA what its JWK or the setting says. A
token's header is compared with it and chooses nothing; ``none`` and ``HS*`` belong to no key.

Sources: RFC 7517, RFC 7518 section 3, RFC 8037.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from coco.errors import CocoSetting
from common.encoding import b64url_decode
from common.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final[Mapping[str, str]] = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_JWK_CURVES: Final[Mapping[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_HASHES: Final[Mapping[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
_EDDSA: Final = "EdDSA"
# RFC 9864 gives EdDSA over Ed25519 this name of its own; the signature is the same.
_NAMES: Final[Mapping[str, str]] = {"Ed25519": _EDDSA}
_MIN_RSA_BITS: Final = 2048
_MAX_RSA_BITS: Final = 8192

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


class VerifyingKey:
    """A public key with its one algorithm.

    Attributes:
        algorithm: JWS ``alg``.
        kid: its id, if the JWK has one.
    """

    def __init__(self, algorithm: str, key: PublicKey, kid: str | None) -> None:
        """Bind the key to the algorithm, which fits it."""
        self.algorithm = algorithm
        self.kid = kid
        self._key = key

    @property
    def public_key(self) -> PublicKey:
        """The key itself."""
        return self._key

    def fits(self, header: Mapping[str, Any]) -> bool:
        """Whether a token with this header can be this key's."""
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or _NAMES.get(algorithm, algorithm) != self.algorithm:
            return False
        return self.kid is None or header.get("kid", self.kid) == self.kid

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether ``signature``, in the form of RFC 7518, is this key's over ``message``."""
        try:
            self._verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def _verify(self, signature: bytes, message: bytes) -> None:
        key = self._key
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
            return
        digest = _HASHES[self.algorithm[2:]]()
        if isinstance(key, ec.EllipticCurvePublicKey):
            size = (key.key_size + 7) // 8
            if len(signature) != 2 * size:
                raise InvalidSignature
            r, s = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
            key.verify(encode_dss_signature(r, s), message, ec.ECDSA(digest))
        elif self.algorithm.startswith("PS"):
            # RFC 7518 section 3.5: the salt is as long as the hash.
            key.verify(signature, message, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        else:
            key.verify(signature, message, padding.PKCS1v15(), digest)


def key_from_pem(data: bytes, rsa_algorithm: str) -> VerifyingKey:
    """The key of a PEM file (SubjectPublicKeyInfo).

    Args:
        data: the file.
        rsa_algorithm: of an RSA key.

    Raises:
        CocoSetting: not a public key of these kinds.
    """
    try:
        return _bound(load_pem_public_key(data), rsa_algorithm, None)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CocoSetting("a key file is not a PEM public key") from error


def key_from_jwk(jwk: object, rsa_algorithm: str) -> VerifyingKey:
    """The key of a public JWK.

    Args:
        jwk: EC, OKP (Ed25519) or RSA.
        rsa_algorithm: of an RSA key that names none.

    Raises:
        CocoSetting: not a public signature key of these, or ``alg`` is not its key's.
    """
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
        raise CocoSetting("a JWK is not one for signatures")
    named, kid = jwk.get("alg"), jwk.get("kid")
    if not isinstance(kid, str | None) or "d" in jwk:
        raise CocoSetting("a JWK has a private member, or a key id that is no text")
    try:
        public = _public(jwk)
    except (InputError, ValueError) as error:
        raise CocoSetting("a JWK is malformed") from error
    key = _bound(public, named if named in RSA_ALGORITHMS else rsa_algorithm, kid)
    if named is not None and _NAMES.get(str(named), named) != key.algorithm:
        raise CocoSetting("a JWK names an algorithm that is not its key's")
    return key


def _public(jwk: Mapping[str, Any]) -> object:
    kty, curve = jwk.get("kty"), jwk.get("crv")
    if kty == "RSA":
        n, e = (int.from_bytes(_member(jwk, name), "big") for name in ("n", "e"))
        return rsa.RSAPublicNumbers(e, n).public_key()
    if kty == "OKP" and curve == "Ed25519":
        return ed25519.Ed25519PublicKey.from_public_bytes(_member(jwk, "x"))
    if kty == "EC" and isinstance(curve, str) and curve in _JWK_CURVES:
        point = b"\x04" + _member(jwk, "x") + _member(jwk, "y")  # SEC 1 section 2.3.3
        return ec.EllipticCurvePublicKey.from_encoded_point(_JWK_CURVES[curve], point)
    raise CocoSetting("a JWK is not of kind EC, OKP or RSA, or on a curve that is not offered")


def _member(jwk: Mapping[str, Any], name: str) -> bytes:
    return b64url_decode(str(jwk.get(name)), what=name)


def _bound(key: object, rsa_algorithm: str, kid: str | None) -> VerifyingKey:
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return VerifyingKey(_CURVES[key.curve.name], key, kid)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return VerifyingKey(_EDDSA, key, kid)
    if isinstance(key, rsa.RSAPublicKey) and _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
        return VerifyingKey(rsa_algorithm, key, kid)
    raise CocoSetting("a key is not EC P-256, P-384, P-521, Ed25519 or RSA of 2048 to 8192 bits")
