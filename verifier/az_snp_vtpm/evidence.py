"""The evidence document."""

from __future__ import annotations

from verifier.azure.documents import VtpmDocument
from wire.evidence import SnpCertificate  # noqa: TC001 (msgspec resolves it at run time)


class AzSnpVtpmEvidence(VtpmDocument, frozen=True, kw_only=True, tag="az-snp-vtpm"):
    """Evidence of an Azure VM on SEV-SNP.

    Attributes:
        certificates: endorsements of the SNP report (the VCEK, from the VM's metadata service); may be
            empty when the verifier's store has them.
    """

    certificates: tuple[SnpCertificate, ...] = ()
