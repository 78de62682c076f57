"""Hygon CSV reports and runtime registers from ``/dev/csv-guest``.

A report is asked for with the extended request: user data (64), a nonce of ours (16), SM3 of both (32),
magic, flags. Firmware that knows it answers with version 2, older firmware leaves magic and flags unread
and answers with version 1; which it was the MAC tells: HMAC-SM3 with our nonce as key over PEK, serial
number and reserved bytes, at the offset of the version. In version 1 these and the nonce are masked with
the report's ``anonce``; after the check they are unmasked, as the reference attester hands them on.

Structs (little endian)::

    csv_report_req   u64 address, u32 length, 4 bytes
    csv_rtmr_req     u64 address, u64 length, u16 subcommand, u16 reserved, u32 firmware error
    rtmr read        u32 bitmap, registers of 32 bytes    rtmr extend   u8 index, u8, u16 length, digest

Source: Linux (Anolis, openEuler), drivers/virt/coco/csv-guest; crate ``csv-rs``.
"""

from __future__ import annotations

import hmac as compare
import secrets
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.hazmat.primitives import hashes, hmac

from common.runtime_data import hash_bytes
from guest_agent.attesters.ioctl import Buffer, iowr
from guest_agent.errors import EvidenceNotMade

if TYPE_CHECKING:
    from guest_agent.attesters.ioctl import Device

DEVICE: Final = Path("/dev/csv-guest")
REPORT_BYTES: Final = 4096
MAGIC: Final = b"ATTESTATION_EXT\0"
_REPORT_REQUEST: Final = struct.Struct("<QI4x")
_RTMR_REQUEST: Final = struct.Struct("<QQHHI")
CSV_GET_REPORT: Final = iowr("D", 1, _REPORT_REQUEST.size)
CSV_RTMR_REQ: Final = iowr("D", 2, _RTMR_REQUEST.size)
_RTMR_READ: Final = 3
_RTMR_EXTEND: Final = 4
_RTMR_BYTES: Final = 32
_EXTENDED: Final = 1
_USER_DATA: Final = 64
_NONCE_BYTES: Final = 16
_NONCE: Final = slice(0x80, 0x90)
_ANONCE: Final = slice(0xBC, 0xC0)  # of version 1
PEK_BYTES: Final = 2084
_SERIAL_BYTES: Final = 64
_RESERVED_BYTES: Final = 32
_MAC_BYTES: Final = 32
_SIGNERS: Final = {2: 0x490, 1: 0x150}  # version to the offset of PEK, serial number, reserved, MAC


class CsvReport(msgspec.Struct, frozen=True):
    """A report whose signer's part was checked.

    Attributes:
        data: 4096 bytes, the signer's part unmasked.
        version: 1 or 2.
        pek: the platform endorsement key's certificate.
        serial_number: of the chip, 64 bytes.
    """

    data: bytes
    version: int
    pek: bytes
    serial_number: bytes


def get_report(device: Device, user_data: bytes, *, nonce: bytes | None = None) -> CsvReport:
    """A report over ``user_data`` (64 bytes).

    Args:
        device: ``/dev/csv-guest``.
        user_data: what the report is to carry.
        nonce: 16 bytes; fresh ones where None.

    Raises:
        TeeUnavailable: no such device.
        EvidenceNotMade: no report, or one whose MAC does not hold.
    """
    nonce = nonce or secrets.token_bytes(_NONCE_BYTES)
    head = user_data + nonce + hash_bytes(user_data + nonce, "sm3") + MAGIC
    page = Buffer(head + _EXTENDED.to_bytes(4, "little"), REPORT_BYTES)
    argument = bytearray(_REPORT_REQUEST.pack(page.address, REPORT_BYTES))
    device.call(CSV_GET_REPORT, argument, failure="get a CSV report")
    data = page.data
    for version, start in _SIGNERS.items():
        mask = data[_ANONCE] if version == 1 else bytes(4)
        if compare.compare_digest(_masked(data[_NONCE], mask), nonce) and _mac_holds(data, start, nonce):
            return _restored(data, version, start, mask)
    raise EvidenceNotMade("the CSV report's MAC does not hold: it is not the answer to our request")


def read_register(device: Device, register: int) -> bytes:
    """A runtime register, 32 bytes.

    Raises:
        TeeUnavailable: no such device.
        EvidenceNotMade: the firmware refuses.
    """
    content = Buffer((1 << register).to_bytes(4, "little"), 4 + _RTMR_BYTES)
    _rtmr(device, _RTMR_READ, content, f"read register {register}")
    return content.data[4:]


def extend_register(device: Device, register: int, digest: bytes) -> None:
    """Extend a runtime register by an SM3 digest; errors as ``read_register``."""
    content = Buffer(struct.pack("<BBH", register, 0, _RTMR_BYTES) + digest)
    _rtmr(device, _RTMR_EXTEND, content, f"extend register {register}")


def _rtmr(device: Device, subcommand: int, content: Buffer, failure: str) -> None:
    argument = bytearray(_RTMR_REQUEST.pack(content.address, len(content.data), subcommand, 0, 0))
    device.call(CSV_RTMR_REQ, argument, failure=failure)
    firmware_error = _RTMR_REQUEST.unpack(argument)[4]
    if firmware_error:
        raise EvidenceNotMade(f"cannot {failure}: the firmware says {firmware_error:#x}")


def _mac_holds(data: bytes, start: int, nonce: bytes) -> bool:
    covered = data[start : start + PEK_BYTES + _SERIAL_BYTES + _RESERVED_BYTES]
    mac = hmac.HMAC(nonce, hashes.SM3())
    mac.update(covered)
    end = start + len(covered)
    return compare.compare_digest(mac.finalize(), data[end : end + _MAC_BYTES])


def _restored(data: bytes, version: int, start: int, mask: bytes) -> CsvReport:
    serial_at = start + PEK_BYTES
    reserved_at = serial_at + _SERIAL_BYTES
    pek = _masked(data[start:serial_at], mask)
    serial = _masked(data[serial_at:reserved_at], mask)
    rest = data[reserved_at + _RESERVED_BYTES :]
    restored = data[:start] + pek + serial + bytes(_RESERVED_BYTES) + rest
    return CsvReport(restored, version, pek, serial)


def _masked(data: bytes, mask: bytes) -> bytes:
    return bytes(octet ^ mask[place % 4] for place, octet in enumerate(data))
