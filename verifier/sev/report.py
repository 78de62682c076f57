"""The report of the ATTESTATION command: 208 bytes, little endian.

    0x00  nonce (16), of whoever asked the host for the report
    0x10  launch digest (32)
    0x30  guest policy (4)
    0x34  usage of the signing key (4)     0x38  algorithm (4)     0x3C  reserved (4)
    0x40  signature: r (72), s (72)

The signature is the PEK's, over 0x00 to 0x33.

Source: AMD SEV API (publication 55766) section 6.8 (ATTESTATION), chapter 3 (guest policy).
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from common.errors import Malformed
from verifier.errors import UnsupportedEvidence
from verifier.sev.certificate import ECDSA_SHA256, ECDSA_SHA384, USAGE_PEK

REPORT_BYTES: Final = 0xD0
SIGNED_BYTES: Final = 0x34
NONCE_BYTES: Final = 16
_LAYOUT: Final = struct.Struct("<16s32sIII4s144s")

POLICY_NODBG: Final = 1 << 0
POLICY_NOKS: Final = 1 << 1
POLICY_ES: Final = 1 << 2
POLICY_NOSEND: Final = 1 << 3
POLICY_DOMAIN: Final = 1 << 4
POLICY_SEV: Final = 1 << 5
POLICY_BITS: Final = 0x3F
POLICY_RESERVED: Final = 0xFFC0


class SevReport(msgspec.Struct, frozen=True):
    """A report.

    Attributes:
        nonce: of whoever asked.
        launch_digest: SHA-256 of what was launched.
        policy: guest policy.
        algorithm: of the signature.
        signature: r and s.
        signed: the bytes under it.
    """

    nonce: bytes
    launch_digest: bytes
    policy: int
    algorithm: int
    signature: bytes
    signed: bytes

    @property
    def minimum_api(self) -> tuple[int, int]:
        """Lowest firmware API (major, minor) that the policy lets the guest run on."""
        return self.policy >> 16 & 0xFF, self.policy >> 24


def parse_report(data: bytes) -> SevReport:
    """Parse a report.

    Raises:
        Malformed: another length, reserved bytes that are not zero.
        UnsupportedEvidence: signed by another kind of key, or another algorithm.
    """
    if len(data) != REPORT_BYTES:
        raise Malformed(f"a SEV attestation report has {REPORT_BYTES} bytes, not {len(data)}")
    nonce, digest, policy, usage, algorithm, reserved, signature = _LAYOUT.unpack(data)
    if usage != USAGE_PEK or algorithm not in (ECDSA_SHA256, ECDSA_SHA384):
        raise UnsupportedEvidence(
            f"SEV report signed by a key of usage {usage:#x}, algorithm {algorithm:#x}"
        )
    if any(reserved):
        raise Malformed("SEV report with reserved bytes that are not zero")
    return SevReport(nonce, digest, policy, algorithm, signature, data[:SIGNED_BYTES])
