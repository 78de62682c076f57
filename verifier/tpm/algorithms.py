"""TPM_ALG_ID values and what this verifier makes of them.

Source: TCG Algorithm Registry (TPM_ALG_ID, TPM_ECC_CURVE).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from common.tcg_log import BANK_HASHES, HASH_SIZES, HASHES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ALG_ECC",
    "ALG_ECDAA",
    "ALG_ECDSA",
    "ALG_NULL",
    "ALG_RSA",
    "ALG_RSAES",
    "ALG_RSAPSS",
    "ALG_RSASSA",
    "ALG_SHA1",
    "ALG_SHA3_256",
    "ALG_SHA3_384",
    "ALG_SHA3_512",
    "ALG_SHA256",
    "ALG_SHA384",
    "ALG_SHA512",
    "ALG_SM3_256",
    "BANK_HASHES",
    "CURVES",
    "HASHES",
    "HASH_SIZES",
    "SIGNATURE_HASHES",
]

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
