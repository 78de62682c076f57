"""CSV attestation reports, legacy (version 1) and extended (version 2), parsed into one frozen struct.

Offsets, little endian; ``x`` marks what version 1 masks with ANONCE (XOR, word by word), and what is masked
is signed as it stands, masked::

    0x000 32 x user public key digest     0x0B0 4 x POLICY
    0x020 16 x VM id                      0x0B4 4 x signature usage
    0x030 16 x VM version                 0x0B8 4 x signature algorithm
    0x040 64 x report data                v1: 0x0BC 4 ANONCE, 0x0C0 signature over [0, 0xB4)
    0x080 16 x MNONCE                     v2: 0x0BC 4 build, 0x0C0 2 register version, 14 reserved,
    0x090 32 x launch measurement             0x0D0 5 x 32 registers, 0x170 656 reserved,
                                              0x400 signature over [0, 0x400)

then, at 0x150 (v1) or 0x490 (v2), what nobody signed: the PEK certificate (2084), the chip's serial number
(64), a reserved field (32: a sealing key, cleared by guests before they send a report) and a MAC (32); then
zeros up to a page. In version 1 PEK and serial number are masked too as the firmware gives them, and not
masked as guests of Confidential Containers send them: the PEK's version and usage tell which.

In version 1 ANONCE is not signed, and the signature covers masked bytes: who changes ANONCE changes every
value of a report by the same word, under a valid signature. A guest that prepares its report data for that
could so turn bits of POLICY. It cannot keep the measurement while it does: a version 1 report's values are
authentic only together with a measurement that is known, and the policies that are shipped affirm nothing
of version 1 without one. Version 2 signs everything up to its signature and masks nothing.

Sources: csv-rs ``api/guest/types.rs`` (both versions), rats-tls ``rats-tls/csv.h`` (version 1). No public
report of version 2 is known: its layout rests on the first source alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from common.binary import Reader
from common.errors import Malformed
from verifier.csv.certificates import CSV_BYTES
from verifier.csv.layout import USAGE_PEK, take_signature

if TYPE_CHECKING:
    from common.sm2 import Signature

PAGE: Final = 4096
BINDING_SIZE: Final = 64
REGISTERS: Final = 5
VERSIONS: Final = (1, 2)
_WORD: Final = 4
_SIGNED: Final = {1: 0xB4, 2: 0x400}
_SIGNER: Final = {1: 0x150, 2: 0x490}  # where PEK, serial number and MAC begin
_SIGNER_BYTES: Final = CSV_BYTES + 64 + 32 + 32
_PEK_HEAD: Final = (1).to_bytes(4, "little")
_PEK_USAGE: Final = USAGE_PEK.to_bytes(4, "little")
_SERIAL: Final = re.compile(rb"[A-Za-z0-9-]{1,64}\Z")

POLICY_NODBG: Final = 1 << 0
POLICY_NOKS: Final = 1 << 1
POLICY_ES: Final = 1 << 2
POLICY_NOSEND: Final = 1 << 3
POLICY_DOMAIN: Final = 1 << 4
POLICY_CSV: Final = 1 << 5
POLICY_CSV3: Final = 1 << 6
POLICY_ASID_REUSE: Final = 1 << 7


class Extension(msgspec.Struct, frozen=True):
    """What version 2 adds.

    Attributes:
        build: of the firmware.
        register_version: of the registers; 0 before a guest starts them.
        reserved0: 14 bytes.
        registers: RTMR 0 to 4, 32 bytes each (SM3).
        reserved1: 656 bytes.
    """

    build: int
    register_version: int
    reserved0: bytes
    registers: tuple[bytes, ...]
    reserved1: bytes


class Report(msgspec.Struct, frozen=True):
    """A report. Values are unmasked; ``signed`` is as received.

    Attributes:
        version: 1 or 2.
        user_pubkey_digest: SM3 of the guest owner's session key; zero where there was no session.
        vm_id: the guest owner's name of the VM.
        vm_version: the guest owner's version of it.
        report_data: what the guest wanted in it.
        mnonce: the guest's nonce for the MAC; says nothing of freshness to others.
        measure: launch measurement, SM3.
        policy: the guest's policy, ``POLICY_*`` and versions.
        sig_usage: of the key that signed.
        sig_algo: by which it signed.
        anonce: the mask; 0 in version 2.
        extension: version 2.
        signature: over ``signed``.
        signed: bytes as received.
        pek: the certificate in the report, unmasked.
        serial_number: of the chip, as the unsigned part has it.
    """

    version: int
    user_pubkey_digest: bytes
    vm_id: bytes
    vm_version: bytes
    report_data: bytes
    mnonce: bytes
    measure: bytes
    policy: int
    sig_usage: int
    sig_algo: int
    anonce: int
    extension: Extension | None
    signature: Signature
    signed: bytes
    pek: bytes
    serial_number: str


def parse_report(data: bytes, version: int) -> Report:
    """Parse a report of a version; the bytes do not say which it is.

    Raises:
        Malformed: another length, something but zeros after the end, or a serial number that is none.
    """
    end = _SIGNER.get(version, PAGE) + _SIGNER_BYTES
    if version not in VERSIONS or not end <= len(data) <= PAGE or any(data[end:]):
        raise Malformed(
            f"a CSV report of version {version} has {end} bytes and zeros up to {PAGE},"
            f" this has {len(data)}"
        )
    anonce = int.from_bytes(data[0xBC:0xC0], "little") if version == 1 else 0
    mask = anonce.to_bytes(_WORD, "little")
    start = _SIGNER[version]
    head = Reader(_masked(data[:0xBC], mask), "CSV report", "little")
    fields = {name: head.take(size, name) for name, size in _DIGESTS}
    policy, usage, algorithm = (head.u32(name) for name in ("policy", "sig_usage", "sig_algo"))
    tail = Reader(data[0xBC:start], "CSV report", "little")
    extension = _extension(tail) if version == 2 else None  # noqa: PLR2004
    if extension is None:
        tail.take(_WORD, "anonce")
    signature = take_signature(tail)
    tail.finish()
    pek, serial_number = _signer(data[start : start + _SIGNER_BYTES], mask)
    return Report(
        version=version,
        **fields,
        policy=policy,
        sig_usage=usage,
        sig_algo=algorithm,
        anonce=anonce,
        extension=extension,
        signature=signature,
        signed=data[: _SIGNED[version]],
        pek=pek,
        serial_number=serial_number,
    )


def parse_serial_number(field: bytes) -> str:
    """A serial number as text: letters, digits and hyphens, followed by nothing but NULs.

    It goes into a path and a URL: what is not of this form never gets there.

    Raises:
        Malformed: anything else.
    """
    text = field.rstrip(b"\0")
    if not _SERIAL.match(text):
        raise Malformed("the chip's serial number is not of 1 to 64 letters, digits and hyphens")
    return text.decode("ascii")


def looks_like_report(data: bytes, version: int) -> bool:
    """Whether a PEK certificate stands where a report of that version has it."""
    start = _SIGNER[version]
    if not start + _SIGNER_BYTES <= len(data) <= PAGE:
        return False
    mask = data[0xBC:0xC0] if version == 1 else bytes(_WORD)
    pek = data[start : start + CSV_BYTES]
    return _is_pek(pek) or _is_pek(_masked(pek, mask))


_DIGESTS: Final = (
    ("user_pubkey_digest", 32),
    ("vm_id", 16),
    ("vm_version", 16),
    ("report_data", BINDING_SIZE),
    ("mnonce", 16),
    ("measure", 32),
)


def _extension(reader: Reader) -> Extension:
    return Extension(
        build=reader.u32("build"),
        register_version=reader.u16("rtmr_version"),
        reserved0=reader.take(14, "reserved0"),
        registers=tuple(reader.take(32, f"rtmr{index}") for index in range(REGISTERS)),
        reserved1=reader.take(656, "reserved1"),
    )


def _signer(data: bytes, mask: bytes) -> tuple[bytes, str]:
    """PEK certificate and serial number, from either spelling."""
    plain = data if _is_pek(data) else _masked(data, mask)
    return plain[:CSV_BYTES], parse_serial_number(plain[CSV_BYTES : CSV_BYTES + 64])


def _is_pek(data: bytes) -> bool:
    return data[:4] == _PEK_HEAD and data[8:12] == _PEK_USAGE


def _masked(data: bytes, mask: bytes) -> bytes:
    """``data`` with ``mask`` over every word; a last, shorter word takes the mask's first bytes."""
    size = len(data)
    cover = (mask * (-(-size // len(mask))))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(cover, "big")).to_bytes(size, "big")
