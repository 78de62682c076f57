"""The report body of a trust domain: 584 bytes (TD 1.0) or 648 (TD 1.5).

Source: Intel TDX Module Base Architecture Specification, TDINFO_STRUCT and TEE_TCB_INFO; Intel TDX DCAP
Quote Generation Library API, appendix A.3.2. Offsets are of the body.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from common.errors import Malformed

BODY_BYTES: Final = 584
BODY_15_BYTES: Final = 648
_LAYOUT: Final = struct.Struct(
    "<"
    "16s 48s 48s 8s"  # 0x000 TEE_TCB_SVN, MRSEAM, MRSIGNERSEAM, SEAMATTRIBUTES
    "8s 8s 48s 48s 48s 48s"  # 0x078 TDATTRIBUTES, XFAM, MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG
    "48s 48s 48s 48s 64s"  # 0x148 RTMR0..3, REPORTDATA
)
_LAYOUT_15: Final = struct.Struct(_LAYOUT.format + "16s 48s")  # 0x248 TEE_TCB_SVN2, MRSERVICETD
assert (_LAYOUT.size, _LAYOUT_15.size) == (BODY_BYTES, BODY_15_BYTES)

# TDATTRIBUTES (TDX Module ABI Specification, ATTRIBUTES). Bits 7:0 take away the TD's protection.
TD_DEBUG: Final = 1 << 0
TD_UNTRUSTED: Final = 0xFF
TD_ICSSD: Final = 1 << 16
TD_LASS: Final = 1 << 27
TD_SEPT_VE_DISABLE: Final = 1 << 28
TD_MIGRATABLE: Final = 1 << 29
TD_PKS: Final = 1 << 30
TD_KEY_LOCKER: Final = 1 << 31
TD_TPA: Final = 1 << 62
TD_PERFMON: Final = 1 << 63
TD_KNOWN: Final = (
    TD_UNTRUSTED
    | TD_ICSSD
    | TD_LASS
    | TD_SEPT_VE_DISABLE
    | TD_MIGRATABLE
    | TD_PKS
    | TD_KEY_LOCKER
    | TD_TPA
    | TD_PERFMON
)
# XFAM: bits that are always set, and bits that may be (TDX Module ABI Specification, XFAM).
XFAM_FIXED_1: Final = 0x3
XFAM_KNOWN: Final = 0x6DBE7


class TdBody(msgspec.Struct, frozen=True):
    """A trust domain's report body. Byte fields are as they stand in it.

    Attributes:
        tee_tcb_svn: 16 bytes; [0] is the TDX module's ISVSVN, [1] its major version.
        mr_seam: measurement of the TDX module.
        mr_signer_seam: its signer; zero is Intel.
        seam_attributes: 8 bytes.
        td_attributes: 8 bytes.
        xfam: 8 bytes.
        mr_td: measurement of the TD's initial contents.
        mr_config_id: configuration chosen by the host.
        mr_owner: owner.
        mr_owner_config: configuration by the owner.
        rtmr_0: runtime measurement register.
        rtmr_1: runtime measurement register.
        rtmr_2: runtime measurement register.
        rtmr_3: runtime measurement register.
        report_data: 64 bytes.
        tee_tcb_svn2: TD 1.5: the TCB now, where ``tee_tcb_svn`` is that at launch; None in TD 1.0.
        mr_servicetd: TD 1.5: bound service TDs; None in TD 1.0.
    """

    tee_tcb_svn: bytes
    mr_seam: bytes
    mr_signer_seam: bytes
    seam_attributes: bytes
    td_attributes: bytes
    xfam: bytes
    mr_td: bytes
    mr_config_id: bytes
    mr_owner: bytes
    mr_owner_config: bytes
    rtmr_0: bytes
    rtmr_1: bytes
    rtmr_2: bytes
    rtmr_3: bytes
    report_data: bytes
    tee_tcb_svn2: bytes | None = None
    mr_servicetd: bytes | None = None

    @property
    def attribute_bits(self) -> int:
        """TDATTRIBUTES as a number."""
        return int.from_bytes(self.td_attributes, "little")

    @property
    def xfam_bits(self) -> int:
        """XFAM as a number."""
        return int.from_bytes(self.xfam, "little")


def parse_td_body(data: bytes, size: int) -> TdBody:
    """Take a body of ``size`` bytes (``BODY_BYTES`` or ``BODY_15_BYTES``) apart.

    Raises:
        Malformed: another length.
    """
    if len(data) != size or size not in (BODY_BYTES, BODY_15_BYTES):
        raise Malformed(f"a TD report body has {BODY_BYTES} or {BODY_15_BYTES} bytes, not {len(data)}")
    return TdBody(*(_LAYOUT if size == BODY_BYTES else _LAYOUT_15).unpack(data))
