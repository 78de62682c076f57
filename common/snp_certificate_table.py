"""The certificate table of an extended guest request (configfs-tsm ``auxblob``).

Sources: GHCB specification (pub. 56421) section 4.1.8.1; GUIDs as in the Linux and AMD headers. The
table is an array of 24-byte entries {GUID, u32 offset, u32 length}, little endian, ended by an entry of
zeros; offsets count from the start of the table.

Refused: a table without end, an entry whose range leaves the blob or starts inside the table, ranges
that overlap, one GUID twice. Entries of unknown GUIDs are left out: hosts may carry more.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Final
from uuid import UUID

from common.errors import Malformed, TooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_TABLE_BYTES: Final = 64 * 1024
_ENTRY: Final = struct.Struct("<16s I I")
_MAX_ENTRIES: Final = 32
_END: Final = (bytes(16), 0, 0)


def _guid(text: str) -> bytes:
    # The table holds GUIDs as UEFI does: the first three groups little endian.
    return UUID(text).bytes_le


TYPES: Final[Mapping[bytes, str]] = {
    _guid("63da758d-e664-4564-adc5-f4b93be8accd"): "VCEK",
    _guid("a8074bc2-a25a-483e-aae6-39c045a0b8a1"): "VLEK",
    _guid("4ab7b379-bbac-4fe4-a02f-05aef327c782"): "ASK",
    _guid("c0b406a4-a803-4952-9743-3fb6014cd0ae"): "ARK",
}


def parse_certificate_table(blob: bytes) -> dict[str, bytes]:
    """Certificates by type (``VCEK``, ``VLEK``, ``ASK`` for ASK and ASVK, ``ARK``), as they stand there.

    Raises:
        TooLarge: more than ``MAX_TABLE_BYTES`` or 32 entries.
        Malformed: see the module.
    """
    if len(blob) > MAX_TABLE_BYTES:
        raise TooLarge(f"the certificate table has more than {MAX_TABLE_BYTES} bytes")
    entries, body = _entries(blob)
    ranges = sorted((offset, offset + length) for _, offset, length in entries if length)
    for start, end in ranges:
        if start < body or end > len(blob):
            raise Malformed(f"a certificate at [{start}, {end}) leaves the table's body")
    for (_, end), (start, _) in pairwise(ranges):
        if start < end:
            raise Malformed("two certificates of the table overlap")
    found: dict[str, bytes] = {}
    for guid, offset, length in entries:
        kind = TYPES.get(guid)
        if kind is None or not length:
            continue
        if kind in found:
            raise Malformed(f"the certificate table has {kind} twice")
        found[kind] = blob[offset : offset + length]
    return found


def encode_certificate_table(certificates: Mapping[str, bytes]) -> bytes:
    """The table that holds ``certificates`` by type (what a host would give a guest)."""
    guids = {kind: guid for guid, kind in TYPES.items()}
    offset = (len(certificates) + 1) * _ENTRY.size
    header, body = b"", b""
    for kind, data in certificates.items():
        header += _ENTRY.pack(guids[kind], offset + len(body), len(data))
        body += data
    return header + _ENTRY.pack(*_END) + body


def _entries(blob: bytes) -> tuple[list[tuple[bytes, int, int]], int]:
    """Entries up to the end mark, and the offset after it."""
    entries: list[tuple[bytes, int, int]] = []
    for start in range(0, len(blob) - _ENTRY.size + 1, _ENTRY.size):
        entry = _ENTRY.unpack_from(blob, start)
        if entry == _END:
            return entries, start + _ENTRY.size
        if len(entries) == _MAX_ENTRIES:
            raise TooLarge(f"the certificate table has more than {_MAX_ENTRIES} entries")
        entries.append(entry)
    raise Malformed("the certificate table has no end")
