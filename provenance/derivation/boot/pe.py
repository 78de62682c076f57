"""PE/COFF images: section table and Authenticode digest, as UEFI firmware measures images.

Order: DOS header -> PE signature -> COFF header -> optional header -> section table -> layout -> hash.

* What is hashed: the headers without the CheckSum field and without the entry of the certificate table,
  the sections in file order, what follows them; never the certificate table. This is the whole file but
  for these three ranges, provided that headers and sections lie in the file without gap or overlap.
* An image that leaves gaps between sections, overlaps them, or has a certificate table that does not end
  the file is refused: implementations (firmware, signing tools) hash such files differently, so the
  file does not determine a measurement.
* The file is hashed as it is. Signing tools first pad it to 8 bytes with zeros; firmware does not.

Not done: TE images; signatures themselves.

Sources: Microsoft PE format specification (COFF header, optional header, section table; the certificate
table entry holds a file offset); Windows Authenticode Portable Executable Signature Format, "Calculating
the PE image hash"; edk2, SecurityPkg/Tcg/Tcg2Dxe/MeasureBootPeCoff.c.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from common.binary import Reader
from common.errors import Malformed
from provenance.errors import ArtifactInvalid, NotDerivable

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_IMAGE_BYTES: Final = 1 << 30
MAX_SECTIONS: Final = 96  # the limit of the Windows loader (PE format, NumberOfSections)
ALGORITHMS: Final = ("sha1", "sha256", "sha384", "sha512")
_DOS_MAGIC: Final = b"MZ"
_PE_OFFSET_AT: Final = 0x3C
_PE_MAGIC: Final = b"PE\0\0"
_COFF_BYTES: Final = 20
_SECTION_BYTES: Final = 40
_CHECKSUM_AT: Final = 64  # in the optional header, both forms
_CHECKSUM_BYTES: Final = 4
_SIZE_OF_HEADERS_AT: Final = 60
# Optional header magic to the offset of NumberOfRvaAndSizes; the data directories follow it.
_DIRECTORY_COUNT_AT: Final = {0x10B: 92, 0x20B: 108}
_CERTIFICATE_DIRECTORY: Final = 4
_DIRECTORY_BYTES: Final = 8
_MAX_DIRECTORIES: Final = 16


class Section(msgspec.Struct, frozen=True):
    """One entry of the section table.

    Attributes:
        name: without trailing NULs, at most 8 characters.
        virtual_size: bytes in memory (0 in some object files).
        virtual_address: offset in memory from the image base.
        size: bytes in the file (SizeOfRawData).
        offset: file offset (PointerToRawData); meaningless where ``size`` is 0.
    """

    name: str
    virtual_size: int
    virtual_address: int
    size: int
    offset: int


class Image(msgspec.Struct, frozen=True):
    """The layout of a PE image.

    Attributes:
        sections: the section table, in its own order.
        headers_size: SizeOfHeaders.
        checksum_at: file offset of the CheckSum field.
        certificate_entry_at: file offset of the certificate table's directory entry, or None.
        certificate_offset: file offset of the certificate table; the file's size where there is none.
    """

    sections: tuple[Section, ...]
    headers_size: int
    checksum_at: int
    certificate_entry_at: int | None
    certificate_offset: int


def parse(data: bytes) -> Image:
    """Read the headers of an image.

    Raises:
        ArtifactInvalid: no PE image; a header, section or table outside the file; overlapping sections.
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise ArtifactInvalid(f"the PE image has {len(data)} bytes, the limit is {MAX_IMAGE_BYTES}")
    try:
        return _parse(data)
    except Malformed as error:
        raise ArtifactInvalid(error.message) from error


def sections(data: bytes) -> tuple[Section, ...]:
    """The section table of an image, in its own order.

    Raises:
        ArtifactInvalid: as ``parse``.
    """
    return parse(data).sections


def contents(data: bytes, section: Section) -> bytes:
    """A section as the loader puts it into memory, without fill: its first ``virtual_size`` bytes.

    Raises:
        ArtifactInvalid: the section is larger in memory than in the file (what follows would be zeros
            that no file holds), or not of this file.
    """
    end = section.offset + section.virtual_size
    if section.virtual_size > section.size or end > len(data):
        raise ArtifactInvalid(f"the section {section.name!a} is larger in memory than in the file")
    return data[section.offset : end]


def authenticode_digest(data: bytes, algorithm: str) -> bytes:
    """The Authenticode digest of an image, as UEFI firmware extends it when it loads the image.

    Args:
        data: the file.
        algorithm: one of ``ALGORITHMS``.

    Raises:
        ArtifactInvalid: as ``parse``.
        NotDerivable: an algorithm that is not known here; a layout that implementations hash differently.
    """
    if algorithm not in ALGORITHMS:
        raise NotDerivable(f"no PE image digest of that algorithm; there are: {', '.join(ALGORITHMS)}")
    image = parse(data)
    _check_contiguous(image)
    digest = hashlib.new(algorithm, usedforsecurity=algorithm != "sha1")
    view = memoryview(data)
    for start, end in _ranges(image):
        digest.update(view[start:end])
    return digest.digest()


