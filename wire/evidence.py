"""Evidence documents, one struct per TEE, as they stand in the ``evidence`` member of a request.

Here are those that our own guest agent makes; the others are in the folders of their verifiers.
"""

from __future__ import annotations

import msgspec


class EvidenceDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="tee"):
    """Base of every evidence document. The member ``tee`` says which it is."""


class SnpCertificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the SNP certificate table.

    Attributes:
        type: ``VCEK``, ``VLEK``, ``ASK`` (also for the ASVK) or ``ARK``. An ARK is never trusted
            from here: it must equal the pinned one.
        data: DER, base64url.
    """

    type: str
    data: str


class SnpEvidence(EvidenceDocument, frozen=True, tag="snp"):
    """AMD SEV-SNP evidence.

    Attributes:
        report: the ATTESTATION_REPORT exactly as the firmware made it (1184 bytes), base64url.
        certificates: endorsements that came with it; may be empty when the verifier's store has them.
        auxblob: the raw extended-report certificate table (GHCB spec 4.1.8.1; configfs-tsm ``auxblob``),
            base64url; an alternative to ``certificates``.
    """

    report: str
    certificates: tuple[SnpCertificate, ...] = ()
    auxblob: str | None = None


class TpmEvidence(EvidenceDocument, frozen=True, tag="tpm"):
    """TPM 2.0 evidence.

    Attributes:
        quote: TPMS_ATTEST bytes that the TPM signed, base64url.
        signature: TPMT_SIGNATURE, base64url.
        ak_public: TPMT_PUBLIC of the attestation key (without the TPM2B size), base64url.
        pcrs: bank (``sha256``, ``sha384``, ``sha512``) to index (decimal text) to value (hex).
        event_log: TCG PC Client crypto-agile event log, base64url.
        ima_log: Linux IMA measurement list (``binary_runtime_measurements``), base64url.
        ek_certificate: the endorsement key's certificate (DER), base64url.
        ek_chain: its intermediates (DER, leaf's issuer first), base64url each.
        credential_secret: what TPM2_ActivateCredential gave back for the challenge's credential,
            base64url. Proves that the AK lives in the TPM of ``ek_certificate``.
        ak_certificate: certificate of the attestation key itself (IAK, or a cloud's; DER), base64url.
        ak_chain: its intermediates (DER, leaf's issuer first), base64url each.
        idevid_certificate: the device's initial identity (IDevID; DER), base64url; with ``ak_certificate``.
        idevid_chain: its intermediates.
    """

    quote: str
    signature: str
    ak_public: str
    pcrs: dict[str, dict[str, str]]
    event_log: str | None = None
    ima_log: str | None = None
    ek_certificate: str | None = None
    ek_chain: tuple[str, ...] = ()
    credential_secret: str | None = None
    ak_certificate: str | None = None
    ak_chain: tuple[str, ...] = ()
    idevid_certificate: str | None = None
    idevid_chain: tuple[str, ...] = ()


class SampleEvidence(EvidenceDocument, frozen=True, forbid_unknown_fields=False, tag="sample"):
    """Evidence of Confidential Containers' sample TEE: of no hardware, for development alone.

    Attributes:
        svn: text.
        report_data: base64, at most 64 bytes.
    """

    svn: str
    report_data: str = ""


GuestEvidence = SnpEvidence | TpmEvidence | SampleEvidence
Evidence = EvidenceDocument
