"""Names of TPM objects: what a TPM, a credential and an allow-list call a key.

Source: TPM 2.0 Library Part 1, section 16: Name = nameAlg || H_nameAlg(TPMT_PUBLIC). A name covers the
attributes and the scheme of a key, its SubjectPublicKeyInfo does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes

from verifier.errors import UnsupportedEvidence
from verifier.tpm.algorithms import SIGNATURE_HASHES

if TYPE_CHECKING:
    from verifier.tpm.public import PublicArea


def name_of(public: PublicArea) -> bytes:
    """The name of a key: two bytes of algorithm, then the digest.

    Raises:
        UnsupportedEvidence: the name's hash is not SHA-256, SHA-384 or SHA-512.
    """
    algorithm = SIGNATURE_HASHES.get(public.name_algorithm)
    if algorithm is None:
        raise UnsupportedEvidence(f"name algorithm {public.name_algorithm:#06x} is not accepted")
    digest = hashes.Hash(algorithm)
    digest.update(public.raw)
    return public.name_algorithm.to_bytes(2, "big") + digest.finalize()
