"""Enclaves made on the spot: SIGSTRUCTs, SGXS streams, and ELF files as the Intel SGX SDK signs them."""

from __future__ import annotations

import hashlib
import struct
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

PAGE = 4096
RX, RW, RO = 5, 3, 1
SIZE = 0x100000
TCS_RVA = 0x9000


@cache
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=3, key_size=3072)


def sigstruct(
    enclave_hash: bytes,
    *,
    private: rsa.RSAPrivateKey | None = None,
    prod_id: int = 7,
    svn: int = 9,
    exponent: int = 3,
    vendor: int = 0,
    family_id: bytes = bytes(16),
    ext_prod_id: bytes = bytes(16),
    attributes: int = 4,
) -> bytes:
    private = private or key()
    n = private.public_key().public_numbers().n
    header = bytes.fromhex("06000000e10000000000010000000000") + struct.pack("<II", vendor, 0x20260601)
    header += bytes.fromhex("01010000600000006000000001000000") + bytes(4 + 84)
    body = struct.pack("<II", 0, 0xFFFFFFFF) + bytes(4) + family_id
    body += struct.pack("<QQQQ", attributes, 3, 0xFFFFFFFFFFFFFFFD, 0)
    body += enclave_hash + bytes(16) + ext_prod_id
    body += struct.pack("<HH", prod_id, svn)
    raw = private.sign(header + body, padding.PKCS1v15(), hashes.SHA256())
    s = int.from_bytes(raw, "big")
    q1 = s * s // n
    q2 = (s * s * s - q1 * s * n) // n
    middle = n.to_bytes(384, "little") + struct.pack("<I", exponent) + raw[::-1]
    tail = bytes(12) + q1.to_bytes(384, "little") + q2.to_bytes(384, "little")
    return header + middle + body + tail


class Stream:
    """An SGXS stream, written block by block (SDM: ECREATE, EADD, EEXTEND)."""

    def __init__(self, size: int = SIZE, frame: int = 1) -> None:
        self.data = (b"ECREATE\0" + struct.pack("<IQ", frame, size)).ljust(64, b"\0")

    def page(self, offset: int, flags: int, content: bytes | None) -> Stream:
        self.data += (b"EADD\0\0\0\0" + struct.pack("<QQ", offset, flags)).ljust(64, b"\0")
        for start in range(0, PAGE if content is not None else 0, 256):
            self.data += (b"EEXTEND\0" + struct.pack("<Q", offset + start)).ljust(64, b"\0")
            self.data += (content or b"")[start : start + 256]
        return self

    def hash(self) -> bytes:
        return hashlib.sha256(self.data).digest()


TEXT = hashlib.shake_256(b"text").digest(PAGE + 100)
DATA = hashlib.shake_256(b"data").digest(300)
TCS_TEMPLATE = struct.pack("<QQQIIQQQQII", 0, 0, 0x1000, 0, 2, 0x40, 0, 0x5000, 0x5000, 0xFFF, 0xFFF)
PATCH = b"patched!"
PATCH_AT = 0x1010  # in the file: 16 bytes into the text


def expected_stream(*, text_writable: bool = False) -> Stream:
    """What the loader builds of ``elf()``, written down page by page."""
    text = (TEXT[:16] + PATCH + TEXT[24:]).ljust(2 * PAGE, b"\0")
    first = 0x200 | RX | (RW if text_writable else 0)
    stream = Stream()
    stream.page(0x0, first, text[:PAGE]).page(0x1000, 0x200 | RX, text[PAGE:])
    # The data segment starts in the middle of a page and goes on with zeros.
    data = (bytes(0x80) + DATA).ljust(PAGE, b"\0")
    stream.page(0x3000, 0x200 | RW, data).page(0x4000, 0x200 | RW, bytes(PAGE))
    stream.page(0x5000, 0x200 | RW, None).page(0x6000, 0x200 | RW, None)  # heap: added, not extended
    for step in (0, 0x10000):
        base = TCS_RVA + step
        tcs = bytearray(TCS_TEMPLATE.ljust(PAGE, b"\0"))
        for offset, value in ((16, 0x1000), (48, 0x5000), (56, 0x5000)):
            tcs[offset : offset + 8] = struct.pack("<Q", base + value)
        stream.page(0x8000 + step, 0x200 | RW, b"\xcc" * PAGE)  # stack
        stream.page(base, 0x100, bytes(tcs))
    stream.page(0x30000, 0x200 | RW, DATA.ljust(PAGE, b"\0"))
    return stream


