"""The certificates of a platform's keys: chip (CEK), owner (OCA), endorsement (PEK), Diffie-Hellman (PDH).

2084 bytes, little endian::

    0x000  version (4)            0x004  firmware API: major, minor (2)     0x006  reserved (2)
    0x008  usage (4)              0x00C  algorithm (4)
    0x010  public key (1028): curve (4), x (72), y (72), zero
    0x414  usage of the first signer (4), algorithm (4), signature (512)
    0x61C  usage of the second signer (4), algorithm (4), signature (512)

A signature covers 0x000 to 0x413. ECDSA: r (72), s (72), little endian, then zero; RSA: 256 or 512 bytes,
then zero. Algorithms: 1 RSA and 2 ECDSA with SHA-256, 3 ECDH with SHA-256; 0x100 more: with SHA-384. Such
certificates have no dates.

Source: AMD SEV API (publication 55766), appendix C.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from common.binary import Reader
from common.errors import Malformed
from verifier.errors import UnsupportedEvidence

CERTIFICATE_BYTES: Final = 0x824
SIGNED_BYTES: Final = 0x414
COMPONENT_BYTES: Final = 72
USAGE_NONE: Final = 0x1000
USAGE_OCA: Final = 0x1001
USAGE_PEK: Final = 0x1002
USAGE_PDH: Final = 0x1003
USAGE_CEK: Final = 0x1004
RSA_SHA256: Final = 0x001
ECDSA_SHA256: Final = 0x002
ECDH_SHA256: Final = 0x003
RSA_SHA384: Final = 0x101
ECDSA_SHA384: Final = 0x102
ECDH_SHA384: Final = 0x103
_VERSION: Final = 1
_KEY_BYTES: Final = 0x404
_SIGNATURE_BYTES: Final = 512
_SLOTS: Final = (0x414, 0x61C)
_CURVES: Final[dict[int, ec.EllipticCurve]] = {1: ec.SECP256R1(), 2: ec.SECP384R1()}
_CURVE_NUMBERS: Final = {curve.name: number for number, curve in _CURVES.items()}
_ECDSA: Final[dict[int, hashes.SHA256 | hashes.SHA384]] = {
    ECDSA_SHA256: hashes.SHA256(),
    ECDSA_SHA384: hashes.SHA384(),
}
_ALGORITHMS: Final = frozenset({ECDSA_SHA256, ECDSA_SHA384, ECDH_SHA256, ECDH_SHA384})


class Signed(msgspec.Struct, frozen=True):
    """One signature of a certificate.

    Attributes:
        usage: of the key that made it (``USAGE_NONE``: there is none; 0x13: the ASK).
        algorithm: of the signature.
        data: 512 bytes.
    """

    usage: int
    algorithm: int
    data: bytes


class SevCertificate(msgspec.Struct, frozen=True):
    """A parsed certificate. Its key is on P-256 or P-384.

    Attributes:
        raw: the bytes.
        api: firmware API version (major, minor) that made it.
        usage: what its key is for.
        algorithm: of its key.
        key: the key.
        signatures: the two.
    """

    raw: bytes
    api: tuple[int, int]
    usage: int
    algorithm: int
    key: ec.EllipticCurvePublicKey
    signatures: tuple[Signed, Signed]

    @property
    def signed(self) -> bytes:
        """The bytes under its signatures."""
        return self.raw[:SIGNED_BYTES]

    @property
    def key_digest(self) -> str:
        """SHA-256 of the public key in AMD's format, hex: which chip, owner or platform it is."""
        return hashlib.sha256(self.raw[0x10:SIGNED_BYTES]).hexdigest()


def parse_sev_certificate(data: bytes) -> SevCertificate:
    """Parse one certificate.

    Raises:
        Malformed: another length, reserved bytes that are not zero, a point that is on no curve.
        UnsupportedEvidence: another version, algorithm or curve.
    """
    if len(data) != CERTIFICATE_BYTES:
        raise Malformed(f"a SEV certificate has {CERTIFICATE_BYTES} bytes, not {len(data)}")
    reader = Reader(data, "SEV certificate", "little")
    version, major, minor = reader.u32("version"), reader.u8("API"), reader.u8("API")
    reserved, usage, algorithm = reader.u16("reserved"), reader.u32("usage"), reader.u32("algorithm")
    if version != _VERSION or algorithm not in _ALGORITHMS:
        raise UnsupportedEvidence(f"SEV certificate of version {version} and key algorithm {algorithm:#x}")
    if reserved:
        raise Malformed("SEV certificate with reserved bytes that are not zero")
    key = parse_point(reader.take(_KEY_BYTES, "public key"))
    signatures = (_signature(reader), _signature(reader))
    reader.finish()
    return SevCertificate(data, (major, minor), usage, algorithm, key, signatures)


def parse_point(data: bytes) -> ec.EllipticCurvePublicKey:
    """A public key in AMD's format: curve, x, y, zero.

    Raises:
        Malformed: not on its curve, or more than the point. UnsupportedEvidence: another curve.
    """
    reader = Reader(data, "SEV public key", "little")
    curve = _CURVES.get(number := reader.u32("curve"))
    if curve is None:
        raise UnsupportedEvidence(f"SEV public key on curve {number}")
    x, y = (int.from_bytes(reader.take(COMPONENT_BYTES, name), "little") for name in ("x", "y"))
    if any(reader.take(reader.remaining, "reserved")):
        raise Malformed("SEV public key with reserved bytes that are not zero")
    try:
        return ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
    except ValueError as error:
        raise Malformed("SEV public key that is no point of its curve") from error


def point_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key in AMD's format, 1028 bytes."""
    numbers = key.public_numbers()
    point = _CURVE_NUMBERS[key.curve.name].to_bytes(4, "little")
    point += numbers.x.to_bytes(COMPONENT_BYTES, "little") + numbers.y.to_bytes(COMPONENT_BYTES, "little")
    return point.ljust(_KEY_BYTES, b"\0")


def _signature(reader: Reader) -> Signed:
    usage, algorithm = reader.u32("signer's usage"), reader.u32("signature algorithm")
    return Signed(usage, algorithm, reader.take(_SIGNATURE_BYTES, "signature"))


def verify_ecdsa(key: ec.EllipticCurvePublicKey, algorithm: int, signature: bytes, signed: bytes) -> bool:
    """Whether ``key`` made an ECDSA signature in AMD's format (r, s, zero) with ``algorithm``."""
    digest = _ECDSA.get(algorithm)
    rest = signature[2 * COMPONENT_BYTES :]
    if digest is None or any(rest):
        return False
    r = int.from_bytes(signature[:COMPONENT_BYTES], "little")
    s = int.from_bytes(signature[COMPONENT_BYTES : 2 * COMPONENT_BYTES], "little")
    try:
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(digest))
    except (InvalidSignature, ValueError):
        return False
    return True
