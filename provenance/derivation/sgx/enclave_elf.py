"""MRENCLAVE and SIGSTRUCT of an enclave that the Intel SGX SDK signed, from its ELF file.

Order: ELF header -> segments and sections within the file -> metadata -> for each metadata block: patches
applied -> segments loaded page by page -> areas of the layout -> MRENCLAVE -> equal to the ENCLAVEHASH of
its verified SIGSTRUCT, or refused.

The loading follows the SDK's loader. Should it differ from the loader that the signer had, the last
comparison refuses: no measurement comes out of here that the author did not sign.

Not done: 32-bit enclaves, separate enclave ranges (metadata of major version above 10), enclaves of other
toolchains (Gramine, Open Enclave, EGo without SDK metadata): their loaders lay pages out by rules that
are in no file. A SIGSTRUCT or an SGXS stream of those can be given instead
(``provenance.derivation.sgx.enclave``).

Source: Intel linux-sgx, psw/urts/loader.cpp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common.errors import Malformed
from provenance.derivation.sgx import sgx_metadata
from provenance.derivation.sgx.enclave_file import Elf, Segment, parse_elf, round_up
from provenance.derivation.sgx.enclave_measurement import FLAG_W, PAGE, PAGE_TCS, EnclaveMeasurement
from provenance.derivation.sgx.sigstruct import Sigstruct, parse_sigstruct
from provenance.errors import ArtifactInvalid, NotDerivable

if TYPE_CHECKING:
    from provenance.derivation.sgx.sgx_metadata import Area, Metadata

MAX_ENCLAVE_FILE: Final = 64 << 20
_TCS_TEMPLATE: Final = 72
_TCS_BASES: Final = (16, 48, 56)  # OSSA, OFSBASE, OGSBASE: the loader adds the TCS page's own offset


def measure_enclave(data: bytes) -> Sigstruct:
    """The verified SIGSTRUCT of a signed enclave, whose ENCLAVEHASH is the measurement of this very file.

    Raises:
        ArtifactInvalid: not a 64-bit x86 ELF shared object; overlapping, absurd or cut-off segments,
            sections or metadata.
        SigstructInvalid: a SIGSTRUCT does not hold.
        NotDerivable: no SDK metadata, or one this loader does not know; the measurement is not the one
            that was signed; two metadata blocks for two different enclaves.
    """
    if len(data) > MAX_ENCLAVE_FILE:
        raise ArtifactInvalid(f"an enclave of more than {MAX_ENCLAVE_FILE} bytes")
    try:
        elf = parse_elf(data)
        blocks = sgx_metadata.parse_blocks(elf.metadata)
    except Malformed as error:
        raise ArtifactInvalid(error.message) from error
    signed: list[Sigstruct] = []
    for block in blocks:
        stated = parse_sigstruct(block.sigstruct)
        if _load(data, elf, block) != stated.mr_enclave:
            raise NotDerivable("the enclave does not measure to the ENCLAVEHASH that its author signed")
        signed.append(stated)
    if any(other != signed[0] for other in signed):
        raise NotDerivable("the enclave carries two SIGSTRUCTs that state different things")
    return signed[0]


def _load(data: bytes, elf: Elf, metadata: Metadata) -> bytes:
    enclave = EnclaveMeasurement(metadata.enclave_size, metadata.ssa_frame_pages)
    image = bytearray(data)
    for patch in metadata.patches:
        if patch.offset + len(patch.data) > len(image):
            raise ArtifactInvalid("a patch of the metadata is outside the file")
        image[patch.offset : patch.offset + len(patch.data)] = patch.data
    last: Segment | None = None
    for segment in elf.segments:
        if last is not None and metadata.version == sgx_metadata.VERSION_1_3:
            _gap_page(enclave, last, segment.rva - segment.rva % PAGE)
        content = bytes(image[segment.offset : segment.offset + segment.size])
        _region(enclave, segment.rva, segment.memory, content, flags=segment.flags, writable=elf.relocated)
        last = segment
    if last is not None and metadata.version == sgx_metadata.VERSION_1_3:
        _gap_page(enclave, last, metadata.enclave_size)
    for area in metadata.areas:
        _add_area(enclave, area)
    return enclave.value()


def _gap_page(enclave: EnclaveMeasurement, last: Segment, limit: int) -> None:
    """The page that the loader of SDK 1.5 adds where a segment's size and start round up separately."""
    end = round_up(last.rva + last.memory)
    if end < round_up(round_up(last.memory) + last.rva) and end < limit:
        enclave.add_page(end, last.flags, bytes(PAGE))


def _region(
    enclave: EnclaveMeasurement,
    rva: int,
    memory: int,
    content: bytes,
    *,
    flags: int,
    writable: frozenset[int] = frozenset(),
) -> None:
    """Initialised pages (the first may begin in its middle), then zeros up to the end of memory."""
    start = rva - rva % PAGE
    padded = bytes(rva % PAGE) + content
    initialised = round_up(len(padded))
    padded = padded.ljust(initialised, b"\0")
    total = max(initialised, round_up(rva % PAGE + memory))
    for offset in range(0, total, PAGE):
        page = padded[offset : offset + PAGE] if offset < initialised else bytes(PAGE)
        extra = FLAG_W if offset < initialised and start + offset in writable else 0
        enclave.add_page(start + offset, flags | extra, page)


def _add_area(enclave: EnclaveMeasurement, area: Area) -> None:
    if not area.attributes & sgx_metadata.ATTRIBUTE_EADD or (area.content is None and not area.flags):
        return
    if area.content is not None and area.flags != PAGE_TCS:
        if len(area.content) > area.pages * PAGE or area.rva % PAGE:
            raise ArtifactInvalid("an area of the layout holds more than its pages, or is not aligned")
        _region(enclave, area.rva, area.pages * PAGE, area.content, flags=area.flags)
        return
    page: bytes | None = None
    if area.attributes & sgx_metadata.ATTRIBUTE_EEXTEND:
        page = _tcs(area) if area.content is not None else area.fill.to_bytes(4, "little") * (PAGE // 4)
    for index in range(area.pages):
        enclave.add_page(area.rva + index * PAGE, area.flags, page)


def _tcs(area: Area) -> bytes:
    """A thread control structure from its template, with its three bases moved to where it stands."""
    template = area.content or b""
    if not _TCS_TEMPLATE <= len(template) <= PAGE or area.pages != 1:
        raise ArtifactInvalid("a TCS template of the layout is not one page, or too short")
    page = bytearray(template.ljust(PAGE, b"\0"))
    for offset in _TCS_BASES:
        base = int.from_bytes(page[offset : offset + 8], "little") + area.rva
        page[offset : offset + 8] = (base & (1 << 64) - 1).to_bytes(8, "little")
    return bytes(page)
