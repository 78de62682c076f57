"""Strict reader of the TDVF metadata of a TDX virtual firmware.

The OVMF table's entry ``TDX metadata`` gives the descriptor's offset from the end of the image. The
descriptor: signature "TDVF", its length, version 1, number of sections; then per section 32 bytes: data
offset and size in the image, guest address and size, type, attributes.

Measuring tools that slice without a bound give a plausible wrong MRTD for a split image (code without
variables), whose sections reach beyond the file: here such a section is refused, never padded. What holds
of every ``Tdvf``: sections are whole pages, disjoint, below 4 GiB, of bounded size; those that bring data
(BFV, CFV, embedded payload) bring all of it, from inside the image and from disjoint ranges; those
that bring none are zero or the VMM's to fill.

Not done: the descriptor at 4 GiB - 20h that firmware without an OVMF table uses.

Sources: Intel TDX Virtual Firmware Design Guide (344991), section 11 (TDVF metadata); edk2,
OvmfPkg/ResetVector/X64/IntelTdxMetadata.asm and ResetVectorVtf0.asm; QEMU, hw/i386/tdvf.c.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from common.binary import Reader
from common.errors import Malformed
from provenance.derivation.snp import ovmf
from provenance.errors import ArtifactInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE: Final = 4096
FOUR_GIB: Final = 1 << 32
MAX_IMAGE_BYTES: Final = 64 << 20  # td-shim images carry a kernel
MAX_SECTIONS: Final = 64
# Added page by page: bounds the time that a hostile table can cost.
MAX_MEMORY_BYTES: Final = 128 << 20
_METADATA_GUID: Final = UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le
_SIGNATURE: Final = b"TDVF"
_VERSION: Final = 1
_HEADER_BYTES: Final = 16
_SECTION_BYTES: Final = 32


class SectionType(IntEnum):
    """Section types (TDVF Design Guide, table 11-3)."""

    BFV = 0
    CFV = 1
    TD_HOB = 2
    TEMP_MEM = 3
    PERM_MEM = 4
    PAYLOAD = 5
    PAYLOAD_PARAM = 6


class Attribute(IntEnum):
    """Section attributes, bits (TDVF Design Guide, table 11-4)."""

    MR_EXTEND = 1
    PAGE_AUG = 2


_KNOWN_ATTRIBUTES: Final = Attribute.MR_EXTEND | Attribute.PAGE_AUG
_WITH_DATA: Final = frozenset({SectionType.BFV, SectionType.CFV})
_MAY_HAVE_DATA: Final = _WITH_DATA | {SectionType.PAYLOAD}


class Section(msgspec.Struct, frozen=True):
    """One section.

    Attributes:
        type: what it is.
        gpa: guest physical address of its first byte.
        size: bytes in guest memory.
        extended: its content is measured (MR.EXTEND), not only its pages' addresses.
        augmented: its pages are added after the launch (PAGE.AUG), and are not measured at all.
        data: its content from the image; None where it has none.
    """

    type: SectionType
    gpa: int
    size: int
    extended: bool
    augmented: bool
    data: bytes | None


class Tdvf(msgspec.Struct, frozen=True):
    """A firmware's sections, in the order of its table, which is the order of measurement."""

    sections: tuple[Section, ...]

    def one(self, kind: SectionType) -> Section:
        """The only section of a type.

        Raises:
            ArtifactInvalid: none, or several.
        """
        found = [section for section in self.sections if section.type is kind]
        if len(found) != 1:
            raise ArtifactInvalid(f"the firmware declares {len(found)} {kind.name} sections, not one")
        return found[0]


