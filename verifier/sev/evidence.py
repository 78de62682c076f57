"""The evidence document of SEV and SEV-ES."""

from __future__ import annotations

from verifier.sev.products import Product  # noqa: TC001 (msgspec resolves it at run time)
from wire.evidence import EvidenceDocument


class SevEvidence(EvidenceDocument, frozen=True, tag="sev"):
    """A report of the ATTESTATION command and the platform's certificates. Base64url throughout.

    Attributes:
        report: the 208 bytes.
        product: whose root the chain is held against; a wrong one only makes it fail.
        cek: the chip's certificate as AMD signed it (2084 bytes).
        oca: the owner's.
        pek: the platform endorsement key's.
        pdh: the Diffie-Hellman key's, if it shall be verified too.
    """

    report: str
    product: Product
    cek: str
    oca: str
    pek: str
    pdh: str | None = None
