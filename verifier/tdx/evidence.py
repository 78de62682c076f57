"""TDX evidence as it stands in a request."""

from __future__ import annotations

from wire.evidence import EvidenceDocument


class TdxEvidence(EvidenceDocument, frozen=True, tag="tdx"):
    """Intel TDX evidence.

    Attributes:
        quote: the quote, version 4 or 5, base64url.
        event_log: the CC event log (the area that the ACPI table CCEL names), base64url.
        ima_log: Linux IMA measurement list, base64url; only together with ``event_log``.
        collateral: Intel's collateral as one JSON object, base64url; used where the verifier's store has
            none, and verified as if it had come from there.
    """

    quote: str
    event_log: str | None = None
    ima_log: str | None = None
    collateral: str | None = None
