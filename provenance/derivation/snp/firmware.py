"""What the SNP launch digest needs of the guest firmware, from the file or from a descriptor.

Invariants of every ``FirmwareState``, whichever way it was made: sections are page-aligned, not empty,
below 4 GiB, disjoint and of bounded total size; secrets, CPUID and kernel-hashes sections are one page
each and at most one of a kind; a hash table lies within the kernel-hashes section. A page that is
launched twice is refused by the hardware, so a firmware that breaks these cannot be launched as SNP.

A *firmware descriptor* is strict JSON for when the firmware itself is not at hand (``parse_descriptor``,
docs/formats.md): the launch digest after the firmware's own pages, and the table of the rest.

Sources: SEV-SNP firmware ABI (56860) section 8.17 (SNP_LAUNCH_UPDATE); edk2,
OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm (section types); QEMU, target/i386/sev.c.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec
from sevsnpmeasure.gctx import GCTX

from common import strict_json
from common.encoding import hex_decode
from common.errors import InputError
from provenance.derivation.snp import ovmf
from provenance.errors import ArtifactInvalid

DESCRIPTOR_FORMAT: Final = "urn:touchstone:snp-firmware:v1"
PAGE: Final = 4096
FOUR_GIB: Final = 1 << 32  # the firmware ends there (reset vector at FFFFFFF0h)
MAX_FIRMWARE_BYTES: Final = 16 << 20
MAX_DESCRIPTOR_BYTES: Final = 64 << 10
MAX_SECTIONS: Final = 64
# Measured page by page: bounds the time that a hostile table can cost.
MAX_SECTION_BYTES: Final = 64 << 20
_LD_BYTES: Final = 48  # SHA-384
# QEMU, target/i386/sev.c, PaddedSevHashTable: 168 bytes, rounded up to 16.
HASH_TABLE_BYTES: Final = 176


class SectionType(IntEnum):
    """Section types of the OVMF SEV metadata (edk2, OvmfSevMetadata.asm)."""

    SEC_MEM = 1
    SECRETS = 2
    CPUID = 3
    SVSM_CAA = 4
    KERNEL_HASHES = 0x10


_SINGLE_PAGE: Final = (SectionType.SECRETS, SectionType.CPUID, SectionType.KERNEL_HASHES)


class Section(msgspec.Struct, frozen=True):
    """A range of guest memory that the VMM launches for the firmware.

    Attributes:
        gpa: guest physical address of its first byte.
        size: bytes.
        type: what the pages are.
    """

    gpa: int
    size: int
    type: SectionType


class FirmwareState(msgspec.Struct, frozen=True):
    """All that the launch digest needs of a firmware.

    Attributes:
        ovmf_hash: launch digest after the firmware's own pages (48 bytes).
        sections: in the firmware's order, which is the order of measurement.
        hashes_table_gpa: address of the table of kernel hashes, or None.
        reset_eip: address at which application processors start, or None.
    """

    ovmf_hash: bytes
    sections: tuple[Section, ...]
    hashes_table_gpa: int | None
    reset_eip: int | None

    @property
    def measures_kernel(self) -> bool:
        """Whether the firmware declares a page and a table for kernel hashes."""
        return self.hashes_table_gpa is not None and any(
            section.type is SectionType.KERNEL_HASHES for section in self.sections
        )

    def descriptor(self) -> bytes:
        """The firmware descriptor of this state (RFC 8785 JSON)."""
        return strict_json.canonical(
            {
                "format": DESCRIPTOR_FORMAT,
                "ovmf_hash": self.ovmf_hash.hex(),
                "ovmf_sections": [
                    {"gpa": section.gpa, "size": section.size, "type": int(section.type)}
                    for section in self.sections
                ],
                "hashes_table_gpa": self.hashes_table_gpa,
                "reset_eip": self.reset_eip,
            }
        )


class _DescribedSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    gpa: int
    size: int
    type: int


class _Descriptor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    ovmf_hash: str
    ovmf_sections: list[_DescribedSection]
    hashes_table_gpa: int | None
    reset_eip: int | None


def parse_firmware(data: bytes) -> FirmwareState:
    """Read an OVMF image with SEV metadata and measure its pages.

    Args:
        data: the whole image as the VMM maps it below 4 GiB.

    Raises:
        ArtifactInvalid: not whole pages, too large, no OVMF table, no SNP metadata, anything that
            points outside the file, or a section that cannot be launched.
    """
    if not data or len(data) % PAGE:
        raise ArtifactInvalid(f"the firmware has {len(data)} bytes, which is not a number of whole pages")
    if len(data) > MAX_FIRMWARE_BYTES:
        raise ArtifactInvalid(f"the firmware has {len(data)} bytes, the limit is {MAX_FIRMWARE_BYTES}")
    image = ovmf.parse(data)
    base = FOUR_GIB - len(data)
    state = _state(
        ovmf_hash=bytes(_LD_BYTES),
        sections=[(item.gpa, item.size, item.type) for item in image.sections],
        hashes_table_gpa=image.hashes_table_gpa,
        reset_eip=image.reset_eip,
    )
    if any(section.gpa + section.size > base for section in state.sections):
        raise ArtifactInvalid("a section of the firmware's metadata overlaps the firmware itself")
    context = GCTX()
    context.update_normal_pages(base, data)
    return msgspec.structs.replace(state, ovmf_hash=context.ld())


def parse_descriptor(data: bytes) -> FirmwareState:
    """Read a firmware descriptor.

    Args:
        data: strict JSON with ``format``, ``ovmf_hash`` (96 lower-case hex characters),
            ``ovmf_sections`` (a list of ``gpa``, ``size``, ``type``), ``hashes_table_gpa`` and
            ``reset_eip`` (numbers, or null where the firmware has none). All members are required.

    Raises:
        ArtifactInvalid: anything else, or a section that cannot be launched.
    """
    try:
        document = msgspec.convert(
            strict_json.loads(data, what="the firmware descriptor", max_bytes=MAX_DESCRIPTOR_BYTES),
            type=_Descriptor,
            strict=True,
        )
        ovmf_hash = hex_decode(document.ovmf_hash, what="ovmf_hash", length=_LD_BYTES)
    except (msgspec.ValidationError, InputError) as error:
        raise ArtifactInvalid(f"the firmware descriptor cannot be read: {error}") from error
    if document.format != DESCRIPTOR_FORMAT:
        raise ArtifactInvalid(f"the firmware descriptor's format is not {DESCRIPTOR_FORMAT}")
    return _state(
        ovmf_hash=ovmf_hash,
        sections=[(item.gpa, item.size, item.type) for item in document.ovmf_sections],
        hashes_table_gpa=document.hashes_table_gpa,
        reset_eip=document.reset_eip,
    )


def _state(
    *,
    ovmf_hash: bytes,
    sections: list[tuple[int, int, int]],
    hashes_table_gpa: int | None,
    reset_eip: int | None,
) -> FirmwareState:
    if not 1 <= len(sections) <= MAX_SECTIONS:
        raise ArtifactInvalid(f"the firmware declares {len(sections)} sections, 1 to {MAX_SECTIONS} may be")
    parsed = tuple(_section(gpa, size, kind) for gpa, size, kind in sections)
    _check_disjoint(parsed)
    for kind in _SINGLE_PAGE:
        if sum(section.type is kind for section in parsed) > 1:
            raise ArtifactInvalid(f"the firmware declares two {kind.name} sections")
    if reset_eip is not None and not 0 < reset_eip < FOUR_GIB:
        raise ArtifactInvalid("the firmware's reset address for application processors is not within 4 GiB")
    _check_hash_table(parsed, hashes_table_gpa)
    return FirmwareState(ovmf_hash, parsed, hashes_table_gpa, reset_eip)


def _section(gpa: int, size: int, kind: int) -> Section:
    try:
        section = Section(gpa, size, SectionType(kind))
    except ValueError as error:
        raise ArtifactInvalid(f"the firmware declares a section of unknown type {kind}") from error
    if gpa < 0 or size <= 0 or gpa % PAGE or size % PAGE or gpa + size > FOUR_GIB:
        raise ArtifactInvalid("a section of the firmware is empty, not page-aligned, or beyond 4 GiB")
    # The page types SECRETS and CPUID are one page by definition (ABI 8.17.2.4 to 8.17.2.6); QEMU and
    # KVM do not agree on what a longer one would be.
    if section.type in _SINGLE_PAGE and size != PAGE:
        raise ArtifactInvalid(f"the firmware's {section.type.name} section is not exactly one page")
    return section


def _check_disjoint(sections: tuple[Section, ...]) -> None:
    if sum(section.size for section in sections) > MAX_SECTION_BYTES:
        raise ArtifactInvalid(f"the firmware's sections are larger than {MAX_SECTION_BYTES} bytes together")
    end = 0
    for section in sorted(sections, key=lambda item: item.gpa):
        if section.gpa < end:
            raise ArtifactInvalid("two sections of the firmware overlap")
        end = section.gpa + section.size


def _check_hash_table(sections: tuple[Section, ...], gpa: int | None) -> None:
    if gpa is None:
        return
    for section in sections:
        if section.type is SectionType.KERNEL_HASHES and not (
            section.gpa <= gpa <= section.gpa + section.size - HASH_TABLE_BYTES
        ):
            raise ArtifactInvalid("the firmware's table of kernel hashes is outside its section")
    if not 0 < gpa < FOUR_GIB:
        raise ArtifactInvalid("the firmware's table of kernel hashes is not within 4 GiB")
