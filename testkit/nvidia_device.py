"""Test devices of a test authority (``testkit.nvidia_authority``): GPUs and switches that answer a nonce.

Any field of the exchange and of the opaque data can be set, sensible or not; ``resigned`` changes the bytes
and signs again, so that each rule can be broken alone.

Sources: DMTF DSP0274 1.1; NVIDIA attestation SDK (opaque data); TCG DICE (FWID extension).
"""

from __future__ import annotations

import hashlib
import itertools
import struct
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.encoding import b64_encode, b64url_encode
from testkit.nvidia_authority import Issuer, NvidiaAuthority, name, new_key, usage
from verifier.nvidia.collateral import FixedCollateral
from verifier.nvidia.evidence import NvidiaDevice, NvidiaEvidence
from verifier.nvidia.opaque import Field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SIGNATURE_BYTES: Final = 96
_SHA384_OID: Final = bytes.fromhex("0609608648016503040202")
_SERIALS: Final = itertools.count(0x4100000000000001)
_VERSIONS: Final = {"GH100": b"550.90.07\0", "GB100": b"590.48.01\0"}
_SWITCH: Final = "LS_10"
OFF: Final = b"\x55"
ON: Final = b"\xaa"


class TestDevice:
    """One device.

    Args:
        authority: that provisioned it.
        chip: ``GH100``, ``GB100`` or ``LS_10``.
        opaque: changes to the opaque fields; None leaves a field out.
        measurements: index from 1 to value; a small set otherwise.
        leaf: changes to the leaf's certificate.
        fwid: of the leaf.
    """

    __test__ = False  # not a test class

    def __init__(
        self,
        authority: NvidiaAuthority,
        chip: str = "GH100",
        *,
        opaque: Mapping[int, bytes | None] | None = None,
        measurements: Mapping[int, bytes] | None = None,
        leaf: Mapping[str, Any] | None = None,
        fwid: bytes = hashlib.sha384(b"firmware").digest(),
    ) -> None:
        """Make the boot-ROM authority, the attestation key and its certificate."""
        self.authority = authority
        self.chip = chip
        self.fwid = fwid
        kind = "FSP" if chip == _SWITCH else "GSP"
        self.serial = next(_SERIALS)
        self.brom = Issuer(name(f"{chip} A01 {kind} BROM"), authority.provisioner, serial=self.serial)
        self.key = new_key()
        self.leaf = self.brom.certify(
            name(f"{chip} A01 {kind} FMC LF"), self.key.public_key(),
            **({"extensions": self.extensions()} | dict(leaf or {})),
        )  # fmt: skip
        self.measurements = dict(measurements or default_measurements())
        self.fields = {
            kind: value
            for kind, value in (self._fields() | dict(opaque or {})).items()
            if value is not None
        }

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """Leaf to root."""
        issuers = (self.brom, self.authority.provisioner, self.authority.identity, self.authority.root)
        return (self.leaf, *(issuer.certificate for issuer in issuers))

    def extensions(self, fwid: bytes | None = None) -> list[tuple[x509.ExtensionType, bool]]:
        """Extensions of a leaf of this chip, with its own or another firmware identity."""
        return [(usage(sign_data=True), True), (self._identity(fwid or self.fwid), False)]

    def exchange(
        self,
        nonce: bytes,
        *,
        opaque: bytes | None = None,
        blocks: Sequence[tuple[int, bytes]] | None = None,
        key: Any = None,
    ) -> bytes:
        """Request and response for a nonce, signed."""
        request = bytes((0x11, 0xE0, 0x01, 0xFF)) + nonce + b"\0"
        record = b"".join(
            struct.pack("<BBHBH", index, 1, 3 + len(value), 1, len(value)) + value
            for index, value in (blocks if blocks is not None else sorted(self.measurements.items()))
        )
        count = len(blocks) if blocks is not None else len(self.measurements)
        response = bytes((0x11, 0x60, 0, 0, count)) + len(record).to_bytes(3, "little") + record
        data = opaque if opaque is not None else encode_opaque(self.fields)
        own = hashlib.sha256(nonce + self.serial.to_bytes(8, "big")).digest()
        signed = request + response + own + struct.pack("<H", len(data)) + data
        return signed + self.sign(signed, key)

    def sign(self, signed: bytes, key: Any = None) -> bytes:
        """R and s, big endian."""
        r, s = decode_dss_signature((key or self.key).sign(signed, ec.ECDSA(hashes.SHA384())))
        return r.to_bytes(48, "big") + s.to_bytes(48, "big")

    def resigned(self, exchange: bytes, change: Callable[[bytearray], None]) -> bytes:
        """An exchange with changed bytes, signed again."""
        signed = bytearray(exchange[:-SIGNATURE_BYTES])
        change(signed)
        return bytes(signed) + self.sign(bytes(signed))

    def document(
        self,
        exchange: bytes,
        *,
        chain: Sequence[x509.Certificate] | None = None,
        arch: str | None = None,
        uuid: str | None = None,
    ) -> NvidiaDevice:
        """The device's entry of an evidence document."""
        ders = (one.public_bytes(Encoding.DER) for one in (chain if chain is not None else self.chain))
        return NvidiaDevice(
            evidence=b64url_encode(exchange), certificates=tuple(map(b64url_encode, ders)),
            arch=arch, uuid=uuid,
        )  # fmt: skip

    def evidence(self, nonce: bytes) -> NvidiaEvidence:
        """Evidence of this device alone."""
        return NvidiaEvidence(devices=(self.document(self.exchange(nonce)),))

    def coco(self, nonce: bytes, *, as_hex: bool = False) -> dict[str, str]:
        """The device's entry as Confidential Containers writes it."""
        exchange = self.exchange(nonce)
        pem = b"".join(one.public_bytes(Encoding.PEM) for one in self.chain)
        architectures = {"GH100": "HOPPER", "GB100": "BLACKWELL", _SWITCH: "LS10"}
        return {
            "arch": architectures[self.chip],
            "uuid": "unknown",
            "evidence": exchange.hex() if as_hex else b64_encode(exchange),
            "certificate": b64_encode(pem),
        }

    def status(self, **changes: Any) -> tuple[bytes, ...]:
        """OCSP responses about every authority of the device, of delegated responders."""
        authority = self.authority
        pairs = (
            (authority.provisioner, self.brom),
            (authority.identity, authority.provisioner),
            (authority.root, authority.identity),
        )
        return tuple(
            issuer.ocsp(subject.certificate, responder=issuer.responder(), **changes)
            for issuer, subject in pairs
        )

    def manifests(self, *, wrong: bool = False) -> dict[str, bytes]:
        """The manifests of its firmware, by their ids; with ``wrong``, of other measurements."""
        golden = {
            index - 1: (hashlib.sha384(b"other").digest(),) if wrong else (value, bytes(48))
            for index, value in self.measurements.items()
        }
        if self.chip == _SWITCH:
            return {"NV_SWITCH_BIOS_5612_0002_890_9610550001": self.authority.rim("96.10.55.00.01", golden)}
        version = self.fields[Field.DRIVER_VERSION].rstrip(b"\0").decode("ascii")
        driver = "NV_GPU_DRIVER" if self.chip == "GH100" else "NV_GPU_CC_DRIVER"
        low = {index: values for index, values in golden.items() if index < 3}
        high = {index: values for index, values in golden.items() if index >= 3}
        return {
            f"{driver}_{self.chip}_{version}": self.authority.rim(version, high),
            "NV_GPU_VBIOS_1010_0200_882_96009F0001": self.authority.rim("96.00.9F.00.01", low),
        }

    def collateral(self, *, wrong: bool = False, **changes: Any) -> FixedCollateral:
        """Everything that a verifier wants: responses that say good, and its manifests."""
        return FixedCollateral(
            ocsp=(*self.status(**changes), *self.authority.rim_status()), rims=self.manifests(wrong=wrong)
        )

    def _identity(self, fwid: bytes) -> x509.UnrecognizedExtension:
        item = _tlv(0x30, _SHA384_OID + _tlv(0x04, fwid))
        if self.chip == "GB100":
            items = item + _tlv(0x30, _SHA384_OID + _tlv(0x04, bytes(48)))
            info = _tlv(0x30, _tlv(0x80, b"NVIDIA") + _tlv(0x83, b"\1") + _tlv(0xA6, items))
            return x509.UnrecognizedExtension(x509.ObjectIdentifier("2.23.133.5.4.1.1"), info)
        spki = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        composite = _tlv(0x30, bytes.fromhex("020101") + spki + item)
        return x509.UnrecognizedExtension(x509.ObjectIdentifier("2.23.133.5.4.1"), composite)

    def _fields(self) -> dict[int, bytes | None]:
        if self.chip == _SWITCH:
            return {
                Field.VBIOS_VERSION: b"96.10.55.00.01",
                Field.SWITCH_PDI: self.serial.to_bytes(8, "big"),
                Field.POSITION_ID: b"\2\0",
            }
        return {
            Field.VBIOS_VERSION: bytes.fromhex("009f009601000000"),
            Field.PROJECT: b"1010\0",
            Field.PROJECT_SKU: b"0200\0",
            Field.CHIP_SKU: b"882\0\0\0\0\0\0",
            Field.DRIVER_VERSION: _VERSIONS[self.chip],
            Field.MSCNT: bytes(12),
            Field.NVDEC0_STATUS: OFF,
            Field.FWID: self.fwid,
            Field.PROTECTED_PCIE_STATUS: OFF,
            Field.FEATURE_FLAG: b"\0\0",
        }


