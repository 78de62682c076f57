"""Settings of the attestation-service API of Confidential Containers, over REST and gRPC."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 (pydantic resolves it at run time)
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

_MIB = 1 << 20
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?\Z")


class _Section(BaseModel):
    """As ``service.sections.Section``, which imports from modules like this one."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class AttestationApiSection(_Section):
    """The REST attestation-service API (docs/attestation-service.md)."""

    unauthenticated_writes: bool = Field(
        default=False,
        description=(
            "Take `POST /policy` from anybody, as the reference does: whoever reaches the server decides"
            " what is trusted. Refused in the production profile."
        ),
    )
    authenticate_reads: bool = Field(
        default=False, description="Demand a token for `GET /policy` too; `GET /policy/{id}` always does."
    )
    allowed_origins: tuple[str, ...] = Field(
        default=(),
        max_length=64,
        description=(
            "Web origins (`https://host[:port]`) whose pages may call the API (CORS), each exact; `*`: any."
            " None: no page may."
        ),
    )

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        """As browsers send them (RFC 6454 section 6.2): scheme, host, port; no path."""
        if not all(origin == "*" or _ORIGIN.match(origin) for origin in origins):
            raise ValueError("an origin reads https://host or https://host:port, in lower case")
        return origins


class GrpcSection(_Section):
    """The gRPC attestation service and reference value provider service, in a process of their own."""

    attestation: str | None = Field(
        default=None,
        description=(
            "Address and port of the attestation service, which answers for reference values too (the"
            " reference's KBS looks for it at port 50004); not served if absent."
        ),
    )
    reference_values: str | None = Field(
        default=None,
        description=(
            "Address and port of the reference value provider service alone (port 50003 in the reference)."
        ),
    )
    tls_certificate: Path | None = Field(
        default=None,
        description=(
            "PEM certificate chain; with `tls_key`. Replacing the files takes effect for new connections."
        ),
    )
    tls_key: Path | None = Field(default=None, description="PEM private key, mode 0600.")
    tls_client_ca: Path | None = Field(
        default=None,
        description=(
            "PEM authorities of client certificates: every caller must then show one, and may write."
        ),
    )
    unauthenticated_writes: Literal["never", "loopback"] = Field(
        default="never",
        description=(
            "Take policies and reference values without a token from loopback callers: `rvps-tool` and the"
            " KBS of the reference send none. Never behind a proxy: all its callers come from loopback."
        ),
    )
    threads: int = Field(default=8, ge=1, le=64, description="Threads that answer calls.")
    max_message_bytes: int = Field(
        default=16 * _MIB, ge=_MIB, le=64 * _MIB, description="Largest message, in both directions."
    )
    graceful_timeout_s: int = Field(
        default=20, ge=1, le=600, description="Time to finish calls when stopping."
    )

    @property
    def enabled(self) -> bool:
        """Whether anything is served."""
        return self.attestation is not None or self.reference_values is not None
