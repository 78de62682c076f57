"""Where the SNP verifier gets what evidence does not carry (on disk: ``verifier.endorsements.amd``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from verifier.snp.products import Product, SigningKey, Tcb


class SnpCollateral(Protocol):
    """Revocation lists and VCEKs, as bytes; nothing from here is trusted before it is verified."""

    def crl(self, product: Product, kind: SigningKey, anchor: str, now: datetime) -> bytes | None:
        """The revocation list of a slot below an anchor (SHA-256 of its ARK, hex); None: none at hand."""

    def vcek(self, product: Product, hardware_id: bytes, tcb: Tcb, now: datetime) -> bytes | None:
        """The VCEK (DER) of a chip at a TCB; None: none at hand."""


class FixedCollateral:
    """Collateral that is given once, in memory.

    Args:
        crls: SHA-256 of an ARK (hex) to the CRL it signed, for both slots.
        vceks: hardware id to its VCEK.
    """

    def __init__(
        self, *, crls: Mapping[str, bytes] | None = None, vceks: Mapping[bytes, bytes] | None = None
    ) -> None:
        """Keep what is given."""
        self._crls = dict(crls or {})
        self._vceks = dict(vceks or {})

    def crl(self, product: Product, kind: SigningKey, anchor: str, now: datetime) -> bytes | None:  # noqa: ARG002 (SnpCollateral)
        """The list of an anchor."""
        return self._crls.get(anchor)

    def vcek(self, product: Product, hardware_id: bytes, tcb: Tcb, now: datetime) -> bytes | None:  # noqa: ARG002 (SnpCollateral)
        """The certificate of a chip."""
        return self._vceks.get(hardware_id)
