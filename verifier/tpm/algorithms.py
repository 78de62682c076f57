"""TPM_ALG_ID values and what this verifier makes of them.

Source: TCG Algorithm Registry (TPM_ALG_ID, TPM_ECC_CURVE).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ALG_RSA: Final = 0x0001
ALG_SHA1: Final = 0x0004
ALG_SHA256: Final = 0x000B
ALG_SHA384: Final = 0x000C
ALG_SHA512: Final = 0x000D
ALG_NULL: Final = 0x0010
ALG_SM3_256: Final = 0x0012
ALG_RSASSA: Final = 0x0014
ALG_RSAES: Final = 0x0015
ALG_RSAPSS: Final = 0x0016
ALG_ECDSA: Final = 0x0018
ALG_ECDAA: Final = 0x001A
ALG_ECC: Final = 0x0023
ALG_SHA3_256: Final = 0x0027
ALG_SHA3_384: Final = 0x0028
ALG_SHA3_512: Final = 0x0029

# Hash algorithm to its name and true digest size in bytes.
HASHES: Final[Mapping[int, tuple[str, int]]] = {
    ALG_SHA1: ("sha1", 20),
    ALG_SHA256: ("sha256", 32),
    ALG_SHA384: ("sha384", 48),
    ALG_SHA512: ("sha512", 64),
    ALG_SM3_256: ("sm3_256", 32),
    ALG_SHA3_256: ("sha3_256", 32),
    ALG_SHA3_384: ("sha3_384", 48),
    ALG_SHA3_512: ("sha3_512", 64),
}
HASH_SIZES: Final[Mapping[str, int]] = dict(HASHES.values())

# Hashes that a PCR bank may have here. SHA-1 stands in the table because logs and opted-in banks use
# it; whether it may be *relied on* is a setting.
BANK_HASHES: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "sha384": lambda data: hashlib.sha384(data).digest(),
    "sha512": lambda data: hashlib.sha512(data).digest(),
}

# Hashes accepted in signatures and names: never SHA-1.
SIGNATURE_HASHES: Final[Mapping[int, hashes.HashAlgorithm]] = {
    ALG_SHA256: hashes.SHA256(),
    ALG_SHA384: hashes.SHA384(),
    ALG_SHA512: hashes.SHA512(),
}

# TPM_ECC_CURVE to the curve; NIST P-256 and stronger.
CURVES: Final[Mapping[int, ec.EllipticCurve]] = {
    0x0003: ec.SECP256R1(),
    0x0004: ec.SECP384R1(),
    0x0005: ec.SECP521R1(),
}
