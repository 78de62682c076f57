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
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.registry import HeaderParameter

from common.errors import InputError
from kms import guest_keys
from kms.errors import RecipientKeyRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENCRYPTION = "A256GCM"
_EC_ALGORITHM = "ECDH-ES+A256KW"
_RSA_ALGORITHM = "RSA-OAEP-256"
_MIN_RSA_BITS = 3072  # NIST SP 800-57 Part 1 table 2: 128 bits of strength
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
    guest_keys.refuse_private(jwk, RecipientKeyRefused)
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
    _, key = guest_keys.ec_key(jwk, RecipientKeyRefused)
    return Recipient(_EC_ALGORITHM, ECKey.import_key(key))


def _import_rsa(jwk: Mapping[str, Any]) -> Recipient:
    key = guest_keys.rsa_key(jwk, RecipientKeyRefused, min_bits=_MIN_RSA_BITS)
    return Recipient(_RSA_ALGORITHM, RSAKey.import_key(key))
