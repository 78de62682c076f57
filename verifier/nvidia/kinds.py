"""NVIDIA's items of the endorsement store: reference manifests (RIMs), put there by hand or by a bundle.

The name is the id that evidence leads to, which the manifest itself does not state: which firmware a
manifest is of is held against the evidence when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from verifier.endorsements.kinds import CollateralKind, Facts
from verifier.nvidia.collateral import MAX_RIM_BYTES
from verifier.nvidia.rim import rim_root, verify_rim

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography import x509

    from verifier.endorsements.kinds import Item


def kinds(roots: Sequence[x509.Certificate] | None = None) -> tuple[CollateralKind, ...]:
    """The kinds, below NVIDIA's pinned root of manifests, or below others."""

    def verify(item: Item, now: datetime) -> Facts:
        del now
        found = verify_rim(item.data, roots or [rim_root()])
        signers = found.path.certificates
        return Facts(
            subject=item.name.rpartition("/")[2].rpartition(".")[0],
            issued=max(certificate.not_valid_before_utc for certificate in signers),
            not_after=found.path.not_after,
        )

    return tuple(
        CollateralKind(
            name=name,
            title="NVIDIA reference manifest",
            vendor="nvidia",
            glob=f"nvidia/rim/*{ending}",
            verify=verify,
            max_bytes=MAX_RIM_BYTES,
        )
        for name, ending in (("nvidia.rim", ".xml"), ("nvidia.rim-swidtag", ".swidtag"))
    )
