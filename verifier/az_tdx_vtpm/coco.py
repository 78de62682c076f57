"""Evidence and claims as Confidential Containers spells them (``verifier.azure.coco``).

``{"tpm_quote", "hcl_report", "td_quote"}``: without a version as lists of bytes, else with ``version`` and
as text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.encoding import b64url_encode
from verifier.az_tdx_vtpm.evidence import AzTdxVtpmEvidence
from verifier.azure.coco import FRESH_VERSION, bytes_of, members_of, quote_of, version_of

if TYPE_CHECKING:
    from verifier.model import VerifiedEvidence

_MEMBERS: Final = frozenset({"tpm_quote", "hcl_report", "td_quote"})


class AzTdxVtpmCocoForm:
    """Implements ``verifier.model.CocoForm``."""

    def evidence_of(self, document: Any) -> AzTdxVtpmEvidence:
        """Our document of theirs.

        Raises:
            Malformed, TooLarge: another form. UnsupportedEvidence: another version.
        """
        version = version_of(document)
        theirs = members_of(document, "az-tdx-vtpm", _MEMBERS)
        quote = quote_of(theirs["tpm_quote"])
        return AzTdxVtpmEvidence(
            hcl_report=b64url_encode(bytes_of(theirs["hcl_report"], "the HCL report")),
            quote=quote.quote,
            signature=quote.signature,
            pcrs=quote.pcrs,
            td_quote=b64url_encode(bytes_of(theirs["td_quote"], "td_quote")),
            fresh_report=version >= FRESH_VERSION,
        )

    def claims_of(self, verified: VerifiedEvidence) -> dict[str, Any]:
        """Ours have their names; ``init_data`` is the value of register 8, where init-data was sent."""
        if verified.init_data != "bound":
            return verified.claims
        return verified.claims | {"init_data": verified.claims["az-tdx-vtpm"]["tpm"]["pcr08"]}
