"""Settings that the sections ``[tdx]`` and ``[sgx]`` share, and ``PlatformSettings`` from them."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (pydantic resolves it at run time)
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from verifier.intel.settings import PlatformSettings
from verifier.intel.status import TcbStatus
from verifier.reading import hex_set
from verifier.tee import TeeSection

if TYPE_CHECKING:
    from collections.abc import Iterator

_Status = Literal[
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "TDRelaunchAdvised",
    "TDRelaunchAdvisedConfigurationNeeded",
]


class IntelSection(TeeSection):
    """What both of Intel's TEEs have."""

    collateral_dir: Path | None = Field(
        default=None, description="Folder of Intel's collateral; `data_dir`/collateral otherwise."
    )
    tcb_statuses: tuple[_Status, ...] = Field(
        default=("UpToDate", "SWHardeningNeeded"),
        min_length=1,
        description="TCB statuses of the whole that are accepted; `Revoked` never is.",
    )
    minimum_evaluation: int = Field(
        default=0, ge=0, description="Lowest tcbEvaluationDataNumber of TCB info and QE identity."
    )
    maximum_age_days: int = Field(
        default=0,
        ge=0,
        description="How old TCB info and QE identity may be; 0: as old as their next update allows.",
    )
    advisories_rejected: tuple[str, ...] = Field(
        default=(), description="Advisories (`INTEL-SA-...`) that must not apply, whatever the status."
    )
    platforms: tuple[str, ...] = Field(
        default=(), description="Accepted PPIDs or platform instance ids (hex); empty: any."
    )
    platforms_denied: tuple[str, ...] = Field(
        default=(), description="Refused PPIDs or platform instance ids (hex): platforms whose keys leaked."
    )
    second_opinion: bool = Field(
        default=False, description="Have dcap-qvl verify every quote too; needs the package dcap-qvl."
    )
    extra_anchors: tuple[Path, ...] = Field(
        default=(),
        description=(
            "PEM files of further roots, for test authorities. Everything they sign is trusted as if"
            " Intel had: refused in the production profile."
        ),
    )


def platform_settings(section: IntelSection, name: str) -> PlatformSettings:
    """The settings about the platform of a section (``tdx``, ``sgx``).

    Raises:
        InvalidSetting: not hex, or settings that contradict themselves.
    """
    return PlatformSettings(
        tcb_statuses=frozenset(TcbStatus(status) for status in section.tcb_statuses),
        minimum_evaluation=section.minimum_evaluation,
        maximum_age_days=section.maximum_age_days,
        advisories_rejected=frozenset(section.advisories_rejected),
        platforms=hex_set(section.platforms, f"[{name}] platforms"),
        platforms_denied=hex_set(section.platforms_denied, f"[{name}] platforms_denied"),
        second_opinion=section.second_opinion,
    )


def insecure_anchors(section: IntelSection, name: str) -> Iterator[str]:
    """One sentence where test authorities are trusted."""
    if section.extra_anchors:
        yield f"[{name}] extra_anchors trusts test authorities as if they were Intel"
