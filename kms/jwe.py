"""Encryption of a secret to the guest's key: compact JWE (RFC 7516), algorithm fixed by the key.

=================  ==========================  ============================================
guest's key        ``alg`` (RFC 7518 sec. 4)   refused
=================  ==========================  ============================================
EC P-256/384/521   ``ECDH-ES+A256KW``          other curves, points off the curve
RSA                ``RSA-OAEP-256``            below 3072 or above 8192 bits, e < 65537
=================  ==========================  ============================================

``enc`` is always ``A256GCM``, ``zip`` is never set. The protected header, which the content encryption
authenticates, also carries ``resource`` (``kind/id``), ``version`` and ``ear_jti``: a JWE that was
recorded in one session cannot pass as the answer of another one or for another secret.

RSA1_5, which CoCo still accepts, is not offered (Bleichenbacher).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.registry import HeaderParameter

from common.encoding import b64url_decode
from common.errors import InputError
from kms.errors import RecipientKeyRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENCRYPTION = "A256GCM"
_EC_ALGORITHM = "ECDH-ES+A256KW"
_RSA_ALGORITHM = "RSA-OAEP-256"
# RFC 7518 section 6.2.1: curve and octets of a coordinate.
_CURVES: Mapping[str, tuple[ec.EllipticCurve, int]] = {
    "P-256": (ec.SECP256R1(), 32),
    "P-384": (ec.SECP384R1(), 48),
    "P-521": (ec.SECP521R1(), 66),
}
_MIN_RSA_BITS = 3072  # NIST SP 800-57 Part 1 table 2: 128 bits of strength
_MAX_RSA_BITS = 8192  # bounds the work a guest can ask for
_MIN_RSA_EXPONENT = 65537  # FIPS 186-5 appendix A.1.1
_MAX_RSA_EXPONENT = 2**32
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_HEADER = {
    "resource": HeaderParameter("kind and id of the secret", "str", required=True),
    "version": HeaderParameter("version of the secret", "int", required=True),
    "ear_jti": HeaderParameter("id of the attestation result", "str", required=True),
}


class Recipient(msgspec.Struct, frozen=True):
    """A guest's key that was accepted.

    Attributes:
        algorithm: the one JWE ``alg`` for it.
        key: the imported public key.
    """

    algorithm: str
    key: ECKey | RSAKey


def recipient(jwk: Mapping[str, Any]) -> Recipient:
    """Import a guest's public JWK.

    Only the members that make the key are read; ``alg`` and ``use``, where present, must agree.

    Raises:
        RecipientKeyRefused: of a kind, curve or size that is not offered, malformed, or private.
    """
    if _PRIVATE_MEMBERS & jwk.keys():
        raise RecipientKeyRefused("the guest's key has private members")
    importers = {"EC": _import_ec, "RSA": _import_rsa}
    importer = importers.get(str(jwk.get("kty")))
    if importer is None:
        raise RecipientKeyRefused("the guest's key is neither EC nor RSA")
    try:
        result = importer(jwk)
    except (ValueError, InputError, JoseError) as error:
        raise RecipientKeyRefused("the guest's key is malformed") from error
    if jwk.get("alg", result.algorithm) != result.algorithm or jwk.get("use", "enc") != "enc":
        raise RecipientKeyRefused(f"the guest's key is not for {result.algorithm}")
    return result


def encrypt(to: Recipient, plaintext: bytes, *, resource: str, version: int, ear_jti: str) -> str:
    """The secret as a compact JWE.

    Args:
        to: the key that the evidence bound.
        plaintext: the secret.
        resource: ``kind/id``.
        version: the version released.
        ear_jti: id of the attestation result.
    """
    algorithms = [to.algorithm, _ENCRYPTION]
    header = {
        "alg": to.algorithm,
        "enc": _ENCRYPTION,
        "resource": resource,
        "version": version,
        "ear_jti": ear_jti,
    }
    registry = jwe.JWERegistry(header_registry=_HEADER, algorithms=algorithms)
    return jwe.encrypt_compact(header, plaintext, to.key, registry=registry)


def _import_ec(jwk: Mapping[str, Any]) -> Recipient:
    known = _CURVES.get(str(jwk.get("crv")))
    if known is None:
        raise RecipientKeyRefused("the guest's EC key is not on P-256, P-384 or P-521")
    curve, size = known
    x, y = (_member(jwk, name) for name in ("x", "y"))
    if len(x) != size or len(y) != size:
        raise RecipientKeyRefused(f"a coordinate on {jwk['crv']} has {size} octets")
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve)
    return Recipient(_EC_ALGORITHM, ECKey.import_key(numbers.public_key()))


def _import_rsa(jwk: Mapping[str, Any]) -> Recipient:
    n, e = (int.from_bytes(_member(jwk, name), "big") for name in ("n", "e"))
    if not _MIN_RSA_BITS <= n.bit_length() <= _MAX_RSA_BITS:
        raise RecipientKeyRefused(f"the guest's RSA key has {n.bit_length()} bits")
    if not _MIN_RSA_EXPONENT <= e <= _MAX_RSA_EXPONENT:
        raise RecipientKeyRefused("the guest's RSA key has an exponent that is not offered")
    return Recipient(_RSA_ALGORITHM, RSAKey.import_key(rsa.RSAPublicNumbers(e, n).public_key()))


def _member(jwk: Mapping[str, Any], name: str) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise RecipientKeyRefused(f"the guest's key has no {name}")
    return b64url_decode(value, what=name)
