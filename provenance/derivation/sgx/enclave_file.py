"""The ELF file of an SGX enclave: what its loader takes from it, each offset within the file.

Segments are in ascending order and share no page; there is one section ``.note.sgxmeta``. Text
relocations (DT_TEXTREL) are read, because the loader adds their pages writable.

Sources: ELF-64 object file format 1.5; x86-64 psABI (relocations); Intel linux-sgx,
psw/urts/parser/elfparser.cpp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from common.binary import Reader
from provenance.derivation.sgx.enclave_measurement import FLAG_R, FLAG_W, FLAG_X, PAGE, PAGE_REG
from provenance.errors import ArtifactInvalid, NotDerivable

if TYPE_CHECKING:
    from collections.abc import Iterable

_ELF64_LITTLE: Final = b"\x7fELF\x02\x01\x01"
_ET_DYN: Final = 3
_EM_X86_64: Final = 62
_PHENT: Final = 56
_SHENT: Final = 64
_MAX_HEADERS: Final = 512
_PT_LOAD: Final = 1
_PT_DYNAMIC: Final = 2
_PF_X, _PF_W, _PF_R = 1, 2, 4
_DT_NULL, _DT_PLTRELSZ, _DT_RELA, _DT_RELASZ, _DT_TEXTREL, _DT_JMPREL = 0, 2, 7, 8, 22, 23
_R_X86_64_NONE: Final = 0
_RELA_BYTES: Final = 24
_DYN_BYTES: Final = 16
_WORD_BYTES: Final = 8
_NOTE_SECTION: Final = b".note.sgxmeta"
_NOTE_NAME: Final = b"sgx_metadata\0"


class Segment(msgspec.Struct, frozen=True):
    """A PT_LOAD segment: ``rva``, ``memory`` bytes there, ``data`` of the file, SECINFO ``flags``."""

    rva: int
    memory: int
    offset: int
    size: int
    flags: int


class Elf(msgspec.Struct, frozen=True):
    """What the loader takes from the file.

    Attributes:
        segments: PT_LOAD, in order.
        relocated: pages that text relocations make writable.
        metadata: content of the note in ``.note.sgxmeta``.
    """

    segments: tuple[Segment, ...]
    relocated: frozenset[int]
    metadata: bytes


def parse_elf(data: bytes) -> Elf:
    """Read the file.

    Raises:
        ArtifactInvalid: not a 64-bit x86 shared object; segments, sections or tables that are absurd,
            overlap or leave the file; two notes.
        NotDerivable: no ``.note.sgxmeta``.
        Malformed: cut short.
    """
    reader = Reader(data, "ELF", "little")
    if reader.take(16, "e_ident")[: len(_ELF64_LITTLE)] != _ELF64_LITTLE:
        raise ArtifactInvalid("the enclave is not a 64-bit little-endian ELF file")
    kind, machine = reader.u16("e_type"), reader.u16("e_machine")
    if (kind, machine) != (_ET_DYN, _EM_X86_64):
        raise ArtifactInvalid("the enclave is not a shared object for x86-64")
    reader.take(12, "e_version and e_entry")
    segments_at, sections_at = reader.u64("e_phoff"), reader.u64("e_shoff")
    reader.take(6, "e_flags and e_ehsize")
    segment_size, segment_count = reader.u16("e_phentsize"), reader.u16("e_phnum")
    section_size, section_count = reader.u16("e_shentsize"), reader.u16("e_shnum")
    names = reader.u16("e_shstrndx")
    if segment_size != _PHENT or section_size != _SHENT:
        raise ArtifactInvalid("the enclave's program or section headers have another size than ELF-64's")
    programs = [
        _at(data, segments_at + index * _PHENT, _PHENT, "a program header")
        for index in range(_bounded(segment_count))
    ]
    sections = [
        _section(_at(data, sections_at + index * _SHENT, _SHENT, "a section header"))
        for index in range(_bounded(section_count))
    ]
    segments = tuple(_segments(data, programs))
    note = _note_content(_note(data, sections, names))
    return Elf(segments, _relocated(data, programs, sections), note)


def _bounded(count: int) -> int:
    if not 1 <= count <= _MAX_HEADERS:
        raise ArtifactInvalid(f"the enclave has {count} headers of a kind, 1 to {_MAX_HEADERS} may be")
    return count


def _at(data: bytes, offset: int, size: int, what: str) -> bytes:
    if offset + size > len(data):
        raise ArtifactInvalid(f"{what} of the enclave is outside the file")
    return data[offset : offset + size]


def _segments(data: bytes, programs: Iterable[bytes]) -> list[Segment]:
    segments: list[Segment] = []
    end = 0
    for program in programs:
        reader = Reader(program, "program header", "little")
        kind, attributes, offset, rva = (reader.u32("p"), reader.u32("p"), reader.u64("p"), reader.u64("p"))
        reader.u64("p_paddr")
        size, memory = reader.u64("p_filesz"), reader.u64("p_memsz")
        _at(data, offset, size, "a segment")
        if kind != _PT_LOAD:
            continue
        if size > memory or not memory or (not size and rva % PAGE):
            raise ArtifactInvalid("a segment of the enclave is empty, or larger in the file than in memory")
        if rva - rva % PAGE < end:
            raise ArtifactInvalid("two segments of the enclave share a page, or are not in order")
        flags = PAGE_REG | _permissions(attributes)
        if flags == PAGE_REG:
            raise ArtifactInvalid("a segment of the enclave has no permissions: the loader refuses it")
        end = round_up(rva + memory)
        segments.append(Segment(rva, memory, offset, size, flags))
    if not segments:
        raise ArtifactInvalid("the enclave has no segment to load")
    return segments


def _permissions(attributes: int) -> int:
    pairs = ((_PF_R, FLAG_R), (_PF_W, FLAG_W), (_PF_X, FLAG_X))
    return sum(flag for bit, flag in pairs if attributes & bit)


class _Section(msgspec.Struct, frozen=True):
    name: int
    address: int
    offset: int
    size: int


def _section(header: bytes) -> _Section:
    reader = Reader(header, "section header", "little")
    name = reader.u32("sh_name")
    reader.take(12, "sh_type and sh_flags")
    return _Section(name, reader.u64("sh_addr"), reader.u64("sh_offset"), reader.u64("sh_size"))


def _note(data: bytes, sections: list[_Section], names: int) -> bytes:
    if names >= len(sections):
        raise ArtifactInvalid("the enclave's section names are in a section that does not exist")
    strings = _at(data, sections[names].offset, sections[names].size, "the section names")
    found = [
        section
        for section in sections
        if strings[section.name : section.name + len(_NOTE_SECTION) + 1] == _NOTE_SECTION + b"\0"
    ]
    if not found:
        raise NotDerivable(
            "the enclave has no .note.sgxmeta: it was not signed with the Intel SGX SDK",
            advice="Give its SIGSTRUCT, or the SGXS stream of its pages.",
        )
    if len(found) > 1:
        raise ArtifactInvalid("the enclave has two sections .note.sgxmeta")
    return _at(data, found[0].offset, found[0].size, ".note.sgxmeta")


def _note_content(note: bytes) -> bytes:
    reader = Reader(note, ".note.sgxmeta", "little")
    name_size, size = reader.u32("namesz"), reader.u32("descsz")
    reader.u32("type")
    if name_size != len(_NOTE_NAME) or reader.take(name_size, "name") != _NOTE_NAME:
        raise ArtifactInvalid("the note in .note.sgxmeta is not named sgx_metadata")
    return reader.take(size, "metadata")


def _relocated(data: bytes, programs: Iterable[bytes], sections: list[_Section]) -> frozenset[int]:
    """Pages with text relocations: the loader adds them writable (DT_TEXTREL alone)."""
    dynamic: dict[int, int] = {}
    for program in programs:
        reader = Reader(program, "program header", "little")
        if reader.u32("p_type") != _PT_DYNAMIC:
            continue
        reader.u32("p_flags")
        table = _at(data, reader.u64("p_offset"), int.from_bytes(program[32:40], "little"), "PT_DYNAMIC")
        for start in range(0, len(table) - len(table) % _DYN_BYTES, _DYN_BYTES):
            tag = int.from_bytes(table[start : start + 8], "little")
            if tag == _DT_NULL:
                break
            dynamic[tag] = int.from_bytes(table[start + 8 : start + 16], "little")
        break
    if _DT_TEXTREL not in dynamic:
        return frozenset()
    pages: set[int] = set()
    for table_tag, size_tag in ((_DT_RELA, _DT_RELASZ), (_DT_JMPREL, _DT_PLTRELSZ)):
        if table_tag in dynamic:
            pages |= _relocation_pages(data, sections, dynamic[table_tag], dynamic.get(size_tag, 0))
    return frozenset(pages)


def _relocation_pages(data: bytes, sections: list[_Section], address: int, size: int) -> set[int]:
    section = next((item for item in sections if item.address == address), None)
    if section is None:
        raise ArtifactInvalid("the enclave's relocation table is in no section")
    table = _at(data, section.offset, size, "the relocation table")
    pages: set[int] = set()
    for start in range(0, size - size % _RELA_BYTES, _RELA_BYTES):
        target = int.from_bytes(table[start : start + 8], "little")
        if int.from_bytes(table[start + 8 : start + 12], "little") != _R_X86_64_NONE:
            # A relocated word may reach into the next page.
            pages |= {target - target % PAGE, target + _WORD_BYTES - 1 - (target + _WORD_BYTES - 1) % PAGE}
    return pages


def round_up(value: int) -> int:
    """The next multiple of a page."""
    return -(-value // PAGE) * PAGE
