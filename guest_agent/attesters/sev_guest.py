"""SEV-SNP reports from ``/dev/sev-guest``, for kernels without configfs-tsm.

Structs (little endian, natural alignment)::

    snp_guest_request_ioctl  u8 msg_version, 7 bytes, u64 req_data, u64 resp_data, u64 exitinfo2
    snp_ext_report_req       u8 user_data[64], u32 vmpl, u8 rsvd[28], u64 certs_address, u32 certs_len
    snp_report_resp          u32 status, u32 report_size, u8 rsvd[24], report (4000 bytes in all)

The upper half of ``exitinfo2`` is the host's error: 1 says that the certificates need more room, and
``certs_len`` how much.

Source: Linux, include/uapi/linux/sev-guest.h; AMD SEV-SNP ABI specification (pub. 56860), MSG_REPORT_RSP.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from common.snp_report_json import REPORT_BYTES
from guest_agent.attesters.configfs_tsm import TsmReport
from guest_agent.attesters.ioctl import Buffer, Device, iowr
from guest_agent.errors import EvidenceNotMade

DEVICE: Final = Path("/dev/sev-guest")
_REQUEST: Final = struct.Struct("<B7xQQQ")
_EXTENDED: Final = struct.Struct("<64sI28xQI4x")
_RESPONSE: Final = struct.Struct("<II24x")
_RESPONSE_BYTES: Final = 4000
SNP_GET_EXT_REPORT: Final = iowr("S", 2, _REQUEST.size)
_MESSAGE_VERSION: Final = 1
_CERTIFICATES_BYTES: Final = 16 << 10
_MAX_CERTIFICATES_BYTES: Final = 64 << 10
_HOST_ERROR_SHIFT: Final = 32
_INVALID_LENGTH: Final = 1


def extended_report(device: Device, report_data: bytes) -> TsmReport:
    """A report over ``report_data`` (64 bytes) and the host's certificate table.

    Raises:
        TeeUnavailable: no such device.
        EvidenceNotMade: firmware or host gave no report.
    """
    first = _attempt(device, report_data, _CERTIFICATES_BYTES)
    if isinstance(first, TsmReport):
        return first
    if not _CERTIFICATES_BYTES < first <= _MAX_CERTIFICATES_BYTES:
        raise EvidenceNotMade(f"the host has a certificate table of {first} bytes")
    second = _attempt(device, report_data, first)
    if isinstance(second, TsmReport):
        return second
    raise EvidenceNotMade("the host asks for more room for its certificates each time")


def _attempt(device: Device, report_data: bytes, room: int) -> TsmReport | int:
    """A report, or the room that the certificates need."""
    certificates = Buffer(b"", room)
    asked = Buffer(_EXTENDED.pack(report_data, 0, certificates.address, room))
    response = Buffer(b"", _RESPONSE_BYTES)
    argument = bytearray(_REQUEST.pack(_MESSAGE_VERSION, asked.address, response.address, 0))
    try:
        device.call(SNP_GET_EXT_REPORT, argument, failure="get an SNP report")
    except EvidenceNotMade as error:
        _, _, _, exit_info = _REQUEST.unpack(argument)
        if exit_info >> _HOST_ERROR_SHIFT == _INVALID_LENGTH:
            return int(_EXTENDED.unpack(asked.data)[3])
        raise EvidenceNotMade(f"{error} (firmware and host say {exit_info:#x})") from error
    status, size = _RESPONSE.unpack_from(response.data)
    if status != 0 or size != REPORT_BYTES:
        raise EvidenceNotMade(f"the firmware gave status {status:#x} and a report of {size} bytes")
    report = response.data[_RESPONSE.size : _RESPONSE.size + REPORT_BYTES]
    return TsmReport(report, certificates.data)
