"""Evidence of Azure confidential VMs, made of a test firmware's hardware report and a vTPM key of our own.

Any part can be set, sensible or not; what is not set is as Azure has it.

Sources: Microsoft, "Confidential VM guest attestation design detail"; openvmm,
openhcl_attestation_protocol; TPM 2.0 Library Part 2, sections 10.12, 11.3.4.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from common.encoding import b64url_encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SNP: Final = 2
TDX: Final = 4
REGISTERS: Final = 24
NV_BYTES: Final = 2600
USER_DATA: Final = bytes(64)
_HASHES: Final = {1: hashlib.sha256, 2: hashlib.sha384, 3: hashlib.sha512}
_AREA: Final = 1184
_QUALIFIED_SIGNER: Final = b"\x00\x0b" + bytes(32)


def jwk(key: rsa.RSAPublicKey, kid: str, operation: str) -> dict[str, Any]:
    """A key as the paravisor writes it."""
    numbers = key.public_numbers()
    return {
        "kid": kid,
        "key_ops": [operation],
        "kty": "RSA",
        "e": b64url_encode(numbers.e.to_bytes(3, "big")),
        "n": b64url_encode(numbers.n.to_bytes((key.key_size + 7) // 8, "big")),
    }


def hcl_report(
    hardware: bytes,
    claims: bytes,
    kind: int = SNP,
    *,
    hash_type: int = 1,
    data_version: int = 1,
    **changes: Any,
) -> bytes:
    """An HCL report.

    Args:
        hardware: SNP report or TDREPORT.
        claims: runtime claims.
        kind: report type.
        hash_type: 1 to 3, or whatever else.
        data_version: 2 has a bitmap before the claims.
        changes: ``signature``, ``version``, ``report_size``, ``data_size``, ``claims_size``, ``padding``.
    """
    extension = bytes(4) if data_version == 2 else b""
    data_size = changes.get("data_size", 20 + len(extension) + len(claims))
    report_size = changes.get("report_size", 32 + _AREA + 20 + len(extension) + len(claims))
    words = (changes.get("version", 2), report_size, 2, 0, 0, 0, 0)
    header = bytes(changes.get("signature", b"HCLA"))
    header += b"".join(word.to_bytes(4, "little") for word in words)
    data = (data_size, data_version, kind, hash_type, changes.get("claims_size", len(claims)))
    body = b"".join(word.to_bytes(4, "little") for word in data)
    report = header + hardware.ljust(_AREA, b"\0") + body + extension + claims
    padding = changes.get("padding")
    return report.ljust(NV_BYTES, b"\0") if padding is None else report + padding


class AzureVm:
    """A VM with a vTPM.

    Args:
        bits: size of its attestation key.
    """

    def __init__(self, bits: int = 2048) -> None:
        """Registers as after a boot; keys are made when first needed."""
        self._bits = bits
        self.registers = {index: bytes([index]) * 32 for index in range(REGISTERS)}
        self.registers[8] = bytes(32)
        self.configuration: dict[str, Any] = {
            "console-enabled": True,
            "secure-boot": True,
            "tpm-enabled": True,
            "vmUniqueId": "26F8BC30-774E-4290-8E7A-535F3B672AEE",
        }

    @cached_property
    def ak(self) -> rsa.RSAPrivateKey:
        """The vTPM's attestation key."""
        return rsa.generate_private_key(65537, self._bits)

    @cached_property
    def ek(self) -> rsa.RSAPrivateKey:
        """The vTPM's endorsement key."""
        return rsa.generate_private_key(65537, 2048)

    def keys(self) -> list[dict[str, Any]]:
        """Keys of the runtime claims."""
        return [
            jwk(self.ak.public_key(), "HCLAkPub", "sign"),
            jwk(self.ek.public_key(), "HCLEkPub", "encrypt"),
        ]

    def claims(self, *, user_data: bytes = USER_DATA, **members: Any) -> bytes:
        """Runtime claims."""
        document = {
            "keys": self.keys(),
            "vm-configuration": self.configuration,
            "user-data": user_data.hex(),
        } | members
        return json.dumps(document, separators=(",", ":")).encode()

    def report_data(self, claims: bytes, hash_type: int = 1) -> bytes:
        """What the hardware report carries for claims."""
        return _HASHES[hash_type](claims).digest().ljust(64, b"\0")

    def hcl(
        self,
        report_of: Callable[[bytes], bytes],
        *,
        claims: bytes | None = None,
        kind: int = SNP,
        hash_type: int = 1,
        **changes: Any,
    ) -> bytes:
        """An HCL report whose hardware report ``report_of`` makes of its report data."""
        body = self.claims() if claims is None else claims
        data = self.report_data(body, hash_type)
        return hcl_report(report_of(data), body, kind, hash_type=hash_type, **changes)

    def quote(
        self,
        extra_data: bytes,
        *,
        indexes: Sequence[int] | None = None,
        registers: Mapping[int, bytes] | None = None,
        selections: bytes | None = None,
    ) -> bytes:
        """TPMS_ATTEST over SHA-256 registers.

        Args:
            extra_data: qualifying data.
            indexes: the registers; all 24 by default.
            registers: their values, if others than the VM's.
            selections: TPML_PCR_SELECTION, if another than of ``indexes``.
        """
        chosen = tuple(range(REGISTERS)) if indexes is None else tuple(indexes)
        values = self.registers if registers is None else registers
        digest = hashlib.sha256(b"".join(values[index] for index in chosen)).digest()
        bitmap = sum(1 << index for index in chosen).to_bytes(3, "little")
        listed = (1).to_bytes(4, "big") + b"\x00\x0b\x03" + bitmap
        return (
            bytes.fromhex("ff5443478018")
            + _sized(_QUALIFIED_SIGNER)
            + _sized(extra_data)
            + (900_000_000).to_bytes(8, "big")
            + (2).to_bytes(4, "big")
            + bytes(4)
            + b"\x01"
            + bytes.fromhex("2020031200120003")
            + (listed if selections is None else selections)
            + _sized(digest)
        )

    def sign(self, quote: bytes, key: rsa.RSAPrivateKey | None = None) -> bytes:
        """TPMT_SIGNATURE: RSASSA with SHA-256."""
        raw = (key or self.ak).sign(quote, padding.PKCS1v15(), hashes.SHA256())
        return b"\x00\x14\x00\x0b" + _sized(raw)

    def members(self, hcl: bytes, extra_data: bytes, **changes: Any) -> dict[str, Any]:
        """Members of an evidence document that both kinds of VM have.

        Args:
            hcl: the HCL report.
            extra_data: what the quote is bound to.
            changes: ``quote``, ``signature`` (bytes), ``pcrs``, and further members.
        """
        quote = changes.pop("quote", None)
        quote = self.quote(extra_data) if quote is None else quote
        signature = changes.pop("signature", None)
        return {
            "hcl_report": b64url_encode(hcl),
            "quote": b64url_encode(quote),
            "signature": b64url_encode(self.sign(quote) if signature is None else signature),
            "pcrs": {"sha256": {str(index): value.hex() for index, value in self.registers.items()}},
        } | changes

    def coco_quote(self, extra_data: bytes) -> dict[str, Any]:
        """A quote as the attestation agent of Confidential Containers writes it."""
        quote = self.quote(extra_data)
        return {
            "signature": self.sign(quote)[6:].hex(),
            "message": quote.hex(),
            "pcrs": [value.hex() for _, value in sorted(self.registers.items())],
        }

    def bind_init_data(self, digest: bytes) -> None:
        """Extend register 8 as a guest does at its start."""
        self.registers[8] = hashlib.sha256(bytes(32) + digest).digest()


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
