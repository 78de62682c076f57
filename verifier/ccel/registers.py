"""Parsing and replay of a CC event log.

The log numbers registers from 0: 0 is what the TEE itself measures at launch (MRTD), 1 to 4 are the
runtime registers (TDX: RTMR0 to RTMR3; CSV: rtmr1 to rtmr4). All runtime registers start at zero. No event
can extend register 0, and a log that says so is refused.

What ``common.tcg_log`` demands of a log holds here too; besides, the log is crypto-agile, has digests of
the registers' hash, and at least one event that is measured. Sources: UEFI 2.11, sections 38.2.2 and
38.4.1; PFP 1.05, section 10.2.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common import tcg_log
from common.errors import Malformed
from common.tcg_log import BANK_HASHES, HASH_SIZES, EventLog, HashUnknown, LogContradiction
from verifier.errors import EventLogMismatch, UnsupportedEvidence

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNTIME_REGISTERS: Final = (1, 2, 3, 4)
# Our other name of a hash to that of TCG logs.
_NAMES: Final[Mapping[str, str]] = {"sm3": "sm3_256"}
_LEGACY: Final = "sha1"


def bank_of(algorithm: str) -> str:
    """A hash's name in TCG logs.

    Raises:
        UnsupportedEvidence: a hash that no runtime register is extended with.
    """
    bank = _NAMES.get(algorithm, algorithm)
    if bank not in BANK_HASHES or bank == _LEGACY:
        raise UnsupportedEvidence("no runtime register of a TEE is extended with this hash")
    return bank


def check_registers(registers: Mapping[int, bytes], bank: str) -> None:
    """Demand registers that there are, of the hash's size.

    Raises:
        Malformed: none, one that is no runtime register, or a value of another size.
    """
    if not registers or not registers.keys() <= frozenset(RUNTIME_REGISTERS):
        raise Malformed("a CC event log is held against registers 1 to 4")
    if any(len(value) != HASH_SIZES[bank] for value in registers.values()):
        raise Malformed(f"a register does not have the {HASH_SIZES[bank]} bytes of {bank}")


def parse(data: bytes, bank: str) -> EventLog:
    """Parse a log, padded or not.

    Raises:
        TooLarge: over 4 MiB or 20,000 events.
        Malformed: empty, cut short, or against the rules of ``common.tcg_log``.
        UnsupportedEvidence: a legacy log (SHA-1 alone), or an algorithm that is not known.
        EventLogMismatch: no digests of the hash, or no measured event.
    """
    try:
        log = tcg_log.parse_event_log(data, zero_tail=True)
    except HashUnknown as error:
        raise UnsupportedEvidence(error.message) from error
    if log.banks == (_LEGACY,):
        raise UnsupportedEvidence("the event log has SHA-1 digests alone")
    if bank not in log.banks:
        raise EventLogMismatch(f"the event log has no {bank} digests, only {', '.join(log.banks)}")
    if not tcg_log.extended_registers(log):
        raise EventLogMismatch("the event log has no measured event: it explains nothing")
    return log


def replay(log: EventLog, bank: str) -> dict[int, bytes]:
    """The runtime registers after the log.

    Raises:
        EventLogMismatch: an event extends a register that no event can extend.
    """
    first = {index: bytes(HASH_SIZES[bank]) for index in RUNTIME_REGISTERS}
    try:
        return tcg_log.replay_from(log, bank, first)
    except LogContradiction as error:
        raise EventLogMismatch(error.message) from error
