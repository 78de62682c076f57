"""PE32+ images made on the spot, and the Authenticode digest computed a second time."""

from __future__ import annotations

import hashlib
import struct

HEADERS = 0x200


def pe_image(
    *sections: bytes,
    headers: int = HEADERS,
    table: list[tuple[int, int]] | None = None,
    certificates: bytes = b"",
    certificate_entry: tuple[int, int] | None = None,
    magic: int = 0x20B,
    directories: int = 16,
    count: int | None = None,
    tail: bytes = b"",
) -> bytes:
    """An image whose sections follow each other; ``table`` lies about (offset, size) of them."""
    body, places, at = b"", [], headers
    for index, content in enumerate(sections):
        places.append((at, len(content)) if table is None else table[index])
        body += content
        at += len(content)
    body += tail
    entry = certificate_entry
    if entry is None:
        entry = (headers + len(body), len(certificates)) if certificates else (0, 0)
    wide = magic == 0x20B
    optional = struct.pack("<H", magic).ljust(60, b"\x11") + struct.pack("<II", headers, 0xC0FFEE)
    optional = optional.ljust(108 if wide else 92, b"\x22") + struct.pack("<I", directories)
    for index in range(directories):
        optional += struct.pack("<II", *(entry if index == 4 else (0, 0)))
    coff = struct.pack(
        "<HHIIIHH", 0x8664, len(sections) if count is None else count, 0, 0, 0, len(optional), 0x22E
    )
    dos = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64)
    rows = b"".join(
        struct.pack(
            "<8sIIIIIIHHI", b".s%d" % index, size, 0x1000 * (index + 1), size, offset, 0, 0, 0, 0, 0
        )
        for index, (offset, size) in enumerate(places)
    )
    return (dos + b"PE\0\0" + coff + optional + rows).ljust(headers, b"\0") + body + certificates


def digest_by_deletion(image: bytes, algorithm: str, certificates: int = 0) -> bytes:
    """The digest as the whole file without three ranges, found by fixed offsets of ``pe_image``."""
    optional = 64 + 24
    checksum, entry = optional + 64, optional + 112 + 4 * 8
    hashed = image[:checksum] + image[checksum + 4 : entry] + image[entry + 8 : len(image) - certificates]
    return hashlib.new(algorithm, hashed).digest()
