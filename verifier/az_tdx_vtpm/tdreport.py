"""TDREPORT_STRUCT: 1024 bytes that a TD gets from its module, before a quote is made of them.

A TDREPORT is authenticated by a MAC that only its own machine can check: from afar it proves nothing. It
tells which TD the HCL report is of; what is relied on is in the quote, which must be of the same TD.

Its parts cover each other by SHA-384, which is checked, so that a report put together of two is refused.

Offsets: 0x000 REPORTMACSTRUCT (type 0x81; 0x020 hash of TEE_TCB_INFO, 0x050 hash of TDINFO, 0x080
REPORTDATA), 0x100 TEE_TCB_INFO (239 bytes), 0x200 TDINFO (512 bytes; 0x010 MRTD).

Source: Intel TDX Module ABI Specification, TDREPORT_STRUCT; Intel SDM volume 3D, REPORTMACSTRUCT.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from common.errors import Malformed
from verifier.azure.hcl import TDREPORT_BYTES
from verifier.errors import UnsupportedEvidence

_TDX_TYPE: Final = 0x81
_TCB_HASH: Final = slice(0x20, 0x50)
_TDINFO_HASH: Final = slice(0x50, 0x80)
_REPORT_DATA: Final = slice(0x80, 0xC0)
_TCB_INFO: Final = slice(0x100, 0x1EF)
_TDINFO: Final = slice(0x200, 0x400)
_MR_TD: Final = slice(0x210, 0x240)


class TdReport(msgspec.Struct, frozen=True):
    """What of a TDREPORT is used.

    Attributes:
        report_data: 64 bytes.
        mr_td: 48 bytes.
    """

    report_data: bytes
    mr_td: bytes


def parse_td_report(data: bytes) -> TdReport:
    """Take a TDREPORT apart.

    Raises:
        Malformed: another length, or parts that do not belong together.
        UnsupportedEvidence: a report of another TEE.
    """
    if len(data) != TDREPORT_BYTES:
        raise Malformed(f"a TDREPORT has {TDREPORT_BYTES} bytes, not {len(data)}")
    if data[0] != _TDX_TYPE:
        raise UnsupportedEvidence(f"the report is of TEE type {data[0]:#04x}, not of TDX")
    for part, digest in ((_TCB_INFO, _TCB_HASH), (_TDINFO, _TDINFO_HASH)):
        if hashlib.sha384(data[part]).digest() != data[digest]:
            raise Malformed("the parts of the TDREPORT do not belong together")
    return TdReport(data[_REPORT_DATA], data[_MR_TD])
