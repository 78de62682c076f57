"""MRENCLAVE: the SHA-256 of what builds an enclave, page by page; and SGXS, a stream of just that.

Invariants, those of the instructions: the size is a power of two; every page is added once, page-aligned
and within the enclave; a TCS page carries no permissions, a regular page is readable if it is writable;
only 256-byte chunks of a page that was added are extended.

An SGXS stream is the concatenation of the blocks that are hashed (ECREATE, EADD, EEXTEND with its 256
bytes of content): a page list stated completely. Its canonical form alone is read, whose SHA-256 is
MRENCLAVE.

Sources: Intel SDM volume 3D, section 38.10.3 (MRENCLAVE) and chapter 40 (ECREATE, EADD, EEXTEND: the
64-byte blocks); section 38.12 (SECINFO.FLAGS); the SGXS format of Fortanix' rust-sgx (doc/SGXS.md).
"""

from __future__ import annotations

import hashlib
from typing import Final

from common.binary import Reader
from common.errors import Malformed
from provenance.errors import ArtifactInvalid, NotDerivable

PAGE: Final = 4096
CHUNK: Final = 256
FLAG_R: Final = 1 << 0
FLAG_W: Final = 1 << 1
FLAG_X: Final = 1 << 2
PERMISSIONS: Final = FLAG_R | FLAG_W | FLAG_X
PAGE_TCS: Final = 1 << 8  # PAGE_TYPE PT_TCS
PAGE_REG: Final = 2 << 8  # PAGE_TYPE PT_REG
_TYPE_MASK: Final = 0xFF << 8
MAX_ENCLAVE_BITS: Final = 37  # 128 GiB: what the Intel SDK lays out at most
MAX_PAGES: Final = 1 << 20  # bounds the time that a hostile layout can cost
MAX_EXTENDED_BYTES: Final = 256 << 20
MAX_SGXS_BYTES: Final = 512 << 20
_BLOCK: Final = 64
_TAG_BYTES: Final = 8
_ECREATE: Final = b"ECREATE\0"
_EADD: Final = b"EADD\0\0\0\0"
_EEXTEND: Final = b"EEXTEND\0"
_UNMEASURED: Final = b"UNMEASRD"
_MAX_SSA_PAGES: Final = 1 << 16


class EnclaveMeasurement:
    """The measurement of one enclave while it is built.

    Args:
        size: SECS.SIZE, bytes.
        ssa_frame_pages: SECS.SSAFRAMESIZE, pages.

    Raises:
        ArtifactInvalid: a size that is not a power of two of two pages at least, or out of bounds; no
            SSA frame.
    """

    __slots__ = ("_extended", "_hash", "_pages", "_size")

    def __init__(self, size: int, ssa_frame_pages: int) -> None:
        """ECREATE."""
        if size < 2 * PAGE or size & (size - 1) or size.bit_length() - 1 > MAX_ENCLAVE_BITS:
            raise ArtifactInvalid("an enclave's size is a power of two, from two pages to 128 GiB")
        if not 1 <= ssa_frame_pages < _MAX_SSA_PAGES:
            raise ArtifactInvalid("an enclave's SSA frames have one page at least")
        self._size = size
        self._pages: set[int] = set()
        self._extended = 0
        block = _ECREATE + ssa_frame_pages.to_bytes(4, "little") + size.to_bytes(8, "little")
        self._hash = hashlib.sha256(block.ljust(_BLOCK, b"\0"))

    def add(self, offset: int, flags: int) -> None:
        """EADD of one page.

        Raises:
            ArtifactInvalid: not page-aligned, outside the enclave, added before, of another page type
                than TCS or regular, or with impossible permissions.
            NotDerivable: more than 1,048,576 pages.
        """
        if not 0 <= offset < self._size or offset % PAGE:
            raise ArtifactInvalid("a page of the enclave is outside it, or not page-aligned")
        if offset in self._pages:
            raise ArtifactInvalid("a page of the enclave is added twice")
        if len(self._pages) >= MAX_PAGES:
            raise NotDerivable(f"an enclave of more than {MAX_PAGES} pages")
        _check_flags(flags)
        self._pages.add(offset)
        block = _EADD + offset.to_bytes(8, "little") + flags.to_bytes(8, "little")
        self._hash.update(block.ljust(_BLOCK, b"\0"))

    def extend(self, offset: int, chunk: bytes) -> None:
        """EEXTEND of 256 bytes.

        Raises:
            ArtifactInvalid: not 256 bytes at a multiple of 256 in a page that was added.
            NotDerivable: more than 256 MiB of content.
        """
        if offset % CHUNK or len(chunk) != CHUNK or offset - offset % PAGE not in self._pages:
            raise ArtifactInvalid("a chunk of the enclave is not 256 bytes of a page that was added")
        self._extended += CHUNK
        if self._extended > MAX_EXTENDED_BYTES:
            raise NotDerivable(f"an enclave of more than {MAX_EXTENDED_BYTES} measured bytes")
        self._hash.update((_EEXTEND + offset.to_bytes(8, "little")).ljust(_BLOCK, b"\0") + chunk)

    def add_page(self, offset: int, flags: int, content: bytes | None) -> None:
        """EADD of one page, and EEXTEND of all its content unless that is None.

        Raises:
            ArtifactInvalid, NotDerivable: as ``add`` and ``extend``; content of another size than a page.
        """
        self.add(offset, flags)
        if content is None:
            return
        if len(content) != PAGE:
            raise ArtifactInvalid("the content of a page is not a page")
        for start in range(0, PAGE, CHUNK):
            self.extend(offset + start, content[start : start + CHUNK])

    def value(self) -> bytes:
        """MRENCLAVE of what was added so far (EINIT), 32 bytes."""
        return self._hash.digest()


