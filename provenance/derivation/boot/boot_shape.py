"""The boot shape: which events extend which TPM register, in which order. Stated whole, nothing assumed.

Firmware and loaders differ in what they measure and when: the shape lists the events of each register as
the boot makes them. What any boot must have is checked, so that a forgotten event is refused and not
turned into a value that no machine can reach:

* register 4: exactly one separator, and at least one image;
* register 7: SecureBoot, PK, KEK, db and dbx first, in this order, and exactly one separator;
* registers 8, 9 and 12: at least one event of those that loaders and kernels make.

Sources: TCG PC Client Platform Firmware Profile 1.05, section 3.3.4 (registers 4 and 7); GRUB manual,
"Measuring boot components"; Linux, drivers/firmware/efi/libstub/efi-stub-helper.c (register 9); systemd,
src/boot/efi/measure.c (register 12; register 8 in builds for compatibility with versions before 251).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from provenance.derivation.boot import uki
from provenance.derivation.derived import convert
from provenance.errors import LaunchShapeInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

BANK: Final = "sha256"  # the bank whose registers the verifier gives as pcr00 to pcr23
MAX_EVENTS: Final = 256
MAX_PHASES: Final = 16
VARIABLES: Final = ("PK", "KEK", "db", "dbx")  # after SecureBoot, in this order


class Separator(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="separator"):
    """The firmware's EV_SEPARATOR: four zero bytes."""


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="action"):
    """An EFI action, by its text."""

    text: str


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="image"):
    """A PE image that is loaded: the artefact of a role, or one section of it."""

    role: str
    section: str | None = None


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="section"):
    """The content of a section of a PE image, hashed as it is (predictions of register 11 alone)."""

    role: str
    section: str


class SecureBoot(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="secure-boot"
):
    """The variable SecureBoot: one byte, or null where the firmware has no such variable."""

    enabled: bool | None

    @property
    def content(self) -> bytes:
        """The variable's content."""
        return b"" if self.enabled is None else bytes([self.enabled])


class Variable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="variable"):
    """A variable, from the artefact of a role; ``role`` null where the variable does not exist."""

    name: str
    role: str | None
    guid: str | None = None


class Authority(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="authority"):
    """What let an image pass: the variable it stands in, and the entry as the artefact of a role."""

    name: str
    role: str
    guid: str | None = None


class Commands(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="commands"):
    """GRUB commands: an artefact that is a JSON list of texts, each measured."""

    role: str


class KernelCmdline(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="kernel-cmdline"
):
    """GRUB's command line for the kernel, kernel path first, as text."""

    role: str


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="file"):
    """A file that GRUB reads, or the initrd that the kernel loads, as it is."""

    role: str


class LoadOptions(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="load-options"
):
    """The kernel's EFI load options: the command line as UTF-16 with its NUL."""

    role: str


BootEvent = (
    Separator
    | Action
    | Image
    | Section
    | SecureBoot
    | Variable
    | Authority
    | Commands
    | KernelCmdline
    | File
    | LoadOptions
)
_ALLOWED: Final[Mapping[int, tuple[type, ...]]] = {
    4: (Separator, Action, Image),
    7: (Separator, SecureBoot, Variable, Authority),
    8: (Commands, KernelCmdline, LoadOptions),
    9: (File, LoadOptions),
    12: (File, LoadOptions),
}


class UnifiedKernel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What systemd-stub measures into register 11, and the phases at which it is to be known.

    Attributes:
        role: role of the image.
        sections: sections that this stub measures, in the canonical order.
        phases: phase paths, one value each; the empty path is before any phase.
    """

    role: str
    sections: list[str]
    phases: list[str]


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bank: str
    pcr4: list[BootEvent] | None = None
    pcr7: list[BootEvent] | None = None
    pcr8: list[BootEvent] | None = None
    pcr9: list[BootEvent] | None = None
    pcr11: UnifiedKernel | None = None
    pcr12: list[BootEvent] | None = None


class BootShape(msgspec.Struct, frozen=True):
    """A checked shape.

    Attributes:
        events: register (4, 7, 8, 9, 12) to its events in order.
        kernel: what is measured into register 11, or None.
    """

    events: dict[int, tuple[BootEvent, ...]]
    kernel: UnifiedKernel | None


def parse(launch: Mapping[str, Any]) -> BootShape:
    """Parse the ``launch`` member of a derivation request.

    Raises:
        LaunchShapeInvalid: a missing, unknown, ill-typed or contradicting member; an event that the
            register does not get, or that it must have and lacks.
    """
    document = convert(launch, _Document)
    if document.bank != BANK:
        raise LaunchShapeInvalid(f"launch shape: bank is {BANK}, the one that policies see")
    stated = {
        4: document.pcr4,
        7: document.pcr7,
        8: document.pcr8,
        9: document.pcr9,
        12: document.pcr12,
    }
    events = {register: tuple(items) for register, items in stated.items() if items is not None}
    for register, items in events.items():
        _check(register, items)
    if document.pcr11 is not None:
        _check_kernel(document.pcr11)
    elif not events:
        raise LaunchShapeInvalid("launch shape: it states no register")
    return BootShape(events, document.pcr11)


def _check(register: int, events: tuple[BootEvent, ...]) -> None:
    if not 1 <= len(events) <= MAX_EVENTS:
        raise LaunchShapeInvalid(f"launch shape: pcr{register} has no event, or more than {MAX_EVENTS}")
    if not all(isinstance(event, _ALLOWED[register]) for event in events):
        raise LaunchShapeInvalid(f"launch shape: pcr{register} has an event that another register gets")
    separators = sum(isinstance(event, Separator) for event in events)
    if Separator in _ALLOWED[register] and separators != 1:
        raise LaunchShapeInvalid(
            f"launch shape: pcr{register} has {separators} separators, one is measured"
        )
    if Image in _ALLOWED[register] and not any(isinstance(event, Image) for event in events):
        raise LaunchShapeInvalid(f"launch shape: pcr{register} has no image: nothing would be booted")
    if SecureBoot in _ALLOWED[register]:
        _check_secure_boot(events)


def _check_secure_boot(events: tuple[BootEvent, ...]) -> None:
    first, following = events[0], events[1 : 1 + len(VARIABLES)]
    names = tuple(event.name for event in following if isinstance(event, Variable))
    if not isinstance(first, SecureBoot) or names != VARIABLES:
        raise LaunchShapeInvalid(
            f"launch shape: pcr7 begins with secure-boot and the variables {', '.join(VARIABLES)}"
        )
    if any(isinstance(event, SecureBoot) for event in events[1:]):
        raise LaunchShapeInvalid("launch shape: pcr7 has two events secure-boot")


def _check_kernel(kernel: UnifiedKernel) -> None:
    uki.check_sections(kernel.sections)
    if not 1 <= len(kernel.phases) <= MAX_PHASES or len(set(kernel.phases)) != len(kernel.phases):
        raise LaunchShapeInvalid(f"launch shape: phases are 1 to {MAX_PHASES} different paths")
