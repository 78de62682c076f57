"""Unified kernel images: which sections systemd-stub measures into PCR 11, and the boot phases after it.

For each measured section, in the canonical order: the name with its NUL, then the content as it lies in
memory. Then, one after the other, the words of the boot phases, without NUL.

* Which sections a stub measures depends on its version: the caller states them. Every section that all
  versions measure must be stated if the image has it; a stated one must be there, and once.
* ``.pcrsig`` is never measured: it signs the result.
* Refused: images with several profiles or with sections that are chosen by the hardware (``.profile``,
  ``.dtbauto``, ``.hwids``, ``.efifw``): the image alone does not say what is measured.

Sources: UAPI group, Unified Kernel Image specification, "UKI TPM PCR Measurements"; systemd,
src/fundamental/uki.h (order), man systemd-stub(7), systemd-measure(1), systemd-pcrphase.service(8).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from provenance.derivation.boot import measured_boot, pe
from provenance.errors import ArtifactInvalid, LaunchShapeInvalid, NotDerivable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provenance.derivation.boot.measured_boot import Measurement

KERNEL_BOOT_PCR: Final = 11
LINUX: Final = ".linux"
SECTIONS: Final = (
    LINUX,
    ".osrel",
    ".cmdline",
    ".initrd",
    ".ucode",
    ".splash",
    ".dtb",
    ".uname",
    ".sbat",
    ".pcrpkey",
)
# Measured since versions that distributions backport differently; the rest by every stub that measures.
_BY_VERSION: Final = frozenset({".ucode", ".uname", ".sbat"})
_UNDETERMINED: Final = frozenset({".profile", ".dtbauto", ".hwids", ".efifw"})
PHASES: Final = ("enter-initrd", "leave-initrd", "sysinit", "ready", "shutdown", "final")
_STUB_SECTION: Final = ".sdmagic"
_STUB_PREFIX: Final = b"#### LoaderInfo: "
_STUB_SUFFIX: Final = b" ####"
_MAX_STUB_NAME: Final = 128


def measure_sections(image: bytes, stated: Sequence[str], banks: Iterable[str]) -> tuple[Measurement, ...]:
    """What the stub extends PCR 11 with, before any boot phase.

    Args:
        image: the unified kernel image.
        stated: the sections that this stub measures, out of ``SECTIONS`` and in that order.
        banks: banks to hash for.

    Raises:
        LaunchShapeInvalid: ``stated`` is not such a list, or lacks ``.linux``.
        ArtifactInvalid: not a PE image; a section twice, missing, or larger than in the file.
        NotDerivable: the image has a section that every stub measures and that is not stated, or one
            that the hardware chooses.
    """
    check_sections(stated)
    found = _unified(image)
    if found.keys() & _UNDETERMINED:
        named = ", ".join(sorted(found.keys() & _UNDETERMINED))
        raise NotDerivable(f"the image has sections that the hardware or a choice at boot selects: {named}")
    unstated = [name for name in SECTIONS if name in found and name not in stated]
    if set(unstated) - _BY_VERSION:
        raise NotDerivable(
            f"the image has sections that are measured and not stated: {', '.join(unstated)}"
        )
    missing = [name for name in stated if name not in found]
    if missing:
        raise ArtifactInvalid(f"the image has no section {missing[0]}, which is stated to be measured")
    return measure_contents([(name, pe.contents(image, found[name])) for name in stated], banks)


def measure_contents(parts: Sequence[tuple[str, bytes]], banks: Iterable[str]) -> tuple[Measurement, ...]:
    """What the stub extends PCR 11 with for sections of these names and contents, in this order.

    Raises:
        NotDerivable: an empty section.
    """
    wanted = tuple(banks)
    measured: list[Measurement] = []
    for name, content in parts:
        if not content:
            raise NotDerivable(f"the section {name} is empty: not every stub measures it then")
        measured += [
            measured_boot.measure(KERNEL_BOOT_PCR, f"{name} name", name.encode() + b"\0", wanted),
            measured_boot.measure(KERNEL_BOOT_PCR, name, content, wanted),
        ]
    return tuple(measured)


def measure_phases(path: str, banks: Iterable[str]) -> tuple[Measurement, ...]:
    """What reaching a boot phase extends PCR 11 with; ``path`` as in systemd-measure, ``:`` between words.

    Raises:
        LaunchShapeInvalid: a word that is no phase, twice the same, or words out of order.
    """
    words = path.split(":") if path else []
    places = [PHASES.index(word) if word in PHASES else -1 for word in words]
    if -1 in places or any(later <= earlier for earlier, later in pairwise(places)):
        raise LaunchShapeInvalid(f"launch shape: a phase path is words out of {':'.join(PHASES)}, in order")
    wanted = tuple(banks)
    return tuple(
        measured_boot.measure(KERNEL_BOOT_PCR, f"phase {word}", word.encode(), wanted) for word in words
    )


def check_sections(stated: Sequence[str]) -> None:
    """Whether ``stated`` is a list of sections in the canonical order, ``.linux`` among them.

    Raises:
        LaunchShapeInvalid: otherwise.
    """
    if LINUX not in stated or list(stated) != [name for name in SECTIONS if name in stated]:
        raise LaunchShapeInvalid(
            f"launch shape: measured sections are {LINUX} and others out of {', '.join(SECTIONS)}, in order"
        )


def section(image: bytes, name: str) -> bytes:
    """The content of one section.

    Raises:
        ArtifactInvalid: not a PE image; no such section, or twice; larger than in the file.
    """
    found = _unified(image)
    if name not in found:
        raise ArtifactInvalid(f"the image has no section {name[:8]!a}")
    return pe.contents(image, found[name])


def stub_version(image: bytes) -> str | None:
    """What the stub says of itself (``systemd-stub 252.39``), for the record; None if it does not.

    Raises:
        ArtifactInvalid: not a PE image.
    """
    found = _unified(image)
    if _STUB_SECTION not in found:
        return None
    text = pe.contents(image, found[_STUB_SECTION]).rstrip(b"\0")
    if not (text.startswith(_STUB_PREFIX) and text.endswith(_STUB_SUFFIX)):
        return None
    name = text[len(_STUB_PREFIX) : -len(_STUB_SUFFIX)]
    printable = name.isascii() and name.decode("ascii").isprintable() and len(name) <= _MAX_STUB_NAME
    return name.decode("ascii") if printable else None


def _unified(image: bytes) -> dict[str, pe.Section]:
    found: dict[str, pe.Section] = {}
    for item in pe.sections(image):
        if item.name in found:
            raise ArtifactInvalid(f"the image has two sections {item.name!a}")
        found[item.name] = item
    return found
