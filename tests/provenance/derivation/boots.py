"""Boots made on the spot: PE images, unified kernels, statements over their parts; real event logs."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Any

from common.tcg_log import EventLog, parse_event_log
from provenance.derivation import derive
from provenance.model import Artifact, DerivationRequest
from tests.provenance.derivation import material

if TYPE_CHECKING:
    from pathlib import Path

LOGS = (
    "eventlog-tcg/cos-85-amd-sev/eventlog.bin",
    "eventlog-tcg/cos-93-amd-sev/eventlog.bin",
    "eventlog-tcg/eventlogwithsp800155/eventlog.bin",
    "eventlog-tcg/glinux-alex/eventlog.bin",
    "eventlog-tcg/go-attestation-crypto-agile/eventlog.bin",
    "eventlog-tcg/keylime-bios/eventlog.bin",
    "eventlog-tcg/ubuntu-1804-amd-sev/eventlog.bin",
    "eventlog-tcg/ubuntu-2104-no-dbx/eventlog.bin",
    "tpm/qemu-ovmf-swtpm-a/binary_bios_measurements",
    "tpm/gce-cos-85-no-nonce/eventlog.bin",
)
QEMU = LOGS[8]
_ALIGN = 512


def real_log(vectors: Path, name: str) -> EventLog:
    return parse_event_log((vectors / "evidence" / name).read_bytes())


def image(sections: list[tuple[str, bytes]], *, memory: int = 0) -> bytes:
    """A PE32+ image; ``memory`` more bytes of the last section in memory than it says in the file."""
    optional = struct.pack("<H", 0x20B).ljust(60, b"\0")
    headers = -(-(0x80 + 4 + 20 + 240 + 40 * len(sections)) // _ALIGN) * _ALIGN
    optional += struct.pack("<I", headers)
    optional = optional.ljust(108, b"\0") + struct.pack("<I", 16) + bytes(128)
    coff = struct.pack("<HHIIIHH", 0x8664, len(sections), 0, 0, 0, len(optional), 0x22)
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
    table, body = b"", b""
    for index, (name, data) in enumerate(sections):
        size = -(-len(data) // _ALIGN) * _ALIGN
        extra = memory if index == len(sections) - 1 else 0
        at = headers + len(body)
        table += name.encode().ljust(8, b"\0")
        table += struct.pack("<IIII16x", len(data) + extra, 0x1000 * (index + 1), size, at if size else 0)
        body += data.ljust(size, b"\0")
    return (head.ljust(0x80, b"\0") + b"PE\0\0" + coff + optional + table).ljust(headers, b"\0") + body


KERNEL_IMAGE = image([(".text", b"a kernel" * 100)])
UKI_PARTS = [
    (".linux", KERNEL_IMAGE),
    (".osrel", b"ID=test\n"),
    (".cmdline", b"console=ttyS0 quiet"),
    (".initrd", b"initrd" * 300),
]
MEASURED = [name for name, _ in UKI_PARTS]
STUB = [
    (".text", b"stub"),
    (".sdmagic", b"#### LoaderInfo: systemd-stub 252.39 ####\0"),
    (".sbat", b"sbat,1,SBAT Version\n"),
]


def uki_image(parts: list[tuple[str, bytes]] | None = None, **changes: int) -> bytes:
    return image([*STUB, *(UKI_PARTS if parts is None else parts)], **changes)


def run(rule: str, launch: dict[str, Any], files: dict[str, bytes], **changes: Any) -> list[Any]:
    """Derive over a statement whose subjects are the files."""
    admitted = material.admitted(
        *(material.subject(role, data) for role, data in files.items()), material.subject("other", b"")
    )
    request = DerivationRequest(rule=rule, launch=launch, group="release-7", **changes)
    return list(derive(admitted, request, [Artifact(role, role, data) for role, data in files.items()]))


def values(rule: str, launch: dict[str, Any], files: dict[str, bytes]) -> dict[str, str]:
    """One value per name."""
    derived = run(rule, launch, files)
    assert {(value.tee, value.group) for value in derived} == {("tpm", "release-7")}
    found = {value.name: value.value for value in derived}
    assert len(found) == len(derived)
    return found


def extended(*preimages: bytes) -> str:
    """A SHA-256 register after events over these bytes (computed without the code under test)."""
    register = bytes(32)
    for data in preimages:
        register = hashlib.sha256(register + hashlib.sha256(data).digest()).digest()
    return register.hex()


def variable_parts(data: bytes) -> tuple[str, str, bytes]:
    """UEFI_VARIABLE_DATA of a logged event: GUID, name, content (read here without the code under test)."""
    a, b, c = struct.unpack("<IHH", data[:8])
    guid = f"{a:08x}-{b:04x}-{c:04x}-{data[8:10].hex()}-{data[10:16].hex()}"
    units, size = struct.unpack("<QQ", data[16:32])
    name = data[32 : 32 + 2 * units].decode("utf-16-le")
    content = data[32 + 2 * units :][:size]  # a few old loaders log some bytes more
    assert len(content) == size
    return guid, name, content