def _ranges(image: Image) -> Iterator[tuple[int, int]]:
    yield 0, image.checksum_at
    start = image.checksum_at + _CHECKSUM_BYTES
    if image.certificate_entry_at is not None:
        yield start, image.certificate_entry_at
        start = image.certificate_entry_at + _DIRECTORY_BYTES
    yield start, image.certificate_offset


def _parse(data: bytes) -> Image:
    if not data.startswith(_DOS_MAGIC):
        raise ArtifactInvalid("not a PE image: no MZ signature")
    at = Reader(data[_PE_OFFSET_AT : _PE_OFFSET_AT + 4], "DOS header", "little").u32("e_lfanew")
    reader = Reader(data[at:], "PE image", "little")
    if reader.take(len(_PE_MAGIC), "signature") != _PE_MAGIC:
        raise ArtifactInvalid("not a PE image: no PE signature where the DOS header says")
    count, optional_size = _coff(reader)
    optional_at = at + reader.position
    optional = reader.take(optional_size, "optional header")
    headers_size, certificate = _optional(optional)
    if not 0 < count <= MAX_SECTIONS:
        raise ArtifactInvalid(f"the PE image has {count} sections, 1 to {MAX_SECTIONS} may be")
    table = tuple(_section(reader) for _ in range(count))
    if not at + reader.position <= headers_size <= len(data):
        raise ArtifactInvalid("the PE image's SizeOfHeaders does not cover its headers, or leaves the file")
    end = _certificates(optional, certificate, headers_size, len(data))
    _check_sections(table, headers_size, end)
    return Image(
        sections=table,
        headers_size=headers_size,
        checksum_at=optional_at + _CHECKSUM_AT,
        certificate_entry_at=None if certificate is None else optional_at + certificate,
        certificate_offset=end,
    )


def _coff(reader: Reader) -> tuple[int, int]:
    header = Reader(reader.take(_COFF_BYTES, "COFF header"), "COFF header", "little")
    header.u16("Machine")
    count = header.u16("NumberOfSections")
    header.take(12, "TimeDateStamp to NumberOfSymbols")
    return count, header.u16("SizeOfOptionalHeader")


def _optional(header: bytes) -> tuple[int, int | None]:
    """SizeOfHeaders, and the offset of the certificate table's entry in the optional header."""
    magic = Reader(header, "optional header", "little").u16("Magic")
    count_at = _DIRECTORY_COUNT_AT.get(magic)
    if count_at is None:
        raise ArtifactInvalid("the PE image's optional header is neither PE32 nor PE32+")
    reader = Reader(header, "optional header", "little")
    reader.take(_SIZE_OF_HEADERS_AT, "fields")
    headers_size = reader.u32("SizeOfHeaders")
    reader.take(count_at - reader.position, "fields")
    count = reader.u32("NumberOfRvaAndSizes")
    if count > _MAX_DIRECTORIES or reader.remaining < count * _DIRECTORY_BYTES:
        raise ArtifactInvalid("the PE image's data directories do not fit its optional header")
    if count <= _CERTIFICATE_DIRECTORY:
        return headers_size, None
    return headers_size, reader.position + _CERTIFICATE_DIRECTORY * _DIRECTORY_BYTES


def _certificates(optional: bytes, entry: int | None, headers_size: int, file_size: int) -> int:
    """Where the hashed part of the file ends."""
    if entry is None:
        return file_size
    reader = Reader(optional[entry : entry + _DIRECTORY_BYTES], "certificate table entry", "little")
    offset, size = reader.u32("offset"), reader.u32("size")
    if size == 0:
        if offset != 0:
            raise ArtifactInvalid("the PE image has a certificate table of no size")
        return file_size
    if offset < headers_size or offset + size != file_size:
        raise ArtifactInvalid(
            "the PE image's certificate table does not end the file, so what is measured is not determined"
        )
    return offset


def _section(reader: Reader) -> Section:
    entry = Reader(reader.take(_SECTION_BYTES, "section table"), "section", "little")
    name = entry.take(8, "name").rstrip(b"\0")
    if any(not 0x20 < byte < 0x7F for byte in name):  # noqa: PLR2004 (printable ASCII)
        raise ArtifactInvalid("a section name of the PE image is not printable ASCII")
    virtual_size, address = entry.u32("VirtualSize"), entry.u32("VirtualAddress")
    return Section(
        name.decode("ascii"), virtual_size, address, entry.u32("SizeOfRawData"), entry.u32("offset")
    )


def _check_sections(table: tuple[Section, ...], headers_size: int, end: int) -> None:
    reached = headers_size
    for section in sorted((item for item in table if item.size), key=lambda item: item.offset):
        if section.offset < reached:
            raise ArtifactInvalid("two sections of the PE image overlap, or one overlaps the headers")
        reached = section.offset + section.size
    if reached > end:
        raise ArtifactInvalid("a section of the PE image reaches beyond the file or into its certificates")


def _check_contiguous(image: Image) -> None:
    reached = image.headers_size
    for section in sorted((item for item in image.sections if item.size), key=lambda item: item.offset):
        if section.offset != reached:
            raise NotDerivable(
                "the PE image has a gap between its headers and sections: what is measured of it depends "
                "on the firmware",
                advice="Rebuild the image with sections that follow each other in the file.",
            )
        reached = section.offset + section.size
