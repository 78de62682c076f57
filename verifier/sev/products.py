"""Processors with SEV, and the keys at which their certificates end.

AMD signs each product's chip keys (CEK) with that product's signing key (ASK), and that with its root
(ARK). Neither is taken from evidence: both are pinned (``verifier.vendor_roots``).
"""

from __future__ import annotations

from enum import StrEnum


class Product(StrEnum):
    """A product line. Milan and later run SEV and SEV-ES guests too."""

    NAPLES = "Naples"
    ROME = "Rome"
    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"
