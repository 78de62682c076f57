"""The launch shape of TDX runtime registers: which events extend which RTMR, in which order.

Firmware, loaders and VMMs differ in what they measure, in which order and even into which register (the
separator of PCR 4 goes into RTMR0 or RTMR1, by firmware version). So the shape states every event of each
register that is wanted, and nothing is assumed:

* an event is computed from an artefact that the statement attests, or is a constant of the standards, or
  is taken over from an attested event log (``logged``);
* events that belong to one register alone are refused in another;
* ``memory`` is stated exactly if some event depends on it; a list gives one value each.

Sources: TCG PC Client Platform Firmware Profile 1.05, section 10.4.1; UEFI 2.10 section 38.4.1 (PCR 1 and
7 to RTMR0, 2 to 6 to RTMR1, 8 to 15 to RTMR2; firmware in use deviates for PCR 1); TDX Virtual Firmware
Design Guide, section 8 (measurement).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from provenance.derivation.boot.boot_shape import (
    Action,
    Authority,
    File,
    Image,
    SecureBoot,
    Separator,
    Variable,
)
from provenance.derivation.derived import convert, one_or_many
from provenance.derivation.tdx.td_hob import MAX_MEMORY, MIB
from provenance.errors import LaunchShapeInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_EVENTS: Final = 512
MAX_ACPI_BYTES: Final = 16 << 20


class TdHob(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="td-hob"):
    """The hand-off block list that QEMU writes for the firmware (machine q35)."""

    role: str


class ConfigurationVolume(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="configuration-volume"
):
    """The firmware's variable store (its CFV section), as the image holds it."""

    role: str


class QemuKernel(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="qemu-kernel"
):
    """A directly booted kernel whose setup header QEMU changed (machine q35).

    Attributes:
        role: the kernel.
        initrd: role of the initrd, or null where there is none.
        cmdline: role of the command line, or null where there is none.
        acpi_size: bytes that QEMU keeps free for ACPI tables (PCMachineClass.acpi_data_size).
    """

    role: str
    initrd: str | None
    cmdline: str | None
    acpi_size: int


class QemuLoadOptions(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="qemu-load-options"
):
    """The load options that OVMF gives a directly booted kernel.

    Attributes:
        role: the command line.
        initrd: whether there is an initrd, of which OVMF adds " initrd=initrd".
    """

    role: str
    initrd: bool


class LoadOptions(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="load-options"
):
    """A command line as the kernel's EFI stub measures it: UTF-16 with its NUL."""

    role: str


class UkiSections(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="uki-sections"
):
    """What systemd-stub measures of a unified kernel image (PCR 11 on a TPM, RTMR2 here).

    Attributes:
        role: the image.
        sections: sections that this version of the stub measures, in their canonical order.
    """

    role: str
    sections: list[str]


class Gpt(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="gpt"):
    """The boot disk's partition table, from the disk's first sectors."""

    role: str


class GrubCommands(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="grub-commands"
):
    """GRUB commands, an artefact that is a JSON list of texts.

    Attributes:
        role: the list.
        terminated: whether this GRUB measures the terminating NUL of a command (builds differ).
    """

    role: str
    terminated: bool


class GrubCmdline(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="grub-cmdline"
):
    """GRUB's command line for the kernel, kernel path first; ``terminated`` as in ``grub-commands``."""

    role: str
    terminated: bool


class RuntimeEvents(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="aael-events"
):
    """Entries of the CoCo attestation agent's event log: a JSON list of domain, operation, content."""

    role: str


class DstackEvents(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="dstack-events"
):
    """dstack's runtime events: a JSON list of event and payload (hex)."""

    role: str


class Logged(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="logged"):
    """A run of this register's events, taken over from an attested event log.

    Attributes:
        role: the log (CCEL).
        first: number of the first event among those that extend this register, from 0.
        last: number of the last one; may be the first.
    """

    role: str
    first: int
    last: int


