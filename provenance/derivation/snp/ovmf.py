"""Strict reader of the GUIDed table and SEV metadata of an OVMF image.

The table ends 32 bytes before the end of the image (4 GiB - 32) and is walked backwards: data, then a
16-bit size that counts data and header, then a 16-byte GUID. Its last entry is the footer, whose size is
that of the whole table.

Measuring tools read this leniently (a missing table is an empty one, Python slices wrap and shorten, the
last of two equal GUIDs wins, where QEMU takes the first), and then give a plausible wrong digest. Here
everything out of place is refused.

Sources: edk2, OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm (table), X64/OvmfSevMetadata.asm (metadata);
QEMU, hw/i386/pc_sysfw_ovmf.c.
"""

from __future__ import annotations

import struct
from typing import Final
from uuid import UUID

import msgspec

from common.binary import Reader
from common.errors import Malformed
from provenance.errors import ArtifactInvalid

_FOOTER_GUID: Final = UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
_HASH_TABLE_GUID: Final = UUID("7255371f-3a3b-4b04-927b-1da6efa8d454").bytes_le
_RESET_BLOCK_GUID: Final = UUID("00f771de-1a7e-4fcb-890e-68c77e2fb44e").bytes_le
_METADATA_GUID: Final = UUID("dc886566-984a-4798-a75e-5585a7bf67cc").bytes_le
_TABLE_FROM_END: Final = 32
_ENTRY: Final = struct.Struct("<H16s")
_METADATA_SIGNATURE: Final = b"ASEV"
_METADATA_VERSION: Final = 1
_METADATA_HEADER_BYTES: Final = 16
_SECTION_BYTES: Final = 12
_MAX_ITEMS: Final = 256
_MIN_HASH_TABLE_BYTES: Final = 176  # QEMU, target/i386/sev.c, sizeof(PaddedSevHashTable)


class RawSection(msgspec.Struct, frozen=True):
    """One item of the SEV metadata, as stated.

    Attributes:
        gpa: guest physical address.
        size: bytes.
        type: type number.
    """

    gpa: int
    size: int
    type: int


class Image(msgspec.Struct, frozen=True):
    """What an OVMF image says about its launch.

    Attributes:
        sections: SEV metadata, in order.
        hashes_table_gpa: address of the kernel-hashes table; None where absent or zero.
        reset_eip: start address of application processors; None where absent.
    """

    sections: tuple[RawSection, ...]
    hashes_table_gpa: int | None
    reset_eip: int | None


def parse(data: bytes) -> Image:
    """Read an image.

    Raises:
        ArtifactInvalid: no OVMF table or SNP metadata, a repeated GUID, or a size or offset that
            leaves the image.
    """
    try:
        table = guid_table(data)
        metadata = table.get(_METADATA_GUID)
        if metadata is None:
            raise ArtifactInvalid("the firmware has no SEV metadata: it cannot be launched as SNP")
        return Image(
            sections=_sections(data, Reader(metadata, "SEV metadata offset", "little").u32("offset")),
            hashes_table_gpa=_hash_table(table.get(_HASH_TABLE_GUID)),
            reset_eip=_reset_eip(table.get(_RESET_BLOCK_GUID)),
        )
    except Malformed as error:
        raise ArtifactInvalid(error.message) from error


def guid_table(data: bytes) -> dict[bytes, bytes]:
    """The GUIDed table: GUID (16 bytes, as stored) to data.

    Raises:
        ArtifactInvalid: no table, a repeated GUID, or a size that leaves the image.
    """
    end = len(data) - _TABLE_FROM_END
    size, guid = _entry(data, 0, end)
    if guid != _FOOTER_GUID:
        raise ArtifactInvalid("the firmware has no OVMF table 32 bytes before its end")
    start = end - size
    if start < 0:
        raise ArtifactInvalid("the firmware's OVMF table is larger than the firmware")
    table: dict[bytes, bytes] = {}
    end -= _ENTRY.size
    while end > start:
        size, guid = _entry(data, start, end)
        if guid in table:
            raise ArtifactInvalid("the firmware's OVMF table has a GUID twice")
        table[guid] = data[end - size : end - _ENTRY.size]
        end -= size
    return table


def _entry(data: bytes, start: int, end: int) -> tuple[int, bytes]:
    """Size and GUID of the entry that ends at ``end``; all of it is at or after ``start``."""
    if end - start < _ENTRY.size:
        raise ArtifactInvalid("the firmware's OVMF table ends within an entry")
    size, guid = _ENTRY.unpack_from(data, end - _ENTRY.size)
    # The footer's size is that of the table; it is held against the image by the caller.
    if size < _ENTRY.size or (guid != _FOOTER_GUID and size > end - start):
        raise ArtifactInvalid("an entry of the firmware's OVMF table has an impossible size")
    return size, guid


def _sections(data: bytes, from_end: int) -> tuple[RawSection, ...]:
    if not _METADATA_HEADER_BYTES <= from_end <= len(data):
        raise ArtifactInvalid("the firmware's SEV metadata is outside the firmware")
    reader = Reader(data[len(data) - from_end :], "SEV metadata", "little")
    if reader.take(len(_METADATA_SIGNATURE), "signature") != _METADATA_SIGNATURE:
        raise ArtifactInvalid("the firmware's SEV metadata has no ASEV signature")
    size, version, count = reader.u32("size"), reader.u32("version"), reader.u32("count")
    if version != _METADATA_VERSION:
        raise ArtifactInvalid("the firmware's SEV metadata is not version 1")
    if count > _MAX_ITEMS or size != _METADATA_HEADER_BYTES + count * _SECTION_BYTES:
        raise ArtifactInvalid("the firmware's SEV metadata states a size that is not that of its items")
    return tuple(
        RawSection(reader.u32("gpa"), reader.u32("size"), reader.u32("type")) for _ in range(count)
    )


def _hash_table(entry: bytes | None) -> int | None:
    # Firmware built without support carries the entry with zeroes (edk2, OvmfPkgX64).
    if entry is None:
        return None
    reader = Reader(entry, "SEV hash table entry", "little")
    base, size = reader.u32("base"), reader.u32("size")
    if base == 0:
        return None
    if size < _MIN_HASH_TABLE_BYTES:
        raise ArtifactInvalid("the firmware's table of kernel hashes is too small to hold them")
    return base


def _reset_eip(entry: bytes | None) -> int | None:
    return None if entry is None else Reader(entry, "SEV-ES reset block", "little").u32("address")
