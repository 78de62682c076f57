"""Settings of the Confidential Containers front ends, ``[coco]``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from service.sections_coco_admin import CocoAdminSection, CocoPluginSection
from service.sections_grpc import AttestationApiSection
from service.sections_issuers import TrustedIssuerSection  # noqa: TC001 (pydantic resolves it)

_MIB = 1 << 20


class CocoTokenSettings(BaseModel):
    """What attestation tokens for Confidential Containers say of themselves."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    issuer: str = Field(
        default="CoCo-Attestation-Service", min_length=1, max_length=255, description="`iss`."
    )
    developer: str = Field(
        default="https://confidentialcontainers.org",
        min_length=1,
        max_length=255,
        description="`ear.verifier-id` developer.",
    )
    profile: str = Field(
        default="tag:github.com,2024:confidential-containers/Trustee",
        min_length=1,
        max_length=255,
        description="`eat_profile`.",
    )
    verbose: bool = Field(
        default=True,
        description=(
            "Keep `additional-evidence` in the runtime data; without it tokens of guests with many GPUs"
            " stay short."
        ),
    )


class CocoSettings(BaseModel):
    """Confidential Containers: the KBS protocol and what its clients rely on (docs/compatibility.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    enabled: bool = Field(default=True, description="Serve `/kbs/v0` and the attestation-service API.")
    statuses: Literal["accurate", "reference"] = Field(
        default="accurate",
        description=(
            "HTTP statuses of refusals: RFC 9110's, or those of the reference servers (401 for nearly"
            " everything), for clients that attest anew on any 401."
        ),
    )
    session_lifetime_s: int = Field(
        default=300, ge=10, le=300, description="Life of a KBS session, its nonce and its token."
    )
    request_bytes: int = Field(
        default=2 * _MIB,
        ge=1024,
        le=64 * _MIB,
        description="Body of one KBS request, and of one `POST /attestation`.",
    )
    declared_reference_values: bool = Field(
        default=False,
        description=(
            "Take unsigned reference values by an administrator's word (`sample` messages) and count them"
            " in appraisals for Confidential Containers. Nothing but that word vouches for them."
        ),
    )
    rsa1_5: bool = Field(
        default=False, description="Also encrypt to guests' keys of algorithm RSA1_5, for old clients."
    )
    lift_release_floors: bool = Field(
        default=False,
        description=(
            "Let the resource policy alone decide, also about contraindicated guests, as the reference"
            " does. Development only."
        ),
    )
    token: CocoTokenSettings = Field(default_factory=CocoTokenSettings)
    attestation: AttestationApiSection = Field(default_factory=AttestationApiSection)
    admin: CocoAdminSection = Field(default_factory=CocoAdminSection)
    plugins: tuple[CocoPluginSection, ...] = Field(
        default=(), max_length=8, description="Plugins beside `resource` (docs/kbs-admin.md)."
    )
    trusted_issuers: tuple[TrustedIssuerSection, ...] = Field(
        default=(),
        max_length=64,
        description="Other attestation services whose tokens open resources here.",
    )