def measure_sgxs(data: bytes) -> bytes:
    """MRENCLAVE of a canonical SGXS stream, 32 bytes.

    Raises:
        ArtifactInvalid: cut short, too large, a block that is unknown, out of order, not canonical, or
            that the instructions would refuse.
        NotDerivable: the stream has unmeasured content, which the hash says nothing of.
    """
    if len(data) > MAX_SGXS_BYTES:
        raise ArtifactInvalid(f"an SGXS stream of more than {MAX_SGXS_BYTES} bytes")
    reader = Reader(data, "SGXS", "little")
    try:
        enclave = _created(reader)
        while reader.remaining:
            _next(reader, enclave)
    except Malformed as error:
        raise ArtifactInvalid(error.message) from error
    return enclave.value()


def _created(reader: Reader) -> EnclaveMeasurement:
    if reader.take(_TAG_BYTES, "tag") != _ECREATE:
        raise ArtifactInvalid("an SGXS stream begins with ECREATE")
    frame, size = reader.u32("SSAFRAMESIZE"), reader.u64("SIZE")
    _zeros(reader, _BLOCK - _TAG_BYTES - 12)
    return EnclaveMeasurement(size, frame)


def _next(reader: Reader, enclave: EnclaveMeasurement) -> None:
    tag, offset = reader.take(_TAG_BYTES, "tag"), reader.u64("offset")
    if tag == _EADD:
        flags = reader.u64("SECINFO.FLAGS")
        _zeros(reader, _BLOCK - _TAG_BYTES - 16)
        enclave.add(offset, flags)
    elif tag == _EEXTEND:
        _zeros(reader, _BLOCK - _TAG_BYTES - 8)
        enclave.extend(offset, reader.take(CHUNK, "content"))
    elif tag == _UNMEASURED:
        raise NotDerivable("the SGXS stream has unmeasured content")
    else:
        raise ArtifactInvalid("an SGXS stream has a block that is neither EADD nor EEXTEND")


def _zeros(reader: Reader, count: int) -> None:
    if any(reader.take(count, "reserved")):
        raise ArtifactInvalid("a reserved byte of an SGXS block is not zero")


def _check_flags(flags: int) -> None:
    kind, permissions = flags & _TYPE_MASK, flags & PERMISSIONS
    if flags != kind | permissions or kind not in (PAGE_TCS, PAGE_REG):
        raise ArtifactInvalid("a page of the enclave is neither TCS nor regular")
    if kind == PAGE_TCS and permissions:
        raise ArtifactInvalid("a TCS page of the enclave has permissions")
    if permissions & FLAG_W and not permissions & FLAG_R:
        raise ArtifactInvalid("a page of the enclave is writable, and not readable")
