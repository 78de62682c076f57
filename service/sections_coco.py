"""Settings of the Confidential Containers front ends, ``[coco]``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from service.sections_issuers import TrustedIssuerSection  # noqa: TC001 (pydantic resolves it)


class CocoSettings(BaseModel):
    """Confidential Containers."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    trusted_issuers: tuple[TrustedIssuerSection, ...] = Field(
        default=(),
        max_length=64,
        description="Other attestation services whose tokens open resources here.",
    )
