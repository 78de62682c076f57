"""The CC event log of a version 2 report, held against its registers.

Numbers: the log's measurement registers 1 to 4 are rtmr1 to rtmr4 (SM3); 0 is rtmr0, which the firmware
fills with the launch measurement and no log explains. Of a TPM's registers, 1 and 7 are in rtmr1, 2 to 6 in
rtmr2, 8 to 15 in rtmr3, 16 and 23 in rtmr4 (Linux, ``include/uapi/linux/psp-hygon.h``).

A version 1 report has no registers: a log beside it is not looked at, and is no claim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from verifier.ccel import check_event_log
from verifier.errors import EventLogMismatch

if TYPE_CHECKING:
    from common.checks import Checks
    from verifier.csv.report import Report
    from verifier.csv.settings import CsvSettings

_PREFIX: Final = "csv"
_NAME: Final = f"{_PREFIX}.event_log"
_LAUNCH: Final = 0  # the register that holds the launch measurement
_SOURCE: Final = "Linux psp-hygon.h: measurement register to RTMR"


def event_log_claims(
    report: Report, log: bytes | None, settings: CsvSettings, checks: Checks
) -> dict[str, Any]:
    """What the log adds to the claims (``verifier.ccel``); nothing without one.

    Raises:
        EventLogMismatch: it does not lead to the registers; or there must be one that registers confirm,
            and there is none.
        Malformed, TooLarge, UnsupportedEvidence: it cannot be parsed.
    """
    usable = log is not None and report.extension is not None
    if settings.require_event_log and not usable:
        checks.fail(
            _NAME, EventLogMismatch, expected="an event log, and registers that confirm it", source=_SOURCE
        )
    if log is None:
        checks.skip(_NAME, "no event log was sent", source=_SOURCE)
        return {}
    if report.extension is None:
        checks.skip(_NAME, "a version 1 report has no registers that could confirm a log", source=_SOURCE)
        return {}
    registers = dict(enumerate(report.extension.registers))
    del registers[_LAUNCH]
    return check_event_log(log, registers, algorithm="sm3", checks=checks, name=_PREFIX)
