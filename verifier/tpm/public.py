"""TPMT_PUBLIC: the public area of a key, as the TPM marshals it, and its attributes.

Big endian. Source: TPM 2.0 Library 1.59 Part 2, section 12.2.4 (TPMT_PUBLIC), 12.2.3 (parameters), 8.3
(TPMA_OBJECT), 11.2 (schemes). Only asymmetric keys are read: RSA of 2048 to 4096 bits and ECC on NIST
P-256, P-384, P-521. The name of a key covers all of these bytes, so nothing may follow them.
"""

from __future__ import annotations

from typing import Final

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from common.binary import Reader
from common.errors import Malformed
from verifier.errors import UnsupportedEvidence
from verifier.tpm.algorithms import (
    ALG_ECC,
    ALG_ECDAA,
    ALG_NULL,
    ALG_RSA,
    ALG_RSAES,
    CURVES,
)

# TPMA_OBJECT, Part 2 section 8.3.
FIXED_TPM: Final = 1 << 1
FIXED_PARENT: Final = 1 << 4
SENSITIVE_DATA_ORIGIN: Final = 1 << 5
RESTRICTED: Final = 1 << 16
DECRYPT: Final = 1 << 17
SIGN: Final = 1 << 18

_MAX_PUBLIC: Final = 1024
_MIN_RSA_BITS: Final = 2048
_MAX_RSA_BITS: Final = 4096
_DEFAULT_EXPONENT: Final = 65537  # Part 2 section 12.2.3.5: exponent 0 stands for 2^16 + 1

AttestationPublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class PublicArea(msgspec.Struct, frozen=True):
    """A parsed TPMT_PUBLIC.

    Attributes:
        raw: the bytes, exactly.
        type: TPM_ALG_RSA or TPM_ALG_ECC.
        name_algorithm: TPM_ALG_ID of the name's hash.
        attributes: TPMA_OBJECT bits.
        scheme: TPM_ALG_ID of the signing scheme, TPM_ALG_NULL if the key fixes none.
        scheme_hash: TPM_ALG_ID of the scheme's hash, TPM_ALG_NULL without one.
        key: the public key.
        spki: SubjectPublicKeyInfo, DER.
    """

    raw: bytes
    type: int
    name_algorithm: int
    attributes: int
    scheme: int
    scheme_hash: int
    key: AttestationPublicKey
    spki: bytes


def parse_public(data: bytes) -> PublicArea:
    """Parse a TPMT_PUBLIC (without the TPM2B size).

    Raises:
        Malformed: too long, cut short, bytes after the end, or the key is not a valid point or modulus.
        UnsupportedEvidence: not RSA or ECC, a curve or key size outside the accepted ones.
    """
    if len(data) > _MAX_PUBLIC:
        raise Malformed(f"TPMT_PUBLIC has {len(data)} bytes, the limit is {_MAX_PUBLIC}")
    reader = Reader(data, "TPMT_PUBLIC", "big")
    kind = reader.u16("type")
    if kind not in (ALG_RSA, ALG_ECC):
        raise UnsupportedEvidence(f"attestation key of type {kind:#06x}; RSA and ECC are accepted")
    name_algorithm = reader.u16("nameAlg")
    attributes = reader.u32("objectAttributes")
    reader.sized16("authPolicy")
    _skip_symmetric(reader)
    scheme, scheme_hash = _scheme(reader)
    key = _rsa_key(reader) if kind == ALG_RSA else _ecc_key(reader)
    reader.finish()
    return PublicArea(
        raw=data,
        type=kind,
        name_algorithm=name_algorithm,
        attributes=attributes,
        scheme=scheme,
        scheme_hash=scheme_hash,
        key=key,
        spki=spki_of(key),
    )


def spki_of(key: AttestationPublicKey) -> bytes:
    """SubjectPublicKeyInfo of a public key, DER (RFC 5280 section 4.1.2.7)."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _skip_symmetric(reader: Reader) -> None:
    # TPMT_SYM_DEF_OBJECT, Part 2 section 11.1.7: keyBits and mode follow unless the algorithm is NULL.
    if reader.u16("symmetric algorithm") != ALG_NULL:
        reader.u16("symmetric keyBits")
        reader.u16("symmetric mode")


def _scheme(reader: Reader) -> tuple[int, int]:
    # TPMT_RSA_SCHEME and TPMT_ECC_SCHEME, Part 2 sections 11.2.4.2 and 11.2.5.6.
    scheme = reader.u16("scheme")
    if scheme == ALG_NULL:
        return scheme, ALG_NULL
    if scheme == ALG_RSAES:  # the one scheme without a hash
        return scheme, ALG_NULL
    scheme_hash = reader.u16("scheme hash")
    if scheme == ALG_ECDAA:
        reader.u16("scheme count")
    return scheme, scheme_hash


def _rsa_key(reader: Reader) -> rsa.RSAPublicKey:
    bits = reader.u16("keyBits")
    exponent = reader.u32("exponent") or _DEFAULT_EXPONENT
    modulus = int.from_bytes(reader.sized16("modulus", limit=_MAX_RSA_BITS // 8), "big")
    if not _MIN_RSA_BITS <= bits <= _MAX_RSA_BITS:
        raise UnsupportedEvidence(
            f"RSA attestation key of {bits} bits; {_MIN_RSA_BITS} to {_MAX_RSA_BITS} are accepted"
        )
    if modulus.bit_length() != bits:
        raise Malformed(f"RSA modulus of {modulus.bit_length()} bits where keyBits says {bits}")
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        raise Malformed("the RSA public key is not valid") from error


def _ecc_key(reader: Reader) -> ec.EllipticCurvePublicKey:
    identifier = reader.u16("curveID")
    if reader.u16("kdf scheme") != ALG_NULL:
        reader.u16("kdf hash")
    x = int.from_bytes(reader.sized16("point x", limit=66), "big")
    y = int.from_bytes(reader.sized16("point y", limit=66), "big")
    curve = CURVES.get(identifier)
    if curve is None:
        raise UnsupportedEvidence(f"ECC curve {identifier:#06x}; NIST P-256, P-384, P-521 are accepted")
    try:
        return ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
    except ValueError as error:
        raise Malformed("the ECC public key is not a point of its curve") from error
