"""What a guest sends with its request for a challenge: an attestation key, and the EK to vouch for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from common.checks import Check, Checks
from common.encoding import b64url_decode
from verifier.errors import AttestationKeyUntrusted
from verifier.tpm.ek import EndorsementPublicKey, decode_chain, verify_ek_certificate
from verifier.tpm.names import name_of
from verifier.tpm.public import (
    DECRYPT,
    FIXED_PARENT,
    FIXED_TPM,
    RESTRICTED,
    SENSITIVE_DATA_ORIGIN,
    SIGN,
    PublicArea,
    parse_public,
)

if TYPE_CHECKING:
    from datetime import datetime

    from verifier.tpm.settings import TpmSettings
    from wire.rcar import TpmEndorsement


class EndorsedKey(msgspec.Struct, frozen=True):
    """An attestation key to make a credential for, and the endorsement key to make it to.

    Attributes:
        ek: endorsement key of the verified certificate.
        ek_spki_sha256: SHA-256 of its SubjectPublicKeyInfo.
        ak_name: name of the attestation key (TPM 2.0 Part 1 section 16).
        checks: the checks made.
    """

    ek: EndorsementPublicKey
    ek_spki_sha256: bytes
    ak_name: bytes
    checks: tuple[Check, ...]


def parse_endorsement(endorsement: TpmEndorsement, settings: TpmSettings, now: datetime) -> EndorsedKey:
    """Verify what a guest sends with its request for a challenge.

    Raises:
        InputError: something cannot be parsed.
        AttestationKeyUntrusted: the attestation key's attributes are not those of one.
        EndorsementError: the EK certificate, its chain or its dates do not hold.
    """
    checks = Checks()
    public = parse_public(b64url_decode(endorsement.ak_public, what="ak_public"))
    require_attestation_key(public, checks)
    certificate = verify_ek_certificate(
        b64url_decode(endorsement.ek_certificate, what="ek_certificate"),
        decode_chain(endorsement.ek_chain),
        settings.ek_roots,
        now,
        checks,
        lists=settings.lists.current(),
        revocation=settings.revocation,
    )
    return EndorsedKey(
        ek=certificate.key,
        ek_spki_sha256=certificate.spki_sha256,
        ak_name=name_of(public),
        checks=checks.records,
    )


def require_attestation_key(public: PublicArea, checks: Checks) -> None:
    """Demand the attributes that make a key sign only what its TPM made.

    Restricted: the key signs no structure that starts with TPM_GENERATED_VALUE unless the TPM made it
    (Part 2 section 8.3). Fixed and of the TPM's own making: nobody else has the private key.

    Raises:
        AttestationKeyUntrusted: an attribute is missing, or the key also decrypts.
    """
    required = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | RESTRICTED | SIGN
    checks.require(
        "tpm.ak.attributes",
        public.attributes & (required | DECRYPT) == required,
        AttestationKeyUntrusted,
        expected="fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign, not decrypt",
        observed=f"{public.attributes:#010x}",
        source="TPM 2.0 Library Part 2, section 8.3 (TPMA_OBJECT)",
    )
