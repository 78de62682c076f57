"""The evidence document of AWS Nitro Enclaves."""

from __future__ import annotations

from wire.evidence import EvidenceDocument


class NitroEvidence(EvidenceDocument, frozen=True, tag="nitro"):
    """AWS Nitro Enclaves evidence.

    Attributes:
        document: the attestation document exactly as the Nitro Secure Module gave it (COSE_Sign1),
            base64url. It carries its certificates itself.
    """

    document: str
