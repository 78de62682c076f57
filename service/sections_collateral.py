"""The section ``[collateral]``: whom the endorsement store asks."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (pydantic resolves it at run time)
from typing import Literal

from pydantic import Field

from common.section import Section


class CollateralSettings(Section):
    """The endorsement store: whom it asks, and how old an answer may be (docs/collateral.md)."""

    kds_urls: tuple[str, ...] = Field(
        default=("https://kdsintf.amd.com",),
        min_length=1,
        max_length=8,
        description="AMD's key distribution service and mirrors of it, asked in this order.",
    )
    pcs_urls: tuple[str, ...] = Field(
        default=("https://api.trustedservices.intel.com",),
        min_length=1,
        max_length=8,
        description="Intel's provisioning certification service and PCCS caches, asked in this order.",
    )
    pcs_update: Literal["standard", "early"] = Field(
        default="standard",
        description=(
            "Which TCB evaluation Intel is asked for. The high-water mark keeps what `early` gave: going"
            " back takes removing `intel/evaluation.json`."
        ),
    )
    pcs_max_age_days: int = Field(
        default=30,
        ge=1,
        le=365,
        description="How long ago what Intel's sources serve may have been issued.",
    )
    expiring_days: int = Field(
        default=7, ge=0, le=365, description="From when on an item counts as expiring, before its end."
    )
    ca_file: Path | None = Field(
        default=None,
        description="PEM bundle that replaces the system's authorities, for mirrors and caches.",
    )
    allow_private: bool = Field(
        default=False, description="Also ask a mirror or cache at a private or loopback address."
    )