def parse(image: bytes) -> Tdvf:
    """Read a firmware image.

    Args:
        image: the whole image, as the VMM maps it below 4 GiB: code and variables together.

    Raises:
        ArtifactInvalid: not whole pages, too large, no OVMF table or TDVF metadata, anything that points
            outside the image, or a section that breaks the rules above.
    """
    if not image or len(image) % PAGE or len(image) > MAX_IMAGE_BYTES:
        raise ArtifactInvalid(
            f"the firmware has {len(image)} bytes: not whole pages, or over {MAX_IMAGE_BYTES}"
        )
    try:
        entry = ovmf.guid_table(image).get(_METADATA_GUID)
        if entry is None:
            raise ArtifactInvalid("the firmware has no TDVF metadata: it cannot be launched as a TD")
        offset = Reader(entry, "TDVF metadata offset", "little")
        from_end = offset.u32("offset")
        offset.finish()
        records = _records(image, from_end)
    except Malformed as error:
        raise ArtifactInvalid(error.message) from error
    sections = tuple(_section(image, record) for record in records)
    _check_disjoint(((s.gpa, s.size) for s in sections), "in guest memory")
    _check_disjoint(((offset, size) for offset, size, *_ in records if size), "in the image")
    if sum(section.size for section in sections if not section.augmented) > MAX_MEMORY_BYTES:
        raise ArtifactInvalid(f"the firmware's sections are larger than {MAX_MEMORY_BYTES} bytes together")
    return Tdvf(sections)


def _records(image: bytes, from_end: int) -> list[tuple[int, int, int, int, int, int]]:
    if not _HEADER_BYTES <= from_end <= len(image):
        raise ArtifactInvalid("the firmware's TDVF metadata is outside the firmware")
    reader = Reader(image[len(image) - from_end :], "TDVF metadata", "little")
    if reader.take(len(_SIGNATURE), "signature") != _SIGNATURE:
        raise ArtifactInvalid("the firmware's TDVF metadata has no TDVF signature")
    length, version, count = reader.u32("length"), reader.u32("version"), reader.u32("count")
    if version != _VERSION:
        raise ArtifactInvalid("the firmware's TDVF metadata is not version 1")
    if not 1 <= count <= MAX_SECTIONS or length != _HEADER_BYTES + count * _SECTION_BYTES:
        raise ArtifactInvalid("the firmware's TDVF metadata states a length that is not its sections'")
    return [
        (
            reader.u32("data offset"),
            reader.u32("data size"),
            reader.u64("address"),
            reader.u64("memory size"),
            reader.u32("type"),
            reader.u32("attributes"),
        )
        for _ in range(count)
    ]


def _section(image: bytes, record: tuple[int, int, int, int, int, int]) -> Section:
    offset, data_size, gpa, size, kind, attributes = record
    try:
        section_type = SectionType(kind)
    except ValueError as error:
        raise ArtifactInvalid(f"the firmware declares a TDVF section of unknown type {kind}") from error
    name = section_type.name
    if attributes & ~_KNOWN_ATTRIBUTES:
        raise ArtifactInvalid(f"the firmware's {name} section has attributes that are not known")
    if size == 0 or gpa % PAGE or size % PAGE or gpa + size > FOUR_GIB:
        raise ArtifactInvalid(f"the firmware's {name} section is empty, not page-aligned, or beyond 4 GiB")
    augmented = bool(attributes & Attribute.PAGE_AUG)
    extended = bool(attributes & Attribute.MR_EXTEND)
    if augmented and (extended or data_size):
        raise ArtifactInvalid(f"the firmware's {name} section is added after the launch, and measured")
    if data_size == 0:
        if section_type in _WITH_DATA:
            raise ArtifactInvalid(f"the firmware's {name} section has no data")
        return Section(section_type, gpa, size, extended, augmented, None)
    if section_type not in _MAY_HAVE_DATA:
        raise ArtifactInvalid(f"the firmware's {name} section has data, which its type cannot")
    if offset + data_size > len(image):
        raise ArtifactInvalid(
            f"the firmware's {name} section ends beyond the file",
            advice="Give the whole firmware: code and variables in one image, not one half of a split one.",
        )
    if data_size != size:
        raise ArtifactInvalid(f"the firmware's {name} section has less data than memory, or more")
    return Section(section_type, gpa, size, extended, augmented, image[offset : offset + data_size])


def _check_disjoint(ranges: Iterable[tuple[int, int]], where: str) -> None:
    end = 0
    for start, size in sorted(ranges):
        if start < end:
            raise ArtifactInvalid(f"two TDVF sections of the firmware overlap {where}")
        end = start + size
