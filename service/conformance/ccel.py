"""Runs ``eventlog-ccel`` cases: a CC event log alone, held against the registers that the manifest states.

Registers that a case does not state are zero: nothing extended them. The manifest counts the header record
among the events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.checks import Checks
from common.tcg_log import HASH_SIZES
from service.conformance.case_files import CaseFiles
from service.conformance.evidence import judged
from verifier.ccel import check_event_log
from verifier.ccel.registers import RUNTIME_REGISTERS, parse
from verifier.errors import EventLogMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from service.conformance.outcome import Outcome

KINDS: Final = ("eventlog-ccel",)


def run_case(case: Mapping[str, Any], folder: Path) -> Outcome:
    """Run one case (or mutation) of the evidence manifest."""
    return judged(case, lambda differing: _run(CaseFiles(case, folder), differing))


def _run(files: CaseFiles, differing: list[str]) -> str:
    stated = files.case["expect"]["claims"]
    data, bank = files.read("eventlog"), str(stated["algorithm"])
    registers = {index: bytes(HASH_SIZES[bank]) for index in RUNTIME_REGISTERS}
    registers |= {int(index): bytes.fromhex(value) for index, value in stated["registers"].items()}
    checks = Checks()
    claims = check_event_log(data, registers, algorithm=bank, checks=checks, name="ccel")
    if checks.failures:
        raise EventLogMismatch(checks.failures[0].note)
    log = parse(data, bank)
    observed = {
        "algorithm": claims["event_log"]["algorithm"],
        "events": log.records,
        "log_end": log.end,
    }
    differing += [name for name, value in observed.items() if stated.get(name, value) != value]
    return f"{claims['event_log']['events']} events"
