"""The HCL report (vTPM NV index 0x01400001): bytes to typed values.

Little endian. Offsets: 0x00 header of 32 bytes (signature ``HCLA``, version, report size, request type,
status, reserved), 0x20 hardware report in an area of 1184 bytes, 0x4C0 request data (data size, version,
report type, hash type, size of the runtime claims), from data version 2 on a bitmap of 4 bytes, then the
runtime claims. The NV index is longer: zeros follow.

Nothing of this is authentic by itself. The hardware report is signed, or stands for a quote that is; the
runtime claims are covered by their hash in it. Header and request data are covered by nothing: a wrong
report type or hash type makes the report unreadable or its hash another, and says nothing more.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import msgspec

from common.binary import Reader
from common.errors import Malformed, TooLarge
from verifier.errors import UnsupportedEvidence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_REPORT_BYTES: Final = 64 << 10
AREA_BYTES: Final = 1184
TDREPORT_BYTES: Final = 1024
HEADER_BYTES: Final = 32
_SIGNATURE: Final = b"HCLA"
_VERSIONS: Final = (1, 2)
_EXTENDED_VERSION: Final = 2
_DATA_BYTES: Final = 20
_BITMAP_BYTES: Final = 4
REPORT_DATA_BYTES: Final = 64

HASHES: Final[Mapping[int, tuple[str, Callable[[bytes], bytes]]]] = {
    1: ("sha256", lambda data: hashlib.sha256(data).digest()),
    2: ("sha384", lambda data: hashlib.sha384(data).digest()),
    3: ("sha512", lambda data: hashlib.sha512(data).digest()),
}


class ReportType(IntEnum):
    """Kinds of hardware reports that are read here."""

    SNP = 2
    TDX = 4


_SIZES: Final[Mapping[ReportType, int]] = {ReportType.SNP: AREA_BYTES, ReportType.TDX: TDREPORT_BYTES}


class HclReport(msgspec.Struct, frozen=True):
    """A parsed report.

    Attributes:
        version: of the header.
        type: kind of the hardware report.
        hardware_report: SNP report of 1184 bytes, or TDREPORT of 1024.
        hash_type: 1 SHA-256, 2 SHA-384, 3 SHA-512.
        runtime_claims: JSON, as hashed.
    """

    version: int
    type: ReportType
    hardware_report: bytes
    hash_type: int
    runtime_claims: bytes

    @property
    def hash_name(self) -> str:
        """Name of the hash."""
        return HASHES[self.hash_type][0]

    def expected_report_data(self) -> bytes:
        """What the hardware report's 64 bytes of report data must be: the hash, and zeros."""
        return HASHES[self.hash_type][1](self.runtime_claims).ljust(REPORT_DATA_BYTES, b"\0")


def parse_hcl(data: bytes) -> HclReport:
    """Parse a report, with the zeros that fill its NV index or without.

    Raises:
        TooLarge: over 64 KiB.
        Malformed: not a report, cut short, sizes that contradict each other, other bytes than zeros after
            it.
        UnsupportedEvidence: a version, report type or hash type that is not known here.
    """
    if len(data) > MAX_REPORT_BYTES:
        raise TooLarge(f"HCL report of {len(data)} bytes, the limit is {MAX_REPORT_BYTES}")
    reader = Reader(data, "HCL report", "little")
    if reader.take(4, "signature") != _SIGNATURE:
        raise Malformed("the HCL report does not start with HCLA")
    version = reader.u32("version")
    if version not in _VERSIONS:
        raise UnsupportedEvidence(f"HCL report version {version} is not one of {_VERSIONS}")
    report_size = reader.u32("report size")
    reader.take(20, "request type, status and reserved")
    area = reader.take(AREA_BYTES, "hardware report")
    data_size, data_version = reader.u32("data size"), reader.u32("data version")
    kind, hash_type = reader.u32("report type"), reader.u32("hash type")
    size = reader.u32("size of the runtime claims")
    if data_version not in _VERSIONS:
        raise UnsupportedEvidence(f"HCL request data version {data_version} is not one of {_VERSIONS}")
    extension = _BITMAP_BYTES if data_version >= _EXTENDED_VERSION else 0
    if hash_type not in HASHES:
        raise UnsupportedEvidence(f"HCL hash type {hash_type} is not one of {tuple(HASHES)}")
    reader.take(extension, "capabilities")
    claims = reader.take(size, "runtime claims")
    if data_size != _DATA_BYTES + extension + size or report_size != reader.position:
        raise Malformed("the sizes in the HCL report contradict each other")
    if any(reader.take(reader.remaining, "padding")):
        raise Malformed("the HCL report is followed by other bytes than zeros")
    report_type = _type(kind)
    used = _SIZES[report_type]
    if any(area[used:]):
        raise Malformed("the hardware report is followed by other bytes than zeros")
    return HclReport(version, report_type, area[:used], hash_type, claims)


def _type(kind: int) -> ReportType:
    try:
        return ReportType(kind)
    except ValueError as error:
        raise UnsupportedEvidence(f"HCL report type {kind} is neither SNP (2) nor TDX (4)") from error