TdxEvent = (
    Separator
    | Action
    | Image
    | SecureBoot
    | Variable
    | Authority
    | File
    | TdHob
    | ConfigurationVolume
    | QemuKernel
    | QemuLoadOptions
    | LoadOptions
    | UkiSections
    | Gpt
    | GrubCommands
    | GrubCmdline
    | RuntimeEvents
    | DstackEvents
    | Logged
)
_FIRMWARE: Final = 0
_BOOT: Final = 1
_SYSTEM: Final = 2
_RUNTIME: Final = 3
# Registers that an event can extend, where the standards leave no choice; any register otherwise.
_ONLY: Final[Mapping[type, frozenset[int]]] = {
    TdHob: frozenset({_FIRMWARE}),
    ConfigurationVolume: frozenset({_FIRMWARE}),
    SecureBoot: frozenset({_FIRMWARE}),
    Authority: frozenset({_FIRMWARE}),
    Image: frozenset({_BOOT}),
    QemuKernel: frozenset({_BOOT}),
    Gpt: frozenset({_BOOT}),
    Action: frozenset({_BOOT}),
    QemuLoadOptions: frozenset({_SYSTEM}),
    LoadOptions: frozenset({_SYSTEM}),
    UkiSections: frozenset({_SYSTEM}),
    GrubCommands: frozenset({_SYSTEM}),
    GrubCmdline: frozenset({_SYSTEM}),
    RuntimeEvents: frozenset({_SYSTEM, _RUNTIME}),
    DstackEvents: frozenset({_RUNTIME}),
}
_BY_MEMORY: Final = (TdHob, QemuKernel)


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rtmr0: list[TdxEvent] | None = None
    rtmr1: list[TdxEvent] | None = None
    rtmr2: list[TdxEvent] | None = None
    rtmr3: list[TdxEvent] | None = None
    memory: int | list[int] | None = None


class RtmrShape(msgspec.Struct, frozen=True):
    """A checked shape.

    Attributes:
        events: register (0 to 3) to its events in order.
        memory: the machine's memory in bytes, one value each; empty where no event depends on it.
    """

    events: dict[int, tuple[TdxEvent, ...]]
    memory: tuple[int, ...]

    def memory_of(self, register: int) -> tuple[int | None, ...]:
        """Memory sizes that a register is derived for; one None where it does not depend on them."""
        if any(isinstance(event, _BY_MEMORY) for event in self.events[register]):
            return self.memory
        return (None,)


def parse(launch: Mapping[str, Any]) -> RtmrShape:
    """Parse the ``launch`` member of a derivation request.

    Raises:
        LaunchShapeInvalid: a missing, unknown, ill-typed or contradicting member; an event that the
            register does not get.
    """
    document = convert(launch, _Document)
    lists = (document.rtmr0, document.rtmr1, document.rtmr2, document.rtmr3)
    events = {register: tuple(items) for register, items in enumerate(lists) if items is not None}
    if not events:
        raise LaunchShapeInvalid("launch shape: it states no register")
    for register, items in events.items():
        _check(register, items)
    return RtmrShape(events, _memory(document, events))


def _check(register: int, events: tuple[TdxEvent, ...]) -> None:
    if not 1 <= len(events) <= MAX_EVENTS:
        raise LaunchShapeInvalid(f"launch shape: rtmr{register} has no event, or more than {MAX_EVENTS}")
    for event in events:
        allowed = _ONLY.get(type(event))
        if allowed is not None and register not in allowed:
            raise LaunchShapeInvalid(
                f"launch shape: rtmr{register} has an event that another register gets"
            )
        if isinstance(event, Logged) and not 0 <= event.first <= event.last < MAX_EVENTS:
            raise LaunchShapeInvalid("launch shape: a run of logged events ends before it starts")
        if isinstance(event, QemuKernel) and not 0 <= event.acpi_size <= MAX_ACPI_BYTES:
            raise LaunchShapeInvalid(f"launch shape: acpi_size is not within 0 to {MAX_ACPI_BYTES}")
    for kind in _BY_MEMORY:
        if sum(isinstance(event, kind) for event in events) > 1:
            raise LaunchShapeInvalid(f"launch shape: rtmr{register} has a hand-off list or kernel twice")
    if not isinstance(events[0], TdHob) and any(isinstance(event, TdHob) for event in events):
        raise LaunchShapeInvalid("launch shape: td-hob is the first event that firmware measures")


def _memory(document: _Document, events: Mapping[int, tuple[TdxEvent, ...]]) -> tuple[int, ...]:
    needed = any(isinstance(event, _BY_MEMORY) for items in events.values() for event in items)
    if document.memory is None:
        if needed:
            raise LaunchShapeInvalid(
                "launch shape: td-hob and qemu-kernel depend on memory, which is missing"
            )
        return ()
    if not needed:
        raise LaunchShapeInvalid("launch shape: no event depends on memory")
    sizes = one_or_many(document.memory, "memory")
    if not all(0 < size <= MAX_MEMORY and size % MIB == 0 for size in sizes):
        raise LaunchShapeInvalid("launch shape: memory is in bytes, a whole number of MiB")
    return tuple(sorted(sizes))