def layout_entry(*members: int) -> bytes:
    """Of id, attributes, page count, rva, content size, content offset and SECINFO flags."""
    return struct.pack("<HHIQIIQ", *members)


def metadata(css: bytes, *, version: tuple[int, int] = (2, 3), layout: bytes | None = None) -> bytes:
    header = 1888
    contents = TCS_TEMPLATE + DATA + PATCH
    tcs_at, data_at = header, header + len(TCS_TEMPLATE)
    patch_at = data_at + len(DATA)
    table_at = header + len(contents)
    patch = struct.pack("<QII16x", PATCH_AT, patch_at, len(PATCH))
    if layout is None:
        layout = layout_entry(1, 1, 2, 0x5000, 0, 0, 0x203)
        layout += layout_entry(10, 0, 1, 0x7000, 0, 0, 0)  # guard
        layout += layout_entry(8, 3, 1, 0x8000, 0xCCCCCCCC, 0, 0x203)
        layout += layout_entry(4, 3, 1, TCS_RVA, len(TCS_TEMPLATE), tcs_at, 0x100)
        layout += struct.pack("<HHIQ16x", 1 << 12 | 9, 2, 1, 0x10000)
        layout += layout_entry(5, 3, 1, 0x30000, len(DATA), data_at, 0x203)
    size = 0x3000
    block = struct.pack("<QII", 0x86A80294635D0E4C, version[1], version[0])
    block += struct.pack("<IIIIIIQ", size, 1, 1, 2632, 0, 1, SIZE) + bytes(16) + css
    block += struct.pack("<IIII", table_at, len(patch), table_at + len(patch), len(layout))
    return (block + contents + patch + layout).ljust(size, b"\0")


def elf(
    blocks: bytes,
    *,
    segments: list[tuple[int, int, int, int, int]] | None = None,
    note_name: bytes = b"sgx_metadata\0",
    notes: int = 1,
    text_relocation: bool = False,
) -> bytes:
    """An ELF-64 shared object: text at 1000h, data after it, the note, section names, headers."""
    text_at, data_at, note_at = 0x1000, 0x4000, 0x5000
    note = struct.pack("<III", len(note_name), len(blocks), 1) + note_name + blocks
    names = b"\0.note.sgxmeta\0.shstrtab\0.rela.dyn\0"
    rela = struct.pack("<QQq", 0x10, 8, 0)
    dynamic = struct.pack("<QQQQ", 7, 0x9990, 8, len(rela))
    dynamic += struct.pack("<QQ", 22, 0) if text_relocation else b""
    dynamic += bytes(16)
    if segments is None:
        segments = [
            (5, text_at, 0, len(TEXT), len(TEXT)),
            (6, data_at, 0x3080, len(DATA), 0x1F00),
        ]
    tail_at = note_at + len(note)
    rela_at, dynamic_at = tail_at + len(names), tail_at + len(names) + len(rela)
    sections_at = dynamic_at + len(dynamic)
    programs = b"".join(
        struct.pack("<IIQQQQQQ", 1, flags, offset, rva, rva, size, memory, 0x1000)
        for flags, offset, rva, size, memory in segments
    )
    programs += struct.pack("<IIQQQQQQ", 2, 6, dynamic_at, 0, 0, len(dynamic), len(dynamic), 8)
    sections = bytes(64)
    sections += struct.pack("<IIQQQQIIQQ", 1, 7, 0, 0, note_at, len(note), 0, 0, 1, 0) * notes
    sections += struct.pack("<IIQQQQIIQQ", 15, 3, 0, 0, tail_at, len(names), 0, 0, 1, 0)
    sections += struct.pack("<IIQQQQIIQQ", 25, 4, 0, 0x9990, rela_at, len(rela), 0, 0, 8, 24)
    count = 3 + notes
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, sections_at, 0, 64, 56, len(segments) + 1, 64, count, 1 + notes
    )
    image = (header + programs).ljust(text_at, b"\0") + TEXT
    image = image.ljust(data_at, b"\0") + DATA
    return image.ljust(note_at, b"\0") + note + names + rela + dynamic + sections


def signed_enclave(*, text_relocation: bool = False, **changes: int) -> bytes:
    css = sigstruct(expected_stream(text_writable=text_relocation).hash(), **changes)  # type: ignore[arg-type]
    return elf(metadata(css), text_relocation=text_relocation)
