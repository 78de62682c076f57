"""An attestation key of which only the SubjectPublicKeyInfo is known, as a TPMT_PUBLIC.

Its attributes are then not shown by anything: such a key is trusted from an allow-list or not at all.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from common.errors import Malformed
from verifier.tpm.algorithms import ALG_ECC, ALG_ECDSA, ALG_NULL, ALG_RSA, ALG_RSASSA, ALG_SHA256, CURVES
from verifier.tpm.public import (
    FIXED_PARENT,
    FIXED_TPM,
    RESTRICTED,
    SENSITIVE_DATA_ORIGIN,
    SIGN,
    PublicArea,
    parse_public,
)

_USER_WITH_AUTH: Final = 1 << 6  # TPMA_OBJECT, TPM 2.0 Part 2 section 8.3
_AK_ATTRIBUTES: Final = (
    FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | _USER_WITH_AUTH | RESTRICTED | SIGN
)


def spki_of_pem(pem: bytes) -> bytes:
    """SubjectPublicKeyInfo (DER) of a PEM file.

    Raises:
        Malformed: it is not a public key.
    """
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("the attestation key is not PEM") from error
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_of_spki(spki: bytes) -> PublicArea:
    """The TPMT_PUBLIC that tpm2_createak makes for a key, with SHA-256 (TPM 2.0 Part 2 section 12.2.4)."""
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("the attestation key is not a SubjectPublicKeyInfo") from error
    if isinstance(key, rsa.RSAPublicKey):
        kind, scheme = ALG_RSA, ALG_RSASSA
        modulus = key.public_numbers().n.to_bytes((key.key_size + 7) // 8, "big")
        unique = _u16(key.key_size) + bytes(4) + _sized(modulus)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        kind, scheme = ALG_ECC, ALG_ECDSA
        numbers, size = key.public_numbers(), (key.key_size + 7) // 8
        curve = next((number for number, known in CURVES.items() if known.name == key.curve.name), 0)
        point = _sized(numbers.x.to_bytes(size, "big")) + _sized(numbers.y.to_bytes(size, "big"))
        unique = _u16(curve) + _u16(ALG_NULL) + point
    else:
        raise Malformed("the attestation key is neither RSA nor ECC")
    head = _u16(kind) + _u16(ALG_SHA256) + _AK_ATTRIBUTES.to_bytes(4, "big") + _sized(b"")
    return parse_public(head + _u16(ALG_NULL) + _u16(scheme) + _u16(ALG_SHA256) + unique)


def _u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _sized(data: bytes) -> bytes:
    return _u16(len(data)) + data
