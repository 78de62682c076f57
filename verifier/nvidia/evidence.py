"""The evidence document of NVIDIA devices: one entry per device, all made for one nonce."""

from __future__ import annotations

import msgspec

from wire.evidence import EvidenceDocument


class NvidiaDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One GPU or switch.

    Attributes:
        evidence: SPDM GET_MEASUREMENTS request (37 bytes) and response, base64url.
        certificates: the device's chain, DER, base64url each, leaf first; the root may be left out.
        arch: the architecture that the sender states (``HOPPER``, ``BLACKWELL``, ``LS10``). Nothing
            authenticates it: it is held against the certificates, and is never a claim.
        uuid: the driver's name for the device. Nothing authenticates it: it is taken and forgotten.
    """

    evidence: str
    certificates: tuple[str, ...]
    arch: str | None = None
    uuid: str | None = None


class NvidiaEvidence(EvidenceDocument, frozen=True, tag="nvidia"):
    """Evidence of one or more NVIDIA devices of one machine.

    Attributes:
        devices: in the order in which their results are numbered.
    """

    devices: tuple[NvidiaDevice, ...]