def default_measurements() -> dict[int, bytes]:
    """Five blocks, the first of zeros."""
    return {1: bytes(48)} | {index: hashlib.sha384(bytes([index])).digest() for index in range(2, 6)}


def encode_opaque(fields: Mapping[int, bytes], *, typed: bool = False) -> bytes:
    """Opaque data, in the plain form, or the one with a header."""
    kind = b"\x87\0" if typed else b""
    items = b"".join(
        struct.pack("<H", number) + kind + struct.pack("<H", len(value)) + value
        for number, value in fields.items()
    )
    return (b"NVDAOD\0\0\2\0\0\0" if typed else b"") + items


def system(authority: NvidiaAuthority) -> list[TestDevice]:
    """Eight GPUs and four switches behind protected PCIe, connected to one another."""
    switches = [TestDevice(authority, _SWITCH) for _ in range(4)]
    own = [switch.fields[Field.SWITCH_PDI] for switch in switches]
    gpus = [
        TestDevice(
            authority,
            opaque={
                Field.PROTECTED_PCIE_STATUS: ON,
                Field.SWITCH_PDI: b"".join(pdi[::-1] for pdi in own) + bytes(8),
            },
        )
        for _ in range(8)
    ]
    listed = b"".join(gpu.serial.to_bytes(8, "little") for gpu in gpus) + b"\xff" * 64
    for switch in switches:
        switch.fields[Field.SWITCH_GPU_PDIS] = listed
    return [*gpus, *switches]


def _tlv(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    if length <= 0xFF:
        return bytes((tag, 0x81, length)) + content
    return bytes((tag, 0x82)) + length.to_bytes(2, "big") + content
