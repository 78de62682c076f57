"""The logs of a quote, held against its registers: the firmware's event log and the kernel's IMA list.

Rules: the event log must replay to *every* quoted register, those without events included. Left out are
register 10 where an IMA list explains it, and the registers that the settings name as unlogged. Events
of registers that are not quoted refuse the log, since nothing vouches for them. An empty log is
malformed, never "no claims and well".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from verifier.errors import EventLogMismatch
from verifier.tpm.algorithms import HASH_SIZES
from verifier.tpm.eventlog import EventLog, extended_registers, parse_event_log, replay
from verifier.tpm.events import event_log_claims
from verifier.tpm.ima import IMA_PCR, parse_ima_log, records_until

if TYPE_CHECKING:
    from common.checks import Checks
    from verifier.tpm.checks import PcrValues
    from verifier.tpm.settings import TpmSettings

_PFP = "TCG PC Client Platform Firmware Profile 1.05, sections 3.3.4 and 10.2"


def replay_logs(
    event_log: bytes | None,
    ima_log: bytes | None,
    values: PcrValues,
    settings: TpmSettings,
    checks: Checks,
) -> dict[str, Any]:
    """Hold both logs against the quoted registers; gives their claims (``event_log``, ``ima``).

    Raises:
        InputError: a log cannot be parsed or is too large.
        EventLogMismatch: absent though demanded; a register differs; events of unquoted registers.
    """
    claims: dict[str, Any] = {}
    log = None
    if event_log is None:
        _without_event_log(settings, checks)
    else:
        log = parse_event_log(event_log)
        unexplained = settings.unlogged_pcrs | ({IMA_PCR} if ima_log is not None else set())
        claims["event_log"] = _replay_event_log(log, values, unexplained, settings, checks)
    if ima_log is not None:
        claims["ima"] = _replay_ima_log(ima_log, log, values, settings, checks)
    return claims


def _without_event_log(settings: TpmSettings, checks: Checks) -> None:
    if settings.require_event_log:
        checks.fail(
            "tpm.event_log",
            EventLogMismatch,
            expected="an event log",
            source="settings: require_event_log",
            note="the evidence has no event log",
        )
    checks.skip("tpm.event_log", "the evidence has no event log", source=_PFP)


def _replay_event_log(
    log: EventLog,
    values: PcrValues,
    unexplained: frozenset[int] | set[int],
    settings: TpmSettings,
    checks: Checks,
) -> dict[str, Any]:
    for bank, quoted in values.items():
        replayed = replay(log, bank)
        differing = [
            index
            for index in sorted(quoted)
            if index not in unexplained and replayed[index] != quoted[index]
        ]
        checks.require(
            f"tpm.event_log.{bank}",
            not differing,
            EventLogMismatch,
            expected={str(index): quoted[index].hex() for index in differing},
            observed={str(index): replayed[index].hex() for index in differing},
            source=_PFP,
            note=f"the log does not replay to {bank} registers {differing}" if differing else "",
        )
    quoted_anywhere: set[int] = set().union(*values.values())
    unquoted = sorted(extended_registers(log) - quoted_anywhere)
    checks.require(
        "tpm.event_log.unquoted",
        settings.allow_unquoted_events or not unquoted,
        EventLogMismatch,
        expected=[],
        observed=unquoted,
        source="settings: allow_unquoted_events",
        note=f"the log extends registers {unquoted} that are not quoted" if unquoted else "",
    )
    bank = "sha256" if "sha256" in values else next(iter(values))
    return event_log_claims(log, bank, frozenset(values[bank]) - frozenset(unexplained))


def _replay_ima_log(
    data: bytes, log: EventLog | None, values: PcrValues, settings: TpmSettings, checks: Checks
) -> dict[str, Any]:
    records = parse_ima_log(data)
    counts: dict[str, int | None] = {}
    for bank, quoted in values.items():
        if IMA_PCR not in quoted:
            continue
        start = bytes(HASH_SIZES[bank]) if log is None else replay(log, bank)[IMA_PCR]
        counts[bank] = records_until(
            records, bank, start, quoted[IMA_PCR], allow_sha1=settings.allow_sha1_banks
        )
    found = [count for count in counts.values() if count is not None]
    checks.require(
        "tpm.ima_log",
        bool(counts) and len(found) == len(counts) and len(set(found)) == 1,
        EventLogMismatch,
        expected={bank: values[bank][IMA_PCR].hex() for bank in counts},
        observed=counts,
        source="Linux, security/integrity/ima/ima_queue.c",
        note="" if found else f"the IMA list does not replay to register {IMA_PCR}",
    )
    verified = records[: found[0]]
    return {
        "count": len(verified),
        "violations": sum(not any(record.digest) for record in verified),
    }
