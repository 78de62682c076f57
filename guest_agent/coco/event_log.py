"""The event log of evidence: the firmware's (CCEL), and after it what the agent logged (AAEL)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common.aael import MAX_LOG_BYTES
from common.errors import InputError
from common.files import read_limited
from common.tcg_log import parse_event_log
from guest_agent.errors import EventLogBroken

if TYPE_CHECKING:
    from pathlib import Path


CCEL: Final = "sys/firmware/acpi/tables/data/CCEL"
AAEL: Final = "run/attestation-agent/eventlog"


def cc_event_log(ccel: Path, aael: Path) -> bytes | None:
    """The log of evidence; None where the firmware has none and the agent logged nothing.

    Without entries of the agent the firmware's log is returned as it is, read or not understood. Entries go
    where its last record ends; what pads it is left out then.

    Raises:
        EventLogBroken: there are entries, and no firmware log that they could follow.
        InputError: a log is larger than 4 MiB.
    """
    firmware = read_limited(ccel, what="CCEL", max_bytes=MAX_LOG_BYTES) if ccel.exists() else None
    entries = read_limited(aael, what="AAEL", max_bytes=MAX_LOG_BYTES) if aael.exists() else b""
    if not entries:
        return firmware
    if firmware is None:
        raise EventLogBroken("the agent logged events, but this platform has no CC event log")
    try:
        end = parse_event_log(firmware, zero_tail=True).end
    except InputError as error:
        raise EventLogBroken("the firmware's event log cannot be read, nothing can follow it") from error
    return firmware[:end] + entries
