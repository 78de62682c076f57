"""AMD's certificates of root (ARK) and signing keys (ASK), in AMD's own format.

Little endian::

    0x00  version (4)           0x04  key id (16)           0x14  certifying key's id (16)
    0x24  usage (4)             0x28  reserved (16)
    0x38  bits of the exponent (4)                          0x3C  bits of the modulus (4)
    0x40  exponent, modulus, signature: each of that many bits (2048 or 4096)

The signature is RSASSA-PSS over everything before it, with a salt of the digest's length: SHA-256 with 2048
bits, SHA-384 with 4096. Such certificates have no dates and there are no revocation lists of them.

Source: AMD SEV API (publication 55766), appendix B.
"""

from __future__ import annotations

from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from common.binary import Reader
from common.errors import Malformed
from verifier.errors import CertificateInvalid, UnsupportedEvidence

USAGE_ARK: Final = 0x00
USAGE_ASK: Final = 0x13
MAX_BYTES: Final = 0x40 + 3 * 512
_VERSION: Final = 1
_BITS: Final = 8
_SMALL_BITS: Final = 2048
_SIZES: Final = (_SMALL_BITS, 4096)
_MIN_EXPONENT: Final = 3


class AmdCertificate(msgspec.Struct, frozen=True):
    """A parsed certificate.

    Attributes:
        key_id: its key's id.
        certifying_id: id of the key that signed it.
        usage: ``USAGE_ARK`` or ``USAGE_ASK``.
        key: the RSA key.
        signed: bytes under the signature.
        signature: big endian.
    """

    key_id: bytes
    certifying_id: bytes
    usage: int
    key: rsa.RSAPublicKey
    signed: bytes
    signature: bytes

    @property
    def hash(self) -> hashes.SHA256 | hashes.SHA384:
        """What this key signs with."""
        return hashes.SHA256() if self.key.key_size == _SMALL_BITS else hashes.SHA384()


def parse_amd_certificate(data: bytes) -> AmdCertificate:
    """Parse one certificate.

    Raises:
        Malformed: another length than it says, reserved bytes that are not zero, no RSA key.
        UnsupportedEvidence: another version or key size.
    """
    reader = Reader(data, "AMD certificate", "little")
    version, key_id, certifying = (
        reader.u32("version"),
        reader.take(16, "key id"),
        reader.take(16, "key id"),
    )
    usage, reserved = reader.u32("usage"), reader.take(16, "reserved")
    exponent_bits, modulus_bits = reader.u32("exponent size"), reader.u32("modulus size")
    if version != _VERSION or modulus_bits not in _SIZES or exponent_bits != modulus_bits:
        raise UnsupportedEvidence(f"AMD certificate of version {version} with {modulus_bits} bits")
    if any(reserved):
        raise Malformed("AMD certificate with reserved bytes that are not zero")
    size = modulus_bits // _BITS
    exponent = int.from_bytes(reader.take(size, "exponent"), "little")
    modulus = int.from_bytes(reader.take(size, "modulus"), "little")
    signed, signature = data[: reader.position], reader.take(size, "signature")[::-1]
    reader.finish()
    if modulus.bit_length() != modulus_bits or not _MIN_EXPONENT <= exponent < 1 << 32 or not exponent & 1:
        raise Malformed("AMD certificate with an RSA key that is none")
    try:
        key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        raise Malformed("AMD certificate with an RSA key that is none") from error
    return AmdCertificate(key_id, certifying, usage, key, signed, signature)


def verify_pss(issuer: AmdCertificate, signature: bytes, signed: bytes) -> bool:
    """Whether an ARK or ASK made this signature (big endian)."""
    scheme = padding.PSS(padding.MGF1(issuer.hash), padding.PSS.DIGEST_LENGTH)
    try:
        issuer.key.verify(signature, signed, scheme, issuer.hash)
    except InvalidSignature:
        return False
    return True


def require_authorities(ark: AmdCertificate, ask: AmdCertificate) -> None:
    """Demand that root and signing key are such, and belong together.

    Raises:
        CertificateInvalid: a usage, an id or a signature is another.
    """
    if (ark.usage, ask.usage) != (USAGE_ARK, USAGE_ASK) or ark.certifying_id != ark.key_id:
        raise CertificateInvalid("AMD certificates with the usage of others")
    if ask.certifying_id != ark.key_id or not verify_pss(ark, ask.signature, ask.signed):
        raise CertificateInvalid("the AMD signing key is not certified by the AMD root key")
