"""The SNP launch digest computed a second time, from the documents alone.

Shares nothing with the product or the measuring library: byte offsets are those of the SEV-SNP firmware
ABI (56860, section 8.17.2, PAGE_INFO), AMD APM volume 2 (24593, table B-4, VMSA) and QEMU's
target/i386/sev.c (hash table).
"""

from __future__ import annotations

import hashlib
import struct
from uuid import UUID

NORMAL, VMSA, ZERO, UNMEASURED, SECRETS, CPUID = 1, 2, 3, 4, 5, 6
SEC_MEM, SEC_SECRETS, SEC_CPUID, SEC_CAA, SEC_HASHES = 1, 2, 3, 4, 0x10
VMSA_GPA = 0xFFFF_FFFF_F000
PAGE = 4096


def page_info(digest: bytes, contents: bytes, kind: int, gpa: int) -> bytes:
    """PAGE_INFO: 70h bytes: DIGEST_CUR, CONTENTS, LENGTH, PAGE_TYPE, IMI, VMPL3..1 permissions, GPA."""
    info = digest + contents + struct.pack("<HBB4xQ", 0x70, kind, 0, gpa)
    assert len(info) == 0x70
    return hashlib.sha384(info).digest()


def firmware_pages(data: bytes) -> bytes:
    digest = bytes(48)
    base = (1 << 32) - len(data)
    for offset in range(0, len(data), PAGE):
        contents = hashlib.sha384(data[offset : offset + PAGE]).digest()
        digest = page_info(digest, contents, NORMAL, base + offset)
    return digest


def hash_page(offset: int, kernel: bytes, initrd: bytes, cmdline: bytes) -> bytes:
    entries = b"".join(
        UUID(guid).bytes_le + struct.pack("<H", 50) + digest
        for guid, digest in (
            ("97d02dd8-bd20-4c94-aa78-e7714d36ab2a", cmdline),
            ("44baf731-3a2f-4bd7-9af1-41e29169781d", initrd),
            ("4de79437-abd2-427f-b835-d5b172d2045b", kernel),
        )
    )
    table = UUID("9438d606-4f22-4cc9-b479-a793d411fd21").bytes_le
    table += struct.pack("<H", 18 + len(entries)) + entries
    return (bytes(offset) + table).ljust(PAGE, b"\0")


def vmsa(eip: int, features: int, vmm: str, sig: int) -> bytes:
    qemu, ec2 = vmm == "QEMU", vmm == "ec2"
    page = bytearray(PAGE)

    def segment(at: int, selector: int, attributes: int, limit: int, base: int = 0) -> None:
        struct.pack_into("<HHIQ", page, at, selector, attributes, limit, base)

    def u64(at: int, value: int) -> None:
        struct.pack_into("<Q", page, at, value)

    for at in (0x00, 0x30, 0x40, 0x50):  # ES, DS, FS, GS
        segment(at, 0, 0x93, 0xFFFF)
    segment(0x10, 0xF000, 0x9A if ec2 and eip == 0xFFFFFFF0 else 0x9B, 0xFFFF, eip & 0xFFFF0000)  # CS
    segment(0x20, 0, 0x92 if ec2 else 0x93, 0xFFFF)  # SS
    segment(0x60, 0, 0, 0xFFFF)  # GDTR
    segment(0x70, 0, 0x82, 0xFFFF)  # LDTR
    segment(0x80, 0, 0, 0xFFFF)  # IDTR
    segment(0x90, 0, 0x83 if ec2 else 0x8B, 0xFFFF)  # TR
    u64(0xD0, 0x1000)  # EFER.SVME
    u64(0x148, 0x40)  # CR4.MCE
    u64(0x158, 0x10)  # CR0.ET
    u64(0x160, 0x400)  # DR7
    u64(0x168, 0xFFFF0FF0)  # DR6
    u64(0x170, 0x2)  # RFLAGS
    u64(0x178, eip & 0xFFFF)  # RIP
    u64(0x268, 0x00070106 if vmm == "gce" else 0x7040600070406)  # G_PAT
    u64(0x310, sig if qemu else 0x600)  # RDX
    u64(0x3B0, features)  # SEV_FEATURES
    u64(0x3E8, 1)  # XCR0
    if qemu:
        struct.pack_into("<I", page, 0x408, 0x1F80)  # MXCSR
        struct.pack_into("<H", page, 0x410, 0x37F)  # x87 FCW
    return bytes(page)


def launch_digest(
    start: bytes,
    sections: list[tuple[int, int, int]],
    *,
    vcpus: int,
    features: int = 1,
    vmm: str = "QEMU",
    sig: int = 0,
    eip: int = 0,
    hashes: tuple[bytes, bytes, bytes] | None = None,
    table_gpa: int = 0,
) -> bytes:
    """``sections`` are (gpa, size, type); ``hashes`` are kernel, initrd, command line with NUL."""
    digest, none = start, bytes(48)
    # EC2 launches the CPUID page after everything else.
    ordered = [s for s in sections if vmm != "ec2" or s[2] != SEC_CPUID]
    ordered += [s for s in sections if vmm == "ec2" and s[2] == SEC_CPUID]
    for gpa, size, kind in ordered:
        if kind == SEC_HASHES and hashes is not None:
            page = hash_page(table_gpa % PAGE, *hashes)
            digest = page_info(digest, hashlib.sha384(page).digest(), NORMAL, gpa)
            continue
        page_type = {SEC_SECRETS: SECRETS, SEC_CPUID: CPUID}.get(kind, ZERO)
        if kind == SEC_MEM and vmm == "gce":
            page_type = UNMEASURED
        for offset in range(0, size, PAGE):
            digest = page_info(digest, none, page_type, gpa + offset)
    for index in range(vcpus):
        page = vmsa(0xFFFFFFF0 if index == 0 else eip, features, vmm, sig)
        digest = page_info(digest, hashlib.sha384(page).digest(), VMSA, VMSA_GPA)
    return digest
