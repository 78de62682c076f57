"""Settings of TLS, part of ``[server]``."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (pydantic resolves it at run time)
from typing import Literal

from pydantic import BaseModel, Field


class TlsFields(BaseModel):
    """Keys of ``[server]`` about TLS and certificates."""

    tls_certificate: Path | None = Field(
        default=None,
        description=(
            "PEM certificate chain; with `tls_key`. Replacing the files takes effect for new connections."
        ),
    )
    tls_key: Path | None = Field(default=None, description="PEM private key, mode 0600 or 0640.")
    tls_min_version: Literal["1.2", "1.3"] = Field(default="1.2", description="Lowest TLS version.")
    tls_client_ca: Path | None = Field(
        default=None, description="PEM authorities of client certificates; replaced like the certificate."
    )
    tls_client_certificates: Literal["off", "admin", "required"] = Field(
        default="off",
        description=(
            "Who must show a certificate of `tls_client_ca`: nobody; callers of routes that need a token"
            " (not with granian); or every connection."
        ),
    )
    expiry_warning_days: int = Field(
        default=30,
        ge=1,
        le=365,
        description="Warn once a day when a certificate expires within so many days.",
    )
