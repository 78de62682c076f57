"""The settings section ``[nitro]``, and the verifier's own settings from it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path  # noqa: TC003 (pydantic resolves it at run time)
from typing import TYPE_CHECKING

from pydantic import Field

from verifier.nitro.settings import NitroSettings
from verifier.tee import TeeSection

if TYPE_CHECKING:
    from collections.abc import Iterator


class NitroSection(TeeSection):
    """AWS Nitro Enclaves."""

    max_age_seconds: int = Field(
        default=600, ge=0, description="Oldest attestation document; 0: as old as its certificate allows."
    )
    max_ahead_seconds: int = Field(
        default=60, ge=0, description="By how much the time of a document may be ahead of ours."
    )
    extra_anchors: tuple[Path, ...] = Field(
        default=(),
        description=(
            "PEM files of further roots, for tests. Everything they sign is trusted as if AWS had: refused"
            " in the production profile."
        ),
    )


def nitro_settings(section: NitroSection) -> NitroSettings:
    """The Nitro verifier's own settings."""
    return NitroSettings(
        max_age=timedelta(seconds=section.max_age_seconds) if section.max_age_seconds else None,
        max_ahead=timedelta(seconds=section.max_ahead_seconds),
    )


def insecure_switches(section: NitroSection) -> Iterator[str]:
    """One sentence for each switch that weakens a verdict."""
    if section.extra_anchors:
        yield "[nitro] extra_anchors trusts a test authority as if it were AWS's"
