"""Evidence and claims as Confidential Containers spells them (``verifier.azure.coco``).

``{"quote", "report", "vcek": PEM}`` without a version; ``{"version", "tpm_quote", "hcl_report", "vcek":
DER}`` of versions 1 and 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from common.encoding import b64url_encode
from common.errors import Malformed
from common.x509_names import with_names
from verifier.az_snp_vtpm.evidence import AzSnpVtpmEvidence
from verifier.azure.coco import FRESH_VERSION, bytes_of, members_of, quote_of, version_of
from wire.evidence import SnpCertificate

if TYPE_CHECKING:
    from verifier.model import VerifiedEvidence

_LEGACY: Final = frozenset({"quote", "report", "vcek"})
_MEMBERS: Final = frozenset({"tpm_quote", "hcl_report", "vcek"})
_MAX_PEM: Final = 16 << 10


class AzSnpVtpmCocoForm:
    """Implements ``verifier.model.CocoForm``."""

    def evidence_of(self, document: Any) -> AzSnpVtpmEvidence:
        """Our document of theirs.

        Raises:
            Malformed, TooLarge: another form. UnsupportedEvidence: another version.
        """
        version = version_of(document)
        legacy = version == 0
        theirs = members_of(document, "az-snp-vtpm", _LEGACY if legacy else _MEMBERS)
        quote = quote_of(theirs["quote" if legacy else "tpm_quote"])
        report = bytes_of(theirs["report" if legacy else "hcl_report"], "the HCL report")
        vcek = _der_of_pem(theirs["vcek"]) if legacy else bytes_of(theirs["vcek"], "vcek")
        return AzSnpVtpmEvidence(
            hcl_report=b64url_encode(report),
            quote=quote.quote,
            signature=quote.signature,
            pcrs=quote.pcrs,
            certificates=(SnpCertificate(type="VCEK", data=b64url_encode(vcek)),),
            fresh_report=version >= FRESH_VERSION,
        )

    def claims_of(self, verified: VerifiedEvidence) -> dict[str, Any]:
        """Ours have their names; ``init_data`` is the value of register 8, where init-data was sent."""
        if verified.init_data != "bound":
            return verified.claims
        return verified.claims | {"init_data": verified.claims["az-snp-vtpm"]["tpm"]["pcr08"]}


def _der_of_pem(pem: Any) -> bytes:
    if not isinstance(pem, str) or len(pem) > _MAX_PEM:
        raise Malformed("vcek is not a PEM text")
    try:
        certificates = [with_names(item) for item in x509.load_pem_x509_certificates(pem.encode("ascii"))]
    except ValueError as error:
        raise Malformed("vcek is not a PEM certificate") from error
    if len(certificates) != 1:
        raise Malformed("vcek is not one certificate")
    return certificates[0].public_bytes(Encoding.DER)
