"""Encryption of what a KBS hands out to the guest's key: flattened JWE (RFC 7516 section 7.2.2).

The algorithm is the key's; nothing is tried, and ``kty``, ``crv`` and ``alg`` must agree:

==========================  ======================  ================================================
key                         ``alg``                 source
==========================  ======================  ================================================
EC P-256, P-384, P-521      ``ECDH-ES+A256KW``      RFC 7518 section 4.6; ``epk`` in the header
RSA of 2048 to 8192 bits    ``RSA-OAEP-256``        RFC 7518 section 4.3
the same                    ``RSA1_5``              RFC 7518 section 4.2; with the compatibility
                                                    switch alone (Bleichenbacher)
AKP, ML-KEM-768             ``ML-KEM-768+A192KW``   draft-ietf-jose-pqc-kem-05 as the KBS reads it;
                                                    ``ek`` in the header
==========================  ======================  ================================================

``enc`` is ``A256GCM``; content key and IV are fresh for each answer. The header's members stand in the
order ``alg``, ``enc``, then ``epk`` or ``ek``; its base64url text is the additional authenticated data, and
there is no ``aad`` member. Clients of Confidential Containers make RSA keys of 2048 bits: that is the floor
here, below the 3072 bits of our own protocol (``kms.jwe``).

Written on the primitives and not on joserfc because every release passes here; tests hold the result
against joserfc.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import msgspec
from Crypto.Hash import KMAC256
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from coco.errors import TeeKeyRefused
from common.encoding import b64url_encode
from common.errors import InputError
from kms import guest_keys
from wire.kbs import EncryptedResource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ECDH_ES_A256KW: Final = "ECDH-ES+A256KW"
RSA_OAEP_256: Final = "RSA-OAEP-256"
RSA1_5: Final = "RSA1_5"
ML_KEM_768_A192KW: Final = "ML-KEM-768+A192KW"
_ENCRYPTION: Final = "A256GCM"
_CEK_BYTES: Final = 32
_IV_BYTES: Final = 12  # RFC 7518 section 5.3
_TAG_BYTES: Final = 16
_A192_BYTES: Final = 24
_MIN_RSA_BITS: Final = 2048  # NIST SP 800-57 Part 1 table 2: 112 bits of strength
_ML_KEM_768_BYTES: Final = 1184  # FIPS 203 table 3
_OAEP_256: Final = padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)
_PKCS1: Final = padding.PKCS1v15()


def _fixed_info(algorithm: str, bits: int, parties: int) -> bytes:
    """AlgorithmID, so many empty party fields, and SuppPubInfo (RFC 7518 section 4.6.2)."""
    name = algorithm.encode("ascii")
    return len(name).to_bytes(4, "big") + name + bytes(4 * parties) + bits.to_bytes(4, "big")


_ECDH_INFO: Final = _fixed_info(ECDH_ES_A256KW, 256, 2)
# The draft leaves the party fields out.
_ML_KEM_INFO: Final = _fixed_info(ML_KEM_768_A192KW, 192, 0)


class Recipient(msgspec.Struct, frozen=True):
    """A guest's key that was accepted.

    Attributes:
        algorithm: the one JWE ``alg`` for it.
        curve: ``crv`` of an EC key; empty for the others.
        key: the public key.
    """

    algorithm: str
    curve: str
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | MLKEM768PublicKey


def recipient(jwk: Mapping[str, Any], *, allow_rsa1_5: bool) -> Recipient:
    """Import a guest's public JWK.

    Only the members that make the key are read. Where ``alg`` is missing an EC or RSA key gets the
    strong one of its kind.

    Args:
        jwk: as the runtime data holds it.
        allow_rsa1_5: the compatibility switch for ``alg`` RSA1_5.

    Raises:
        TeeKeyRefused: of a kind, curve, size or algorithm that is not offered, malformed, or private.
    """
    guest_keys.refuse_private(jwk, TeeKeyRefused)
    importer = _IMPORTERS.get(str(jwk.get("kty")))
    if importer is None:
        raise TeeKeyRefused("the guest's key is neither EC nor RSA nor AKP")
    if jwk.get("use", "enc") != "enc":
        raise TeeKeyRefused("the guest's key is not for encryption")
    try:
        result = importer(jwk)
    except (ValueError, InputError) as error:
        raise TeeKeyRefused("the guest's key is malformed") from error
    if result.algorithm == RSA1_5 and not allow_rsa1_5:
        raise TeeKeyRefused("the guest's key asks for RSA1_5, which is switched off")
    return result


def encrypt(to: Recipient, plaintext: bytes) -> EncryptedResource:
    """The plaintext under a fresh content key, which the guest's key alone opens.

    Args:
        to: the key that the evidence bound.
        plaintext: the secret.
    """
    content_key = os.urandom(_CEK_BYTES)
    extra, encrypted_key = _WRAPPERS[to.algorithm](to, content_key)
    header = f'{{"alg":"{to.algorithm}","enc":"{_ENCRYPTION}"{extra}}}'
    protected = b64url_encode(header.encode("ascii"))
    iv = os.urandom(_IV_BYTES)
    sealed = AESGCM(content_key).encrypt(iv, plaintext, protected.encode("ascii"))
    return EncryptedResource(
        protected=protected,
        encrypted_key=b64url_encode(encrypted_key),
        iv=b64url_encode(iv),
        ciphertext=b64url_encode(sealed[:-_TAG_BYTES]),
        tag=b64url_encode(sealed[-_TAG_BYTES:]),
    )


def _wrap_ec(to: Recipient, content_key: bytes) -> tuple[str, bytes]:
    assert isinstance(to.key, ec.EllipticCurvePublicKey)
    curve, size = guest_keys.CURVES[to.curve]
    ephemeral = ec.generate_private_key(curve)
    shared = ephemeral.exchange(ec.ECDH(), to.key)
    wrapping_key = ConcatKDFHash(SHA256(), 32, _ECDH_INFO).derive(shared)
    point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    x, y = b64url_encode(point[1 : 1 + size]), b64url_encode(point[1 + size :])
    extra = f',"epk":{{"crv":"{to.curve}","kty":"EC","x":"{x}","y":"{y}"}}'
    return extra, aes_key_wrap(wrapping_key, content_key)


def _wrap_oaep(to: Recipient, content_key: bytes) -> tuple[str, bytes]:
    assert isinstance(to.key, rsa.RSAPublicKey)
    return "", to.key.encrypt(content_key, _OAEP_256)


def _wrap_pkcs1(to: Recipient, content_key: bytes) -> tuple[str, bytes]:
    assert isinstance(to.key, rsa.RSAPublicKey)
    return "", to.key.encrypt(content_key, _PKCS1)


def _wrap_ml_kem(to: Recipient, content_key: bytes) -> tuple[str, bytes]:
    assert isinstance(to.key, MLKEM768PublicKey)
    shared, encapsulated = to.key.encapsulate()
    kmac = KMAC256.new(key=shared, data=_ML_KEM_INFO, mac_len=_A192_BYTES, custom=b"")
    return f',"ek":"{b64url_encode(encapsulated)}"', aes_key_wrap(kmac.digest(), content_key)


def _import_ec(jwk: Mapping[str, Any]) -> Recipient:
    name, key = guest_keys.ec_key(jwk, TeeKeyRefused)
    return Recipient(_algorithm(jwk, ECDH_ES_A256KW), name, key)


def _import_rsa(jwk: Mapping[str, Any]) -> Recipient:
    algorithm = _algorithm(jwk, RSA_OAEP_256, RSA1_5)
    return Recipient(algorithm, "", guest_keys.rsa_key(jwk, TeeKeyRefused, min_bits=_MIN_RSA_BITS))


def _import_akp(jwk: Mapping[str, Any]) -> Recipient:
    # The parameter set of an AKP key is its algorithm: there is no default.
    if jwk.get("alg") != ML_KEM_768_A192KW:
        raise TeeKeyRefused(f"the guest's AKP key is not for {ML_KEM_768_A192KW}")
    public = guest_keys.member(jwk, "pub", TeeKeyRefused)
    if len(public) != _ML_KEM_768_BYTES:
        raise TeeKeyRefused(f"an ML-KEM-768 key has {_ML_KEM_768_BYTES} octets")
    return Recipient(ML_KEM_768_A192KW, "", MLKEM768PublicKey.from_public_bytes(public))


def _algorithm(jwk: Mapping[str, Any], *offered: str) -> str:
    algorithm = jwk.get("alg", offered[0])
    if not isinstance(algorithm, str) or algorithm not in offered:
        raise TeeKeyRefused(f"the guest's key is not for {' or '.join(offered)}")
    return algorithm


_IMPORTERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Recipient]]] = {
    "EC": _import_ec,
    "RSA": _import_rsa,
    "AKP": _import_akp,
}
_WRAPPERS: Final[Mapping[str, Callable[[Recipient, bytes], tuple[str, bytes]]]] = {
    ECDH_ES_A256KW: _wrap_ec,
    RSA_OAEP_256: _wrap_oaep,
    RSA1_5: _wrap_pkcs1,
    ML_KEM_768_A192KW: _wrap_ml_kem,
}
