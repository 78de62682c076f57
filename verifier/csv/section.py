"""The settings section ``[csv]``, and the verifier's own settings from it."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (pydantic resolves it at run time)
from typing import TYPE_CHECKING

from pydantic import Field

from common.files import read_limited
from verifier.csv.certificates import CA_BYTES
from verifier.csv.settings import CsvSettings
from verifier.tee import TeeSection

if TYPE_CHECKING:
    from collections.abc import Iterator


class CsvSection(TeeSection):
    """Hygon CSV."""

    collateral_dir: Path | None = Field(
        default=None,
        description="Folder with `csv/hsk_cek`; `data_dir`/collateral otherwise.",
    )
    versions: tuple[int, ...] = Field(
        default=(1, 2), description="Accepted report versions; version 1 does not sign its mask."
    )
    permit_key_sharing: bool = Field(
        default=False, description="Accept guests whose key other guests may share (NOKS 0)."
    )
    permit_send: bool = Field(
        default=False, description="Accept guests that may be sent to another platform (NOSEND 0)."
    )
    permit_asid_reuse: bool = Field(
        default=False, description="Accept guests that may share their ASID (ASID_REUSE 1)."
    )
    require_es: bool = Field(default=True, description="Demand encrypted registers (ES, that is CSV2).")
    require_csv3: bool = Field(default=False, description="Demand CSV3 (memory isolated in hardware).")
    minimum_api: tuple[int, int] = Field(
        default=(0, 0), description="Lowest (major, minor) that POLICY must demand of the firmware."
    )
    minimum_build: int = Field(
        default=0, ge=0, description="Lowest firmware build; version 1 reports never meet one."
    )
    require_event_log: bool = Field(
        default=False, description="Demand an event log, hence a version 2 report."
    )
    extra_anchors: tuple[Path, ...] = Field(
        default=(),
        description=(
            "HRK certificates of test platforms (832 bytes each). Everything they sign is trusted as if"
            " Hygon had: refused in the production profile."
        ),
    )


def csv_settings(section: CsvSection) -> CsvSettings:
    """The CSV verifier's own settings.

    Raises:
        InvalidSetting: settings that contradict themselves.
    """
    return CsvSettings(
        versions=frozenset(section.versions),
        permit_key_sharing=section.permit_key_sharing,
        permit_send=section.permit_send,
        permit_asid_reuse=section.permit_asid_reuse,
        require_es=section.require_es,
        require_csv3=section.require_csv3,
        minimum_api=section.minimum_api,
        minimum_build=section.minimum_build,
        require_event_log=section.require_event_log,
    )


def extra_anchors(section: CsvSection) -> tuple[bytes, ...]:
    """The certificates that ``extra_anchors`` names, unread.

    Raises:
        NotFound, TooLarge: a file that cannot be one.
    """
    return tuple(
        read_limited(path, what="[csv] extra_anchors", max_bytes=CA_BYTES) for path in section.extra_anchors
    )


def insecure_switches(section: CsvSection) -> Iterator[str]:
    """One sentence for each switch that weakens a verdict."""
    if section.extra_anchors:
        yield "[csv] extra_anchors trusts test platforms as if they were Hygon's"
