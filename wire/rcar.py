"""The native RCAR exchange: ``/v1/challenges``, ``/v1/appraisals`` and the release routes."""

from __future__ import annotations

from typing import Any

import msgspec

from wire.evidence import GuestEvidence  # noqa: TC001 (msgspec resolves it at run time)

Jwk = dict[str, str]


class TpmEndorsement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the verifier needs to make a credential for a TPM (TPM 2.0 Library Part 1, section 24).

    Attributes:
        ek_certificate: DER, base64url.
        ek_chain: intermediates (DER), base64url each.
        ak_public: TPMT_PUBLIC of the attestation key, base64url.
    """

    ek_certificate: str
    ak_public: str
    ek_chain: tuple[str, ...] = ()


class ChallengeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/challenges``.

    Attributes:
        tee: ``snp`` or ``tpm``.
        tpm: for TPMs whose AK is not on the allow-list: asks for a credential.
    """

    tee: str
    tpm: TpmEndorsement | None = None


class Credential(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Input of TPM2_ActivateCredential.

    Attributes:
        credential_blob: TPM2B_ID_OBJECT, base64url.
        encrypted_secret: TPM2B_ENCRYPTED_SECRET, base64url.
    """

    credential_blob: str
    encrypted_secret: str


class Challenge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Answer of ``POST /v1/challenges``.

    Attributes:
        nonce: 32 random bytes, base64url; spent by the first appraisal that names it.
        audience: the relying party's identity, to be hashed into the binding.
        expires_at: RFC 3339 UTC.
        pcr_selection: for TPM: bank to the indexes to quote.
        credential: for TPM with EK certificate.
    """

    nonce: str
    audience: str
    expires_at: str
    pcr_selection: dict[str, list[int]] | None = None
    credential: Credential | None = None


class InitData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Data given to the guest at launch, bound by the TEE (SNP HOST_DATA).

    Attributes:
        algorithm: ``sha256``, ``sha384`` or ``sha512``.
        data: the plain init-data, base64url.
    """

    algorithm: str
    data: str


class AppraisalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/appraisals``.

    Exactly one way of freshness: ``nonce`` with ``tee_pubkey`` (a challenge of ours, spent once), or
    ``report_data`` (a relying party's own challenge: it answers for freshness, and the token can
    release nothing here).

    Attributes:
        evidence: one of the evidence documents, told apart by its ``tee`` member.
        nonce: from the challenge, base64url.
        tee_pubkey: the guest's ephemeral public key (JWK: EC P-256, P-384, P-521 or RSA >= 3072).
        report_data: the exact bytes expected in the evidence's report-data field, hex.
        init_data: launch data to hold against the evidence.
        policy: name of the appraisal policy; the configured default otherwise.
        devices: evidence of devices beside the machine: JSON text of a list of evidence documents. The
            machine's evidence is bound to the SHA-256 of this very text, each device's to the session
            (``common.binding``).
        device_report_data: with ``report_data`` and ``devices``: the exact bytes expected in the devices'
            evidence, hex.
        explain: also return every check, rule and matched reference value.
    """

    evidence: GuestEvidence
    nonce: str | None = None
    tee_pubkey: Jwk | None = None
    report_data: str | None = None
    init_data: InitData | None = None
    policy: str | None = None
    devices: str | None = None
    device_report_data: str | None = None
    explain: bool = False


class AppraisalResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """Answer of ``POST /v1/appraisals``.

    Attributes:
        status: EAR status: ``affirming``, ``warning``, ``contraindicated`` or ``none``; with devices, the
            worst of all.
        token: the EAR as a compact JWS.
        explanation: present when asked for; those of devices are in its member ``devices``, by submodule.
    """

    status: str
    token: str
    explanation: dict[str, Any] | None = None


class ReleaseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/resources/{repository}/{type}/{tag}/release`` and ``POST /v1/keys/{id}/release``.

    The token goes into the body: with its claims it can outgrow the header fields that servers accept.

    Attributes:
        token: the attestation result (EAR), a compact JWS.
        version: a particular version; the newest otherwise.
    """

    token: str
    version: int | None = None


class ReleasedSecret(msgspec.Struct, frozen=True):
    """Answer of the release routes.

    Attributes:
        jwe: compact JWE to the token's TEE key. Its protected header binds ``resource`` (kind and
            id), ``version`` and ``ear_jti``: a client must compare them with what it asked for.
    """

    jwe: str
