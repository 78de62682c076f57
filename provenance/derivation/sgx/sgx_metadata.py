"""The metadata that the Intel SGX SDK's signing tool leaves in an enclave (section ``.note.sgxmeta``).

It states what the loader builds beyond the ELF segments (heap, stacks, thread control structures, guard
pages), which bytes of the file it replaces first, and the SIGSTRUCT. A file can carry several blocks for
loaders of several generations; all are read.

Every offset is checked against the block, every count is bounded; what the format leaves room for and
this reader does not know is refused.

Source: Intel linux-sgx, common/inc/internal/metadata.h (metadata_t, layout_t, patch_entry_t; packed,
little-endian), se_page_attr.h (page attributes).
"""

from __future__ import annotations

from typing import Final

import msgspec

from common.binary import Reader
from provenance.derivation.sgx.sigstruct import SIGSTRUCT_BYTES
from provenance.errors import ArtifactInvalid, NotDerivable

MAGIC: Final = 0x86A80294635D0E4C
HEADER_BYTES: Final = 1888  # offset of metadata_t.data
VERSION_1_3: Final = (1, 3)  # SDK 1.5: its loader adds a page that later ones do not
ATTRIBUTE_EADD: Final = 1 << 0
ATTRIBUTE_EEXTEND: Final = 1 << 1
_KNOWN_ATTRIBUTES: Final = 0x7F
_GROUP: Final = 1 << 12  # of a layout entry's id
_ENTRY_BYTES: Final = 32
_MAX_BLOCKS: Final = 8
_MAX_BLOCK_BYTES: Final = 1 << 20
_MAX_ENTRIES: Final = 1024
_MAX_LOADS: Final = 1 << 16
# Majors above 10 carry a separate enclave range (ELRANGE), which moves every offset.
_LAST_MAJOR: Final = 10


class Patch(msgspec.Struct, frozen=True):
    """Bytes of the file that the loader replaces before it measures.

    Attributes:
        offset: in the file.
        data: the new bytes.
    """

    offset: int
    data: bytes


class Area(msgspec.Struct, frozen=True):
    """Pages that the loader adds after the segments.

    Attributes:
        rva: offset in the enclave.
        pages: how many.
        attributes: EADD, EEXTEND ...
        flags: SECINFO.FLAGS; 0 for a guard area, where nothing is added.
        content: initial content, or None.
        fill: where there is no content: the 32-bit word that fills each page.
    """

    rva: int
    pages: int
    attributes: int
    flags: int
    content: bytes | None
    fill: int


class Metadata(msgspec.Struct, frozen=True):
    """One block.

    Attributes:
        version: major and minor.
        enclave_size: bytes.
        ssa_frame_pages: pages of an SSA frame.
        sigstruct: 1808 bytes, not verified here.
        patches: in order.
        areas: in the order of loading, groups unrolled.
    """

    version: tuple[int, int]
    enclave_size: int
    ssa_frame_pages: int
    sigstruct: bytes
    patches: tuple[Patch, ...]
    areas: tuple[Area, ...]


def parse_blocks(data: bytes) -> tuple[Metadata, ...]:
    """Every metadata block of the note's content, at least one.

    Raises:
        ArtifactInvalid: no block, too many, or an offset or size outside its block.
        NotDerivable: a version, page attribute or layout that this reader does not know.
        Malformed: cut short.
    """
    blocks: list[Metadata] = []
    start = 0
    while len(data) - start >= HEADER_BYTES and data[start : start + 8] == MAGIC.to_bytes(8, "little"):
        size = int.from_bytes(data[start + 16 : start + 20], "little")
        if not HEADER_BYTES <= size <= min(_MAX_BLOCK_BYTES, len(data) - start):
            raise ArtifactInvalid("a metadata block of the enclave is longer than its note, or too short")
        if len(blocks) >= _MAX_BLOCKS:
            raise ArtifactInvalid(f"the enclave has more than {_MAX_BLOCKS} metadata blocks")
        blocks.append(_block(data[start : start + size]))
        start += size
    if not blocks or any(data[start:]):
        raise ArtifactInvalid("the enclave's note holds no metadata, or something after it")
    return tuple(blocks)


