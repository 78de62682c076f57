"""The attestation document of the Nitro Secure Module (NSM): bytes to a typed struct, nothing verified.

The outer message is strict CBOR, with or without tag 18 (AWS's text shows the tag, its module writes none).
The payload is AWS's own encoding, in which the outer map has an indefinite length: arrays and maps may have
one there. What is signed is the payload's bytes, whatever their form.

Members without a meaning here are signed and ignored; their names are kept, so that a reader sees what was
not looked at. Documents of NitroTPM (``nitrotpm_pcrs``) are of instances, not of enclaves, and are refused.

Source: AWS Nitro Enclaves User Guide, "Verifying the root of trust" (attestation document specification and
syntactical validation).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from common import cbor, cose
from common.errors import Malformed
from verifier.errors import UnsupportedEvidence

MAX_BYTES: Final = cbor.EVIDENCE.max_bytes
# Array of four, the protected header {1: -35}: how every document of the module begins.
HEAD: Final = b"\x84\x44\xa1\x01\x38\x22"
TAGGED_HEAD: Final = b"\xd2" + HEAD
DIGEST: Final = "SHA384"
REGISTERS: Final = 32
REGISTER_BYTES: Final = 48
_MAX_FIELD: Final = 1024
_MAX_CERTIFICATE: Final = 1024
_MAX_BUNDLE: Final = 8
_MAX_MODULE_ID: Final = 256
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# The last millisecond of the year 9999, beyond which a time has no date.
_MAX_TIMESTAMP: Final = 253_402_300_799_999
_KNOWN: Final = frozenset(
    {
        "module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle", "public_key", "user_data",
        "nonce",
    }
)  # fmt: skip
_NITRO_TPM: Final = "nitrotpm_pcrs"


class Document(msgspec.Struct, frozen=True):
    """A parsed document.

    Attributes:
        message: the signed message.
        module_id: of the module that signed: the instance and the enclave.
        timestamp: milliseconds since 1970, UTC.
        pcrs: index to value (48 bytes), of the registers that are locked.
        certificate: of the key that signed, DER.
        cabundle: its issuers, DER, the root first.
        public_key: that the enclave passed along; None where it did not.
        user_data: likewise.
        nonce: likewise.
        others: members that are not known here.
    """

    message: cose.Sign1
    module_id: str
    timestamp: int
    pcrs: dict[int, bytes]
    certificate: bytes
    cabundle: tuple[bytes, ...]
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None
    others: tuple[str, ...]

    @property
    def made(self) -> datetime:
        """When the document was made."""
        return _EPOCH + timedelta(milliseconds=self.timestamp)


def parse(data: bytes) -> Document:
    """Take a document apart.

    Raises:
        InputError: not strict CBOR, or a member is absent or of another form.
        UnsupportedEvidence: a document of NitroTPM, or of another hash than SHA-384.
    """
    message = cose.parse(data, what="the attestation document", kind=cose.Sign1, tagged=None)
    payload = cbor.decode(message.payload, what="the attestation document's payload", indefinite=True)
    if not isinstance(payload, dict):
        raise Malformed("the attestation document's payload is not a map")
    if _NITRO_TPM in payload:
        raise UnsupportedEvidence(
            "a document of NitroTPM, which speaks of an instance and not of an enclave"
        )
    digest = _text(payload, "digest")
    if digest != DIGEST:
        raise UnsupportedEvidence(f"the registers are of {digest[:32]!a}, not of {DIGEST}")
    return Document(
        message=message,
        module_id=_text(payload, "module_id"),
        timestamp=_timestamp(payload.get("timestamp")),
        pcrs=_pcrs(payload.get("pcrs")),
        certificate=_octets(payload.get("certificate"), "certificate", _MAX_CERTIFICATE),
        cabundle=_bundle(payload.get("cabundle")),
        public_key=_optional(payload, "public_key"),
        user_data=_optional(payload, "user_data"),
        nonce=_optional(payload, "nonce"),
        others=tuple(sorted(str(name)[:64] for name in payload if name not in _KNOWN)),
    )


def _text(payload: dict[Any, Any], name: str) -> str:
    value = payload.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_MODULE_ID:
        raise Malformed(f"{name} is not a text of 1 to {_MAX_MODULE_ID} characters")
    return value


def _timestamp(value: object) -> int:
    if type(value) is not int or not 0 < value <= _MAX_TIMESTAMP:
        raise Malformed("timestamp is not a number of milliseconds since 1970")
    return value


def _pcrs(value: object) -> dict[int, bytes]:
    if not isinstance(value, dict) or not 0 < len(value) <= REGISTERS:
        raise Malformed(f"pcrs is not a map of 1 to {REGISTERS} registers")
    for index, register in value.items():
        if type(index) is not int or not 0 <= index < REGISTERS:
            raise Malformed(f"pcrs has an index that is not in 0..{REGISTERS - 1}")
        if not isinstance(register, bytes) or len(register) != REGISTER_BYTES:
            raise Malformed(f"register {index} has not {REGISTER_BYTES} bytes")
    return dict(sorted(value.items()))


def _bundle(value: object) -> tuple[bytes, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= _MAX_BUNDLE:
        raise Malformed(f"cabundle is not a list of 1 to {_MAX_BUNDLE} certificates")
    return tuple(_octets(item, "a certificate of cabundle", _MAX_CERTIFICATE) for item in value)


def _octets(value: object, name: str, most: int) -> bytes:
    if not isinstance(value, bytes) or not 0 < len(value) <= most:
        raise Malformed(f"{name} is not a byte string of 1 to {most} bytes")
    return value


def _optional(payload: dict[Any, Any], name: str) -> bytes | None:
    value = payload.get(name)
    if value is None or value == b"":
        return value
    return _octets(value, name, _MAX_FIELD)
