"""Settings of the token-signing key and its certificates, part of ``[token]``."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (pydantic resolves it at run time)
from typing import Literal

from pydantic import BaseModel, Field


class TokenKeyFields(BaseModel):
    """Keys of ``[token]`` about what signs."""

    signing_key: Path | None = Field(
        default=None,
        description=(
            "A P-256 key of your own, PKCS#8 PEM, mode 0600, instead of the one made in `keys/`. Replacing"
            " the file rotates the key."
        ),
    )
    certificate_chain: Path | None = Field(
        default=None,
        description=(
            "PEM certificates of `signing_key`, leaf first; without it a local authority in `keys/`"
            " certifies the key (`touchstone keys ca`)."
        ),
    )
    certificate_days: int = Field(
        default=30,
        ge=2,
        le=397,
        description="Life of a certificate of the local authority; renewed after two thirds.",
    )
    coco_header: Literal["jwk", "kid"] = Field(
        default="jwk",
        description=(
            "Header of tokens for Confidential Containers: the key with its certificates, for key brokers"
            " with `trusted_certs_paths`, or its id alone, for those with `trusted_jwk_sets`."
        ),
    )
    x5c_encoding: Literal["base64", "base64url"] = Field(
        default="base64",
        description=(
            "Text of the certificates in that header: RFC 7517's, or unpadded base64url as older key"
            " brokers expect."
        ),
    )
    rotation_lead_s: int = Field(
        default=600,
        ge=10,
        le=604_800,
        description=(
            "How long a new key stands in the JWK Set before it signs; more than relying parties cache the"
            " set (it permits 300 s)."
        ),
    )
    rotation_days: int | None = Field(
        default=None,
        ge=1,
        le=3650,
        description="Make a new key so many days after the last; only `touchstone keys rotate` otherwise.",
    )
