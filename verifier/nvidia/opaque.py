"""The opaque data of a response: what device and driver say of themselves, under the device's signature.

Two forms: a plain list of (type 2, length 2, value), and one that begins with the 12-byte header ``NVDAOD``
(profile 2, major 1, minor 1, reserved 2) and whose entries carry a value type before their length.
Integers are little endian. A type occurs once.

What the fields mean is published in the source of NVIDIA's own verifiers alone; fields without a meaning
here are kept as hexadecimal claims, and decide nothing.

Sources: NVIDIA/attestation-sdk, ``spdm_opaque_data_parser``, ``gpu_opaque_data_parser`` and the switch's;
NVIDIA/nvtrust, ``spdm_msrt_resp_msg``.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from common.binary import Reader
from common.errors import Malformed
from verifier.errors import UnsupportedEvidence

SOURCE: Final = "NVIDIA attestation SDK, opaque data"
_MAGIC: Final = b"NVDAOD"
_PDI_BYTES: Final = 8
_LISTED_GPUS: Final = 8  # a switch lists the GPUs at its ports, then one byte per port
_COUNT_BYTES: Final = 4
_FWID_BYTES: Final = 48
_GPU_VERSION_BYTES: Final = 8
_MAX_TEXT: Final = 64
_NO_LINK: Final = bytes(_PDI_BYTES)
ENABLED: Final = 0xAA
DISABLED: Final = 0x55


class Field(IntEnum):
    """Types with a meaning here. Of a switch, 22 is its own identifier; of a GPU, those of its switches."""

    CERT_ISSUER_NAME = 1
    CERT_AUTHORITY_KEY_IDENTIFIER = 2
    DRIVER_VERSION = 3
    GPU_INFO = 4
    SKU = 5
    VBIOS_VERSION = 6
    MANUFACTURER_ID = 7
    TAMPER_DETECTION = 8
    SMC = 9
    VPR = 10
    NVDEC0_STATUS = 11
    MSCNT = 12
    CPRINFO = 13
    BOARD_ID = 14
    CHIP_SKU = 15
    CHIP_SKU_MOD = 16
    PROJECT = 17
    PROJECT_SKU = 18
    PROJECT_SKU_MOD = 19
    FWID = 20
    PROTECTED_PCIE_STATUS = 21
    SWITCH_PDI = 22
    FLOORSWEPT_PORTS = 23
    POSITION_ID = 24
    LOCK_SWITCH_STATUS = 25
    SWITCH_GPU_PDIS = 26
    GPU_LINK_CONN = 32
    SYS_ENABLE_STATUS = 33
    OPAQUE_DATA_VERSION = 34
    CHIP_INFO = 35
    FEATURE_FLAG = 36


# FEATURE_FLAG: a GPU of one tenant alone, one of several that work together, one behind protected PCIe.
MODES: Final = {0: "spt", 1: "mpt", 2: "ppcie"}
PPCIE: Final = "ppcie"


class Opaque(msgspec.Struct, frozen=True):
    """The fields, by type."""

    fields: dict[int, bytes]

    def text(self, field: Field) -> str | None:
        """A text without its terminating zeros; None where the field is absent.

        Raises:
            Malformed: not printable ASCII.
        """
        data = self.fields.get(field)
        if data is None:
            return None
        stripped = data.rstrip(b"\0")
        if (
            len(stripped) > _MAX_TEXT
            or not stripped.isascii()
            or not stripped.decode("ascii").isprintable()
        ):
            raise Malformed(f"the opaque field {field.name} is not text")
        return stripped.decode("ascii")

    def number(self, field: Field) -> int | None:
        """A little-endian number of at most 8 bytes; None where the field is absent.

        Raises:
            Malformed: longer, or empty.
        """
        data = self.fields.get(field)
        if data is None:
            return None
        if not 1 <= len(data) <= 8:  # noqa: PLR2004 (a 64-bit number)
            raise Malformed(f"the opaque field {field.name} is not a number")
        return int.from_bytes(data, "little")

    def fwid(self) -> bytes | None:
        """Digest of the firmware that holds the attestation key (SHA-384); None: not stated.

        Raises:
            Malformed: of another length.
        """
        data = self.fields.get(Field.FWID)
        if data is not None and len(data) != _FWID_BYTES:
            raise Malformed(f"the opaque field FWID has {len(data)} bytes, not {_FWID_BYTES}")
        return data

    def gpu_vbios_version(self) -> str | None:
        """Of a GPU, as NVIDIA writes it: ``96.00.9F.00.01``; None where the field is absent.

        The field is a number of 8 bytes: four components in its low half, the fifth above them.

        Raises:
            Malformed: of another length.
        """
        data = self.fields.get(Field.VBIOS_VERSION)
        if data is None:
            return None
        if len(data) != _GPU_VERSION_BYTES:
            raise Malformed(f"the opaque field VBIOS_VERSION has {len(data)} bytes, not 8")
        low, high = data[:4], data[4:]
        return ".".join(f"{part:02X}" for part in (*low[::-1], high[0]))

    def counts(self) -> list[int]:
        """How often each measurement was taken; empty where the field is absent.

        Raises:
            Malformed: not a whole number of counts.
        """
        data = self.fields.get(Field.MSCNT, b"")
        if len(data) % _COUNT_BYTES:
            raise Malformed("the opaque field MSCNT is not a list of counts")
        return [
            int.from_bytes(data[at : at + _COUNT_BYTES], "little")
            for at in range(0, len(data), _COUNT_BYTES)
        ]

    def mode(self) -> str | None:
        """Of a GPU: ``spt``, ``mpt``, ``ppcie``; None: it does not say.

        Raises:
            UnsupportedEvidence: a mode that is not known here.
        """
        if self.fields.get(Field.PROTECTED_PCIE_STATUS) == bytes([ENABLED]):
            return PPCIE
        flag = self.number(Field.FEATURE_FLAG)
        if flag is None:
            return None
        if flag not in MODES:
            raise UnsupportedEvidence(f"the GPU states feature flag {flag}, which is not known")
        return MODES[flag]

    def linked_switches(self) -> frozenset[str]:
        """Of a GPU: the identifiers of the switches that it is linked to, hex, most significant byte first.

        Raises:
            Malformed: not a list of identifiers.
        """
        return _pdis(self.fields.get(Field.SWITCH_PDI, b""))

    def own_pdi(self) -> str | None:
        """Of a switch: its identifier, hex; None where the field is absent.

        Raises:
            Malformed: of another length.
        """
        data = self.fields.get(Field.SWITCH_PDI)
        if data is not None and len(data) != _PDI_BYTES:
            raise Malformed("the switch's identifier does not have 8 bytes")
        return None if data is None else data.hex()

    def linked_gpus(self) -> frozenset[str]:
        """Of a switch: the identifiers of the GPUs at its ports, hex, most significant byte first.

        Raises:
            Malformed: too short to be a list of identifiers.
        """
        data = self.fields.get(Field.SWITCH_GPU_PDIS)
        if data is None:
            return frozenset()
        if len(data) < _LISTED_GPUS * _PDI_BYTES:
            raise Malformed("the switch's list of GPUs is too short")
        return _pdis(data[: _LISTED_GPUS * _PDI_BYTES])


def parse_opaque(data: bytes) -> Opaque:
    """Take opaque data apart.

    Raises:
        Malformed: cut off, or a type twice.
        UnsupportedEvidence: a profile of the header form that is not known.
    """
    reader = Reader(data, "opaque data", "little")
    typed = data.startswith(_MAGIC)
    if typed:
        reader.take(len(_MAGIC), "magic")
        if profile := reader.u16("profile"):
            raise UnsupportedEvidence(f"the opaque data are of profile {profile}, which is not known")
        reader.take(4, "version")
    fields: dict[int, bytes] = {}
    while reader.remaining:
        kind = reader.u16("type")
        if typed:
            reader.u16("value type")
        if kind in fields:
            raise Malformed(f"the opaque data have the type {kind} twice")
        fields[kind] = reader.sized16("value")
    return Opaque(fields)


def _pdis(data: bytes) -> frozenset[str]:
    """Identifiers of a list, whose bytes are least significant first; links that are off are left out."""
    if len(data) % _PDI_BYTES:
        raise Malformed("a list of device identifiers is not a multiple of 8 bytes")
    found = (data[at : at + _PDI_BYTES] for at in range(0, len(data), _PDI_BYTES))
    return frozenset(pdi[::-1].hex() for pdi in found if pdi != _NO_LINK)
