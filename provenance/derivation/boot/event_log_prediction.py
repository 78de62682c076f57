"""Rule ``tpm-event-log``: a golden event log, with components replaced, to TPM registers.

Order: launch shape -> artefacts bound to subjects -> log parsed -> each replacement finds what it
replaces, by digest -> replay -> one value per register; for register 11 one per boot phase.

The log is one boot of a machine of the wanted kind, attested like any artefact. What a new release does
not change (firmware, variables, order of events) is taken over from it; what it changes is named by the
old component and the new one. A replacement that finds nothing is refused, never skipped.

* Registers 0 to 9, 12 and 14 are as the log leaves them. Register 11 goes on after the log, with the boot
  phases, which the shape then states. Others are extended by the running system, and are not predicted.
* The data of events is not looked at: digests alone make the registers.

Sources: TCG PC Client Platform Firmware Profile 1.05, section 10 (``common.tcg_log``).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import tcg_log
from common.encoding import hex_decode
from common.errors import InputError, Malformed
from provenance.derivation.boot import measured_boot, uki
from provenance.derivation.boot.boot_events import BANKS, BootArtifacts
from provenance.derivation.boot.boot_shape import BANK, MAX_PHASES, BootEvent
from provenance.derivation.derived import Output, convert
from provenance.derivation.subjects import bind
from provenance.errors import ArtifactInvalid, LaunchShapeInvalid, NotDerivable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from common.tcg_log import EventLog
    from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue

NAME: Final = "tpm-event-log"
VERSION: Final = 1
EVENT_LOG: Final = "event-log"
REGISTERS: Final = frozenset({*range(10), uki.KERNEL_BOOT_PCR, 12, 14})
MAX_REPLACEMENTS: Final = 64


class Replacement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One component that differs from the golden boot.

    Attributes:
        pcr: the register.
        was: what the golden boot extended it with: an event over an old artefact, or a digest (hex).
        now: what takes its place.
    """

    pcr: int
    was: str | BootEvent
    now: BootEvent


class _Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bank: str
    pcrs: list[int]
    replace: list[Replacement]
    phases: list[str] | None = None


def apply(
    admitted: AdmittedStatement, request: DerivationRequest, artifacts: Sequence[Artifact]
) -> tuple[DerivedValue, ...]:
    """The rule (``registry.Rule``): ``tpm_pcr00`` ... for the registers that the shape lists.

    Raises:
        LaunchShapeInvalid, ExpiryInvalid: the request is malformed.
        SubjectMismatch: an artefact is not a subject of the statement.
        ArtifactInvalid: the log, or a component, cannot be read.
        NotDerivable: no log; a replacement that finds nothing in its register; an artefact that is
            missing or superfluous; a log without the bank.
    """
    shape = _shape(request.launch)
    output = Output(admitted, request, f"{NAME}/{VERSION}")
    boot = BootArtifacts(bind(admitted, request, artifacts))
    values = _values(shape, boot)
    boot.check_all_used()
    recorded = boot.record() | {"launch": dict(request.launch)}
    return tuple(
        output.value(f"tpm_pcr{register:02d}", value.hex(), "tpm", recorded | own)
        for register, value, own in values
    )


def _shape(launch: Mapping[str, Any]) -> _Shape:
    shape = convert(launch, _Shape)
    if shape.bank != BANK:
        raise LaunchShapeInvalid(f"launch shape: bank is {BANK}, the one that policies see")
    registers = set(shape.pcrs)
    if not registers or len(registers) != len(shape.pcrs) or not registers <= REGISTERS:
        raise LaunchShapeInvalid("launch shape: pcrs are different registers out of 0 to 9, 11, 12 and 14")
    if len(shape.replace) > MAX_REPLACEMENTS or not {item.pcr for item in shape.replace} <= registers:
        raise LaunchShapeInvalid(
            f"launch shape: up to {MAX_REPLACEMENTS} replacements, each in a register of pcrs"
        )
    _check_phases(shape.phases, wanted=uki.KERNEL_BOOT_PCR in registers)
    return shape


def _check_phases(phases: list[str] | None, *, wanted: bool) -> None:
    if (phases is not None) != wanted:
        raise LaunchShapeInvalid("launch shape: phases are stated with register 11, and only with it")
    if phases is not None and not (1 <= len(phases) <= MAX_PHASES and len(set(phases)) == len(phases)):
        raise LaunchShapeInvalid(f"launch shape: phases are 1 to {MAX_PHASES} different paths")


def _values(shape: _Shape, boot: BootArtifacts) -> list[tuple[int, bytes, dict[str, Any]]]:
    try:
        log = tcg_log.parse_event_log(boot.data(EVENT_LOG))
        if BANK not in log.banks:
            raise NotDerivable(f"the event log has no {BANK} digests, only {', '.join(log.banks)}")
        registers = tcg_log.replay(_replaced(log, shape.replace, boot), BANK)
    except InputError as error:
        raise ArtifactInvalid(f"the event log cannot be read: {error}") from error
    found: list[tuple[int, bytes, dict[str, Any]]] = []
    for register in sorted(shape.pcrs):
        if register != uki.KERNEL_BOOT_PCR:
            found.append((register, registers[register], {}))
            continue
        for path in shape.phases or []:
            phases = uki.measure_phases(path, BANKS)
            after = measured_boot.registers(BANK, phases, {register: registers[register]})
            found.append((register, after[register], {"phase": path}))
    return found


def _replaced(log: EventLog, replacements: Sequence[Replacement], boot: BootArtifacts) -> EventLog:
    """The log with every replacement made; all look for what the golden boot had, none for another's."""
    table: dict[tuple[int, bytes], bytes] = {}
    for item in replacements:
        old = _digest(item.was, item.pcr, boot)
        if (item.pcr, old) in table:
            raise LaunchShapeInvalid("launch shape: one event is replaced twice")
        table[item.pcr, old] = _digest(item.now, item.pcr, boot)
    found: set[tuple[int, bytes]] = set()
    events: list[tcg_log.Event] = []
    for event in log.events:
        place = (event.pcr, event.digests[BANK])
        if event.type == tcg_log.EV_NO_ACTION or place not in table:
            events.append(event)
            continue
        found.add(place)
        events.append(msgspec.structs.replace(event, digests={BANK: table[place]}))
    missing = sorted(register for register, _ in table.keys() - found)
    if missing:
        raise NotDerivable(f"the golden boot has no such event to replace in registers {missing}")
    return tcg_log.EventLog((BANK,), tuple(events), log.records)


def _digest(stated: str | BootEvent, register: int, boot: BootArtifacts) -> bytes:
    if isinstance(stated, str):
        try:
            return hex_decode(stated, what="launch shape: was", length=hashlib.new(BANK).digest_size)
        except Malformed as error:
            raise LaunchShapeInvalid(error.message) from error
    measured = boot.measure(register, stated)
    if len(measured) != 1:
        raise LaunchShapeInvalid("launch shape: a list of commands does not stand for one event")
    return measured[0].digests[BANK]
