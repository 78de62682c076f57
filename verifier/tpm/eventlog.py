"""TCG event logs as evidence: ``common.tcg_log`` with the errors of evidence.

What the parser accepts and how a log is replayed is said there. Here an unknown hash is unsupported
evidence, and a log that lacks a bank or contradicts itself is a mismatch.
"""

from __future__ import annotations

from common import tcg_log
from common.tcg_log import (
    EV_NO_ACTION,
    MAX_EVENTS,
    MAX_LOG_BYTES,
    Event,
    EventLog,
    HashUnknown,
    LogContradiction,
    extended_registers,
)
from verifier.errors import EventLogMismatch, UnsupportedEvidence

__all__ = [
    "EV_NO_ACTION",
    "MAX_EVENTS",
    "MAX_LOG_BYTES",
    "Event",
    "EventLog",
    "extended_registers",
    "parse_event_log",
    "replay",
]


def parse_event_log(data: bytes) -> EventLog:
    """Parse a crypto-agile or legacy log.

    Raises:
        TooLarge: over 4 MiB or 20,000 events.
        Malformed: empty, cut short, or a record that breaks the parser's rules.
        UnsupportedEvidence: an algorithm whose true digest size is not known here.
    """
    try:
        return tcg_log.parse_event_log(data)
    except HashUnknown as error:
        raise UnsupportedEvidence(error.message) from error


def replay(log: EventLog, bank: str) -> dict[int, bytes]:
    """Values of all 24 registers of a bank after the log, starting from a TPM reset.

    Raises:
        EventLogMismatch: the log has no digests for the bank, or its StartupLocality events
            contradict the order or each other.
        UnsupportedEvidence: no implementation of the bank's hash.
    """
    try:
        return tcg_log.replay(log, bank)
    except LogContradiction as error:
        raise EventLogMismatch(error.message) from error
    except HashUnknown as error:
        raise UnsupportedEvidence(error.message) from error
