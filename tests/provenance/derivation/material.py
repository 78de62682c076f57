"""Builds made on the spot: OVMF-shaped firmware, boot files, and admitted statements over them."""

from __future__ import annotations

import hashlib
import struct
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from provenance.model import (
    AdmittedStatement,
    Artifact,
    AuthenticStatement,
    DerivationRequest,
    Signer,
    Statement,
    Subject,
)

SIGNED_AT = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
ATTESTATION = "a7" * 32
RESET_EIP = 0x80B004
TABLE_GPA = 0x810C00
SECTIONS = [
    (0x800000, 0x9000, 1),
    (0x80A000, 0x3000, 1),
    (0x80D000, 0x1000, 2),
    (0x80E000, 0x1000, 3),
    (0x80F000, 0x1000, 4),
    (0x810000, 0x1000, 0x10),
    (0x811000, 0x2000, 1),
]
NO_HASHES = [section for section in SECTIONS if section[2] != 0x10]

FOOTER = UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
HASH_TABLE = UUID("7255371f-3a3b-4b04-927b-1da6efa8d454").bytes_le
RESET_BLOCK = UUID("00f771de-1a7e-4fcb-890e-68c77e2fb44e").bytes_le
METADATA = UUID("dc886566-984a-4798-a75e-5585a7bf67cc").bytes_le

KERNEL = b"\x7fkernel" * 300
INITRD = b"initrd" * 500
CMDLINE = b"console=ttyS0 root=/dev/vda verity=1"
LAUNCH: dict[str, Any] = {
    "vmm": "QEMU",
    "vcpus": 2,
    "vcpu_type": "EPYC-v4",
    "guest_features": 1,
    "kernel_hashes": True,
}


def entry(guid: bytes, data: bytes, size: int | None = None) -> bytes:
    """One entry of the OVMF table; ``size`` lies about its length."""
    return data + struct.pack("<H", size if size is not None else len(data) + 18) + guid


def metadata(
    sections: list[tuple[int, int, int]],
    *,
    signature: bytes = b"ASEV",
    version: int = 1,
    count: int | None = None,
    size: int | None = None,
) -> bytes:
    items = b"".join(struct.pack("<III", *section) for section in sections)
    header = struct.pack(
        "<III",
        size if size is not None else 16 + len(items),
        version,
        count if count is not None else len(sections),
    )
    return signature + header + items


def image(
    *,
    sections: list[tuple[int, int, int]] | None = None,
    meta: bytes | None = None,
    table: tuple[int, int] | None = (TABLE_GPA, 0x400),
    reset_eip: int | None = RESET_EIP,
    pages: int = 3,
    extra: bytes = b"",
    meta_offset: int | None = None,
    footer_size: int | None = None,
    footer: bytes = FOOTER,
) -> bytes:
    """An OVMF-shaped image: fill, SEV metadata, the GUIDed table, 32 bytes of reset vector."""
    body = metadata(SECTIONS if sections is None else sections) if meta is None else meta
    from_end = 0x600
    entries = extra
    if reset_eip is not None:
        entries += entry(RESET_BLOCK, struct.pack("<I", reset_eip))
    if table is not None:
        entries += entry(HASH_TABLE, struct.pack("<II", *table))
    if meta != b"":
        entries += entry(METADATA, struct.pack("<I", from_end if meta_offset is None else meta_offset))
    end = entries + struct.pack("<H", len(entries) + 18 if footer_size is None else footer_size) + footer
    tail = end + b"\x90" * 32
    filled = bytearray(hashlib.shake_256(b"firmware").digest(pages * 4096))
    filled[-len(tail) :] = tail
    filled[-from_end : -from_end + len(body)] = body
    return bytes(filled)


def subject(name: str, data: bytes) -> Subject:
    return Subject(name=name, digest={"sha256": hashlib.sha256(data).hexdigest()})


def admitted(
    *subjects: Subject, predicate_type: str = "urn:test", predicate: dict[str, Any] | None = None
) -> AdmittedStatement:
    """What the pipeline hands to derivation, over these subjects."""
    statement = Statement(
        type="https://in-toto.io/Statement/v1",
        subjects=subjects,
        predicate_type=predicate_type,
        predicate=predicate or {},
    )
    authentic = AuthenticStatement(
        envelope=b"{}",
        attestation=ATTESTATION,
        statement=statement,
        signers=(Signer(kind="key", identity="key:" + "ab" * 32, root="test"),),
        checks=(),
        signed_at=SIGNED_AT,
    )
    return AdmittedStatement(
        authentic=authentic,
        trust_policy="cd" * 32,
        checks=(),
        builder="https://builder.example/v1",
        source_uri="https://source.example/repo",
        source_revision="ef" * 20,
    )


def build(firmware: bytes | None = None) -> tuple[AdmittedStatement, list[Artifact]]:
    """A statement over firmware, kernel, initrd and command line, and all four."""
    data = image() if firmware is None else firmware
    files = [
        ("firmware", "OVMF.fd", data),
        ("kernel", "bzImage", KERNEL),
        ("initrd", "initrd.img", INITRD),
        ("cmdline", "cmdline.txt", CMDLINE),
    ]
    return (
        admitted(*(subject(name, content) for _, name, content in files)),
        [Artifact(role=role, name=name, data=content) for role, name, content in files],
    )


def request(**changes: Any) -> DerivationRequest:
    """The request for ``LAUNCH``; ``launch`` members merge, other members replace."""
    launch = LAUNCH | changes.pop("launch", {})
    return DerivationRequest(rule=changes.pop("rule", "snp-launch-digest"), launch=launch, **changes)
