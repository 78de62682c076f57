"""Settings about the vTPM that both kinds of VM have."""

from __future__ import annotations

from pydantic import Field

from verifier.tee import TeeSection
from verifier.tpm.settings import TpmSettings

_REGISTERS = 24


class VtpmSection(TeeSection):
    """The vTPM of an Azure confidential VM. Its key is the one that the hardware report vouches for."""

    pcr_selection: dict[str, tuple[int, ...]] = Field(
        default={"sha256": tuple(range(_REGISTERS))},
        description="Bank to the registers that a quote must cover, exactly.",
    )
    require_event_log: bool = Field(default=False, description="Refuse evidence without an event log.")
    allow_unquoted_events: bool = Field(
        default=False, description="Accept a log with events of registers that are not quoted."
    )
    unlogged_pcrs: tuple[int, ...] = Field(
        default=(),
        description="Quoted registers that software extends outside the log (IMA: 10; systemd: 11 to 13).",
    )


def vtpm_settings(section: VtpmSection) -> TpmSettings:
    """Settings of the quote's checks.

    Raises:
        InvalidSetting: a selection that cannot be met.
    """
    return TpmSettings(
        pcr_selection=dict(section.pcr_selection),
        require_event_log=section.require_event_log,
        allow_unquoted_events=section.allow_unquoted_events,
        unlogged_pcrs=frozenset(section.unlogged_pcrs),
    )
