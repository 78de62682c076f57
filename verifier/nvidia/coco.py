"""NVIDIA evidence as Confidential Containers spells it (attestation-agent, ``attester/src/nvidia``).

``{"device_evidence_list": [{"arch", "uuid", "evidence": hex or base64, "certificate": base64 of PEM}]}``.
Evidence in hexadecimal begins with ``11e0``, the first bytes of every exchange; in base64 these are
``EeA``, so that the two cannot be taken for one another.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from common.encoding import b64url_encode
from common.errors import Malformed, TooLarge
from verifier.nvidia.certificates import UNREADABLE
from verifier.nvidia.evidence import NvidiaDevice, NvidiaEvidence

if TYPE_CHECKING:
    from verifier.model import VerifiedEvidence

_MAX_DEVICES: Final = 32
_MAX_EVIDENCE: Final = 512 * 1024
_MAX_CERTIFICATE: Final = 64 * 1024
_HEX_START: Final = "11e0"


class _Device(msgspec.Struct, frozen=True):
    evidence: str
    certificate: str
    arch: str | None = None
    uuid: str | None = None


class _Evidence(msgspec.Struct, frozen=True):
    device_evidence_list: tuple[_Device, ...]


class NvidiaCocoForm:
    """Implements ``verifier.model.CocoForm``."""

    def evidence_of(self, document: Any) -> NvidiaEvidence:
        """Our document of theirs.

        Raises:
            Malformed: another form, no device, or a device's parts are not encoded as published.
            TooLarge: too many devices, or one too large.
        """
        try:
            theirs = msgspec.convert(document, _Evidence)
        except msgspec.ValidationError as error:
            raise Malformed(f"the NVIDIA evidence is not of the published form: {error}") from error
        return _document(theirs.device_evidence_list)

    def claims_of(self, verified: VerifiedEvidence) -> dict[str, Any]:
        """Ours hold theirs. No init-data: a device is not bound to any."""
        return verified.claims


def certificates_of(pem: bytes) -> tuple[str, ...]:
    """The certificates of a PEM text, DER, base64url each.

    Raises:
        Malformed: no certificate, or one that cannot be read.
    """
    try:
        found = x509.load_pem_x509_certificates(pem)
        return tuple(b64url_encode(one.public_bytes(Encoding.DER)) for one in found)
    except UNREADABLE as error:
        raise Malformed("a device's certificates are not PEM") from error


def _document(devices: tuple[_Device, ...]) -> NvidiaEvidence:
    if not devices:
        raise Malformed("the NVIDIA evidence is of no device")
    if len(devices) > _MAX_DEVICES:
        raise TooLarge(f"the NVIDIA evidence is of {len(devices)} devices, at most {_MAX_DEVICES}")
    return NvidiaEvidence(
        devices=tuple(
            NvidiaDevice(
                evidence=b64url_encode(_exchange(device.evidence)),
                certificates=certificates_of(_base64(device.certificate, _MAX_CERTIFICATE, "certificate")),
                arch=device.arch,
                uuid=device.uuid,
            )
            for device in devices
        )
    )


def _exchange(text: str) -> bytes:
    if text[:4].lower() != _HEX_START:
        return _base64(text, _MAX_EVIDENCE, "evidence")
    if len(text) > _MAX_EVIDENCE:
        raise TooLarge("a device's evidence is larger than any device sends")
    try:
        return binascii.unhexlify(text)
    except ValueError as error:
        raise Malformed("a device's evidence is not hexadecimal") from error


def _base64(text: str, limit: int, what: str) -> bytes:
    if len(text) > limit:
        raise TooLarge(f"a device's {what} is larger than any device sends")
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise Malformed(f"a device's {what} is not base64") from error
