"""SGX evidence as it stands in a request."""

from __future__ import annotations

from wire.evidence import EvidenceDocument


class SgxEvidence(EvidenceDocument, frozen=True, tag="sgx"):
    """Intel SGX evidence.

    Attributes:
        quote: the quote, version 3 to 5, base64url.
        collateral: Intel's collateral as one JSON object, base64url; used where the verifier's store has
            none, and verified as if it had come from there.
    """

    quote: str
    collateral: str | None = None
