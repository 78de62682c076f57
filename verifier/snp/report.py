"""ATTESTATION_REPORT: 1184 bytes, little endian, versions 2 to 5, taken apart in one unpack.

Source: AMD SEV Secure Nested Paging Firmware ABI Specification (pub. 56860) section 7.3, table
ATTESTATION_REPORT; offsets below are of that table.

Invariants:

* A ``Report`` exists only if the length, every reserved range of its version and every enumerated
  structural rule hold. Whether its values are acceptable is for ``verifier.snp.checks``.
* Unknown bits of PLATFORM_INFO are no structural error: firmware may set new ones; they are kept.
* ``signed`` is the slice received, never a re-encoding.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from common.errors import Malformed
from verifier.errors import UnsupportedEvidence

REPORT_BYTES: Final = 0x4A0
SIGNED_BYTES: Final = 0x2A0
KNOWN_VERSIONS: Final = (2, 3, 4, 5)
CPUID_VERSION: Final = 3  # first version with CPUID fields at 0x188
MITIGATION_VERSION: Final = 5  # first version with mitigation vectors at 0x1F8
MAX_VMPL: Final = 3
_LAYOUT: Final = struct.Struct(
    "<"
    "I I Q 16s 16s I I"  # 0x000 version, guest SVN, policy, family, image, VMPL, signature algorithm
    "8s Q I 4s"  # 0x038 current TCB, platform info, key info, reserved
    "64s 48s 32s 48s 48s 32s 32s"  # 0x050 report data ... report id of the migration agent
    "8s 3s 21s 64s"  # 0x180 reported TCB, CPUID family, model, stepping, reserved, chip id
    "8s 4s 4s 8s"  # 0x1E0 committed TCB, current and committed firmware, launch TCB
    "Q Q 152s"  # 0x1F8 launch and current mitigation vector, reserved
    "72s 72s 368s"  # 0x2A0 R, S, reserved
)
_COMPONENT_BYTES: Final = 48  # of P-384; the upper 24 bytes of R and S must be zero
_COMPONENT_PADDING: Final = bytes(24)
_ZERO_3: Final = bytes(3)
_ZERO_4: Final = bytes(4)
_ZERO_21: Final = bytes(21)
_ZERO_48: Final = bytes(48)
_ZERO_152: Final = bytes(152)
_ZERO_368: Final = bytes(368)

# POLICY (table GUEST_POLICY).
POLICY_SMT: Final = 1 << 16
POLICY_MUST_BE_ONE: Final = 1 << 17
POLICY_MIGRATE_MA: Final = 1 << 18
POLICY_DEBUG: Final = 1 << 19
POLICY_SINGLE_SOCKET: Final = 1 << 20
POLICY_CXL_ALLOW: Final = 1 << 21
POLICY_MEM_AES_256_XTS: Final = 1 << 22
POLICY_RAPL_DIS: Final = 1 << 23
POLICY_CIPHERTEXT_HIDING: Final = 1 << 24
POLICY_PAGE_SWAP_DISABLE: Final = 1 << 25
_POLICY_KNOWN_BITS: Final = 26

# PLATFORM_INFO (table PLATFORM_INFO).
PLATFORM_SMT: Final = 1 << 0
PLATFORM_TSME: Final = 1 << 1
PLATFORM_ECC: Final = 1 << 2
PLATFORM_RAPL_DIS: Final = 1 << 3
PLATFORM_CIPHERTEXT_HIDING: Final = 1 << 4
PLATFORM_ALIAS_CHECK: Final = 1 << 5  # AMD-SB-3015 (BadRAM)
PLATFORM_TIO: Final = 1 << 7
PLATFORM_KNOWN: Final = (
    PLATFORM_SMT
    | PLATFORM_TSME
    | PLATFORM_ECC
    | PLATFORM_RAPL_DIS
    | PLATFORM_CIPHERTEXT_HIDING
    | PLATFORM_ALIAS_CHECK
    | PLATFORM_TIO
)

# KEY_INFO (offset 0x048).
KEY_AUTHOR_KEY_EN: Final = 1 << 0
KEY_MASK_CHIP_KEY: Final = 1 << 1
KEY_SIGNING_SHIFT: Final = 2
_KEY_SIGNING_MASK: Final = 0b111
_KEY_KNOWN_BITS: Final = 5


class Report(msgspec.Struct, frozen=True):
    """A structurally sound report. Byte fields are as they stand in it.

    Attributes:
        version: 2 to 5.
        guest_svn: from the ID block.
        policy: POLICY, 64 bits.
        family_id: 16 bytes, ID block.
        image_id: 16 bytes, ID block.
        vmpl: VMPL that the report was asked for, 0 to 3.
        signature_algorithm: 1 is ECDSA P-384 with SHA-384.
        current_tcb: TCB_VERSION, 8 bytes.
        platform_info: PLATFORM_INFO, 64 bits, unknown ones included.
        key_info: KEY_INFO, 5 bits.
        report_data: 64 bytes.
        measurement: launch digest, 48 bytes.
        host_data: 32 bytes.
        id_key_digest: SHA-384 of the ID key, 48 bytes, zero without an ID block.
        author_key_digest: SHA-384 of the author key, 48 bytes.
        report_id: 32 bytes.
        report_id_ma: 32 bytes, all ones without a migration agent.
        reported_tcb: TCB_VERSION of the key that signed.
        cpuid: combined family, model and stepping; None in version 2.
        chip_id: 64 bytes.
        committed_tcb: TCB_VERSION.
        current_version: firmware (major, minor, build).
        committed_version: firmware (major, minor, build).
        launch_tcb: TCB_VERSION.
        launch_mitigations: mitigation vector; None before version 5.
        current_mitigations: mitigation vector; None before version 5.
        r: signature component.
        s: signature component.
        signed: the bytes that the signature covers, [0, 0x2A0).
    """

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    signature_algorithm: int
    current_tcb: bytes
    platform_info: int
    key_info: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    cpuid: tuple[int, int, int] | None
    chip_id: bytes
    committed_tcb: bytes
    current_version: tuple[int, int, int]
    committed_version: tuple[int, int, int]
    launch_tcb: bytes
    launch_mitigations: int | None
    current_mitigations: int | None
    r: int
    s: int
    signed: bytes

    @property
    def signing_key(self) -> int:
        """KEY_INFO bits 4:2: 0 VCEK, 1 VLEK, 7 none."""
        return self.key_info >> KEY_SIGNING_SHIFT & _KEY_SIGNING_MASK


def parse_report(data: bytes) -> Report:
    """Take a report apart.

    Raises:
        Malformed: not 1184 bytes, a reserved range is not zero, a field outside its range.
        UnsupportedEvidence: a version whose layout is not known here.
    """
    if len(data) != REPORT_BYTES:
        raise Malformed(f"an SNP report has {REPORT_BYTES} bytes, not {len(data)}")
    (
        version, guest_svn, policy, family_id, image_id, vmpl, algorithm,
        current_tcb, platform_info, key_info, reserved_04c,
        report_data, measurement, host_data, id_key, author_key, report_id, report_id_ma,
        reported_tcb, cpuid, reserved_18b, chip_id,
        committed_tcb, current_fw, committed_fw, launch_tcb,
        launch_mit, current_mit, reserved_208,
        r, s, reserved_330,
    ) = _LAYOUT.unpack(data)  # fmt: skip
    if version not in KNOWN_VERSIONS:
        raise UnsupportedEvidence(f"SNP report version {version} is not one of {KNOWN_VERSIONS}")
    has_mitigations = version >= MITIGATION_VERSION
    if (
        reserved_04c != _ZERO_4
        or reserved_18b != _ZERO_21
        or reserved_208 != _ZERO_152
        or reserved_330 != _ZERO_368
        or current_fw[3]
        or committed_fw[3]
        or (version < CPUID_VERSION and cpuid != _ZERO_3)
        or (not has_mitigations and (launch_mit or current_mit))
    ):
        raise Malformed(f"a reserved range of the version {version} report is not zero")
    _require_fields(policy, key_info, vmpl, author_key)
    if r[_COMPONENT_BYTES:] != _COMPONENT_PADDING or s[_COMPONENT_BYTES:] != _COMPONENT_PADDING:
        raise Malformed("a signature component is longer than P-384 allows")
    return Report(
        version, guest_svn, policy, family_id, image_id, vmpl, algorithm,
        current_tcb, platform_info, key_info,
        report_data, measurement, host_data, id_key, author_key, report_id, report_id_ma,
        reported_tcb, (cpuid[0], cpuid[1], cpuid[2]) if version >= CPUID_VERSION else None, chip_id,
        committed_tcb,
        (current_fw[2], current_fw[1], current_fw[0]),
        (committed_fw[2], committed_fw[1], committed_fw[0]),
        launch_tcb,
        launch_mit if has_mitigations else None,
        current_mit if has_mitigations else None,
        int.from_bytes(r, "little"),
        int.from_bytes(s, "little"),
        data[:SIGNED_BYTES],
    )  # fmt: skip


def _require_fields(policy: int, key_info: int, vmpl: int, author_key: bytes) -> None:
    if policy >> _POLICY_KNOWN_BITS or not policy & POLICY_MUST_BE_ONE:
        raise Malformed(f"POLICY {policy:#x}: bit 17 must be one and bits 63:26 zero")
    if key_info >> _KEY_KNOWN_BITS:
        raise Malformed(f"KEY_INFO {key_info:#x}: bits 31:5 must be zero")
    # 0xFFFFFFFF marks a report that the host asked for: it speaks for no guest.
    if vmpl > MAX_VMPL:
        raise Malformed(f"VMPL {vmpl:#x} is not a guest's")
    if not key_info & KEY_AUTHOR_KEY_EN and author_key != _ZERO_48:
        raise Malformed("AUTHOR_KEY_DIGEST is set although AUTHOR_KEY_EN is not")
