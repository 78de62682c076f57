"""TDVF images made on the spot, and MRTD computed a second time from the standard's text."""

from __future__ import annotations

import hashlib
import struct
from typing import Any
from uuid import UUID

from tests.provenance.derivation.material import FOOTER, entry

PAGE = 4096
TDX_METADATA = UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le
BFV, CFV, TD_HOB, TEMP_MEM, PERM_MEM, PAYLOAD, PAYLOAD_PARAM = range(7)
EXTEND, AUG = 1, 2
PAGES = 4
BASE = (1 << 32) - PAGES * PAGE
# data offset, data size, address, memory size, type, attributes
SECTIONS: list[tuple[int, ...]] = [
    (PAGE, 3 * PAGE, BASE + PAGE, 3 * PAGE, BFV, EXTEND),
    (0, PAGE, BASE, PAGE, CFV, 0),
    (0, 0, 0x810000, 0x10000, TEMP_MEM, 0),
    (0, 0, 0x80B000, 0x2000, TEMP_MEM, 0),
    (0, 0, 0x809000, 0x2000, TD_HOB, 0),
    (0, 0, 0x800000, 0x6000, TEMP_MEM, 0),
]


def metadata(sections: list[tuple[int, ...]], **lies: Any) -> bytes:
    header = struct.pack(
        "<4sIII",
        lies.get("signature", b"TDVF"),
        lies.get("length", 16 + 32 * len(sections)),
        lies.get("version", 1),
        lies.get("count", len(sections)),
    )
    return header + b"".join(struct.pack("<IIQQII", *section) for section in sections)


def firmware(sections: list[tuple[int, ...]] | None = None, **lies: Any) -> bytes:
    """An image: fill, TDVF metadata, the GUIDed table, 32 bytes of reset vector."""
    body = metadata(SECTIONS if sections is None else sections, **lies)
    from_end = lies.get("from_end", 0x900)
    entries = entry(TDX_METADATA, struct.pack("<I", from_end) + lies.get("extra", b""))
    if lies.get("guid") is False:
        entries = b""
    tail = entries + struct.pack("<H", len(entries) + 18) + FOOTER + b"\x90" * 32
    image = bytearray(hashlib.shake_256(b"tdvf").digest(PAGES * PAGE))
    image[-len(tail) :] = tail
    image[-0x900 : -0x900 + len(body)] = body
    return bytes(image)


def changed(index: int, **members: int) -> bytes:
    """The image with one section altered."""
    names = ("offset", "data", "gpa", "size", "type", "attributes")
    row = dict(zip(names, SECTIONS[index], strict=True)) | members
    sections: list[tuple[int, ...]] = list(SECTIONS)
    sections[index] = tuple(row[name] for name in names)
    return firmware(sections)


def mrtd(image: bytes, *, two_pass: bool) -> str:
    """MRTD by the letter: a list of operations first, then each buffer filled field by field."""
    at = image.rindex(b"TDVF")
    count = int.from_bytes(image[at + 12 : at + 16], "little")
    operations: list[tuple[str, int, bytes]] = []
    for index in range(count):
        row = image[at + 16 + 32 * index : at + 48 + 32 * index]
        offset, size, gpa, memory, _, flags = struct.unpack("<IIQQII", row)
        if flags & AUG:
            continue
        content = image[offset : offset + size] if size else bytes(memory)
        adds = [("add", gpa + page, b"") for page in range(0, memory, PAGE)]
        extends = [
            ("extend", gpa + chunk, content[chunk : chunk + 256])
            for chunk in range(0, memory, 256)
            if flags & EXTEND
        ]
        both = adds + extends
        # A page's own extends directly after it, in the one order; after all adds, in the other.
        operations += (
            both if two_pass else sorted(both, key=lambda op: (op[1] // PAGE, op[0] != "add", op[1]))
        )
    state = hashlib.sha384()
    for kind, address, data in operations:
        buffer = bytearray(128)
        name = b"MEM.PAGE.ADD" if kind == "add" else b"MR.EXTEND"
        buffer[: len(name)] = name
        buffer[16:24] = address.to_bytes(8, "little")
        state.update(bytes(buffer) + data)
    return state.hexdigest()
