"""The evidence document."""

from __future__ import annotations

from verifier.azure.documents import VtpmDocument


class AzTdxVtpmEvidence(VtpmDocument, frozen=True, kw_only=True, tag="az-tdx-vtpm"):
    """Evidence of an Azure VM on TDX.

    Attributes:
        td_quote: the quote that the metadata service made of the TDREPORT in the HCL report, base64url.
        collateral: Intel's collateral as JSON, base64url, used where the verifier has none of its own; it
            is verified as the verifier's own is.
    """

    td_quote: str
    collateral: str | None = None
