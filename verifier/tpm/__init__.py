"""TPM 2.0: quotes, event logs, and credentials that tie an attestation key to a genuine TPM."""

from __future__ import annotations

from verifier.tpm.credential import SECRET_BYTES, make_credential
from verifier.tpm.endorsement import EndorsedKey, parse_endorsement
from verifier.tpm.settings import TpmSettings
from verifier.tpm.verifier import BINDING_SIZE, TpmVerifier

__all__ = [
    "BINDING_SIZE",
    "SECRET_BYTES",
    "EndorsedKey",
    "TpmSettings",
    "TpmVerifier",
    "make_credential",
    "parse_endorsement",
]
