"""Runs ``eventlog-ccel`` cases: a CC event log alone, held against the registers that the manifest states.

Registers that a case does not state are zero: nothing extended them. The manifest counts the header record
among the events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.checks import Checks
from common.errors import Malformed, TouchstoneError
from common.tcg_log import HASH_SIZES
from service.conformance.case_files import CaseFiles, UnknownOperation
from service.conformance.outcome import FAIL, PASS, Outcome, case_id, unsupported
from verifier.ccel import check_event_log
from verifier.ccel.registers import RUNTIME_REGISTERS, parse
from verifier.errors import EventLogMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KINDS: Final = ("eventlog-ccel",)
# Stable error code to the classes of the evidence manifest that it stands for.
_CLASSES: Final[Mapping[str, frozenset[str]]] = {
    "input.malformed": frozenset({"parse_error"}),
    "input.too_large": frozenset({"parse_error"}),
    "evidence.unsupported": frozenset({"parse_error", "unsupported_format"}),
    "evidence.event_log": frozenset({"eventlog_mismatch"}),
}


def run_case(case: Mapping[str, Any], folder: Path) -> Outcome:
    """Run one case (or mutation) of the evidence manifest."""
    kind = str(case.get("tee"))
    expect = case.get("expect", {})
    expected = PASS if expect.get("result") == PASS else FAIL
    try:
        detail = _run(CaseFiles(case, folder))
    except UnknownOperation as error:
        return unsupported(case, kind, expected, error.message)
    except TouchstoneError as error:
        accepted = {expect.get("error"), *expect.get("error_any", ())} - {None}
        agree = expected == FAIL and bool(accepted & _CLASSES.get(error.code, frozenset()))
        detail = error.message if agree else f"{error.message} (manifest: {expect.get('error')})"
        return Outcome(case_id(case), kind, expected, FAIL, error.code, agree, detail)
    return Outcome(case_id(case), kind, expected, PASS, None, expected == PASS, detail)


def _run(files: CaseFiles) -> str:
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
    differing = [name for name, value in observed.items() if stated.get(name, value) != value]
    if differing:
        raise Malformed(f"claims differ from the manifest: {', '.join(differing)}")
    return f"{claims['event_log']['events']} events"
