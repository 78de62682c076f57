"""Settings of other attestation services whose tokens are taken, ``[[coco.trusted_issuers]]``."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (pydantic resolves it at run time)

from pydantic import BaseModel, ConfigDict, Field


class TrustedIssuerSection(BaseModel):
    """An attestation service whose tokens open resources here (passport mode)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="In logs, metrics and audit records."
    )
    issuer: str | None = Field(
        default=None, min_length=1, max_length=255, description="The exact `iss`; any if not given."
    )
    audience: str | None = Field(
        default=None, min_length=1, max_length=255, description="The exact `aud`; not looked at otherwise."
    )
    jwk_sets: tuple[Path, ...] = Field(
        default=(), max_length=16, description="JWK Set files, for tokens that name a `kid`."
    )
    certificates: tuple[Path, ...] = Field(
        default=(),
        max_length=16,
        description="PEM files; the `x5c` chain of a token's header must lead to one of the certificates.",
    )
    tee_key_paths: tuple[str, ...] = Field(
        default=(),
        max_length=16,
        description="JSON pointers to the TEE's public key, tried before those of known services.",
    )
