"""The evidence document of Arm CCA."""

from __future__ import annotations

from wire.evidence import EvidenceDocument


class CcaEvidence(EvidenceDocument, frozen=True, tag="cca"):
    """Arm CCA evidence.

    Attributes:
        token: the CCA token exactly as the realm management monitor made it (CBOR, tag 399), base64url.
    """

    token: str
