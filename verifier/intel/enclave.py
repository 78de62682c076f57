"""The report body of an SGX enclave, 384 bytes: of the enclave a quote is for, and of the quoting enclave.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3D, table 38-21 (REPORT);
Intel SGX ECDSA Quote Library API, appendix A.4.4. Offsets are of that table.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from common.errors import Malformed

REPORT_BYTES: Final = 384
_LAYOUT: Final = struct.Struct(
    "<"
    "16s 4s 12s 16s 8s 8s"  # 0x00 CPUSVN, MISCSELECT, reserved, ISVEXTPRODID, ATTRIBUTES flags and XFRM
    "32s 32s 32s 32s 64s"  # 0x40 MRENCLAVE, reserved, MRSIGNER, reserved, CONFIGID
    "H H H 42s 16s 64s"  # 0x100 ISVPRODID, ISVSVN, CONFIGSVN, reserved, ISVFAMILYID, REPORTDATA
)
assert _LAYOUT.size == REPORT_BYTES

# ATTRIBUTES flags (SDM table 38-3).
INIT: Final = 1 << 0
DEBUG: Final = 1 << 1
MODE64BIT: Final = 1 << 2
PROVISION_KEY: Final = 1 << 4
EINITTOKEN_KEY: Final = 1 << 5
KSS: Final = 1 << 7


class EnclaveReport(msgspec.Struct, frozen=True):
    """An enclave's report body. Byte fields are as they stand in it.

    Attributes:
        cpu_svn: 16 bytes.
        misc_select: 4 bytes.
        reserved1: 12 bytes.
        isv_ext_prod_id: 16 bytes.
        flags: ATTRIBUTES bits 63:0, 8 bytes.
        xfrm: ATTRIBUTES bits 127:64, 8 bytes.
        mr_enclave: 32 bytes.
        reserved2: 32 bytes.
        mr_signer: 32 bytes.
        reserved3: 32 bytes.
        config_id: 64 bytes; zero without KSS.
        isv_prod_id: product id.
        isv_svn: security version.
        config_svn: of the configuration.
        reserved4: 42 bytes.
        isv_family_id: 16 bytes.
        report_data: 64 bytes.
    """

    cpu_svn: bytes
    misc_select: bytes
    reserved1: bytes
    isv_ext_prod_id: bytes
    flags: bytes
    xfrm: bytes
    mr_enclave: bytes
    reserved2: bytes
    mr_signer: bytes
    reserved3: bytes
    config_id: bytes
    isv_prod_id: int
    isv_svn: int
    config_svn: int
    reserved4: bytes
    isv_family_id: bytes
    report_data: bytes

    @property
    def flag_bits(self) -> int:
        """ATTRIBUTES flags as a number."""
        return int.from_bytes(self.flags, "little")


def parse_enclave_report(data: bytes) -> EnclaveReport:
    """Take a report body apart.

    Raises:
        Malformed: not 384 bytes.
    """
    if len(data) != REPORT_BYTES:
        raise Malformed(f"an enclave report has {REPORT_BYTES} bytes, not {len(data)}")
    return EnclaveReport(*_LAYOUT.unpack(data))