def _block(data: bytes) -> Metadata:
    reader = Reader(data, "enclave metadata", "little")
    reader.u64("magic")
    minor, major = reader.u32("version"), reader.u32("version")
    if not 1 <= major <= _LAST_MAJOR:
        raise NotDerivable(f"metadata version {major}.{minor}: its enclave range is not laid out here")
    reader.take(8, "size and tcs_policy")
    frame = reader.u32("ssa_frame_size")
    reader.take(12, "max_save_buffer_size, desired_misc_select and tcs_min_pool")
    size = reader.u64("enclave_size")
    reader.take(16, "attributes")
    sigstruct = reader.take(SIGSTRUCT_BYTES, "enclave_css")
    patches = _directory(data, reader.u32("patch offset"), reader.u32("patch size"))
    layout = _directory(data, reader.u32("layout offset"), reader.u32("layout size"))
    return Metadata(
        version=(major, minor),
        enclave_size=size,
        ssa_frame_pages=frame,
        sigstruct=sigstruct,
        patches=tuple(_patch(data, entry) for entry in patches),
        areas=tuple(_unroll(data, layout)),
    )


def _directory(data: bytes, offset: int, size: int) -> list[bytes]:
    table = _within(data, offset, size, "a table")
    if size % _ENTRY_BYTES or size // _ENTRY_BYTES > _MAX_ENTRIES:
        raise ArtifactInvalid(f"a table of the metadata is not up to {_MAX_ENTRIES} whole entries")
    return [table[start : start + _ENTRY_BYTES] for start in range(0, size, _ENTRY_BYTES)]


def _within(data: bytes, offset: int, size: int, what: str) -> bytes:
    if size == 0:
        return b""
    if offset < HEADER_BYTES or offset + size > len(data):
        raise ArtifactInvalid(f"{what} of the metadata is outside its block")
    return data[offset : offset + size]


def _patch(data: bytes, entry: bytes) -> Patch:
    reader = Reader(entry, "patch", "little")
    offset, source, size = reader.u64("dst"), reader.u32("src"), reader.u32("size")
    return Patch(offset, _within(data, source, size, "a patch"))


def _unroll(data: bytes, table: list[bytes]) -> list[Area]:
    """The layout in loading order: a group repeats the entries before it, each time one step further."""
    areas: list[Area] = []
    entries: list[Area | None] = []  # None: a group
    for raw in table:
        reader = Reader(raw, "layout", "little")
        kind, second = reader.u16("id"), reader.u16("attributes")
        if not kind & _GROUP:
            area = _area(data, second, reader)
            entries.append(area)
            areas.append(area)
            continue
        times, step = reader.u32("load_times"), reader.u64("load_step")
        group = entries[len(entries) - second :] if second <= len(entries) else []
        if not 1 <= second == len(group) or None in group:
            raise ArtifactInvalid("a group of the layout repeats what is not before it, or another group")
        entries.append(None)
        if len(areas) + times * second > _MAX_LOADS:
            raise NotDerivable(f"a layout that loads more than {_MAX_LOADS} areas")
        for count in range(1, times + 1):
            areas += [
                msgspec.structs.replace(item, rva=item.rva + count * step)
                for item in group
                if item is not None
            ]
    return areas


def _area(data: bytes, attributes: int, reader: Reader) -> Area:
    pages, rva = reader.u32("page_count"), reader.u64("rva")
    size, offset, flags = reader.u32("content_size"), reader.u32("content_offset"), reader.u64("si_flags")
    if attributes & ~_KNOWN_ATTRIBUTES:
        raise NotDerivable("a layout entry has page attributes that are not known")
    content = _within(data, offset, size, "an area") if offset else None
    return Area(rva, pages, attributes, flags, content, 0 if offset else size)
