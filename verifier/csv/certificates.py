"""Hygon's two certificate formats, parsed into frozen structs. Nothing is verified here.

CA certificate (HRK, HSK; 832 bytes)::

    0x000  4  version (1)              0x024  4  key usage
    0x004 16  key id                   0x028 24  reserved
    0x014 16  id of the signing key    0x040  4  curve, 72 + 72 public key
                                       0x0D4  2  user id size, 254 user id
    0x1D4 108 reserved                 0x240 72 + 72 signature over [0, 0x240), 112 reserved

CSV certificate (CEK, OCA, PEK; 2084 bytes)::

    0x000  4  version (1)              0x008  4  key usage
    0x004  1 + 1 API major, minor      0x00C  4  key algorithm
    0x006  2  reserved                 0x010  4  curve, 72 + 72 public key
                                       0x0A4  2  user id size, 254 user id
    0x1A4 16  sid, 608 reserved        0x414 and 0x61C: usage 4, algorithm 4, 72 + 72, 368 reserved

Both signatures of a CSV certificate are over [0, 0x414). Integers are little endian. Neither format has
dates, a serial number of the chip, or anything to revoke by.

Sources: see ``verifier.csv.layout``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from common.binary import Reader
from common.errors import Malformed
from verifier.csv.layout import take_key, take_signature, take_user_id

if TYPE_CHECKING:
    from common.sm2 import PublicKey, Signature

CA_BYTES: Final = 832
CA_SIGNED: Final = 0x240
CSV_BYTES: Final = 2084
CSV_SIGNED: Final = 0x414
HSK_CEK_BYTES: Final = CA_BYTES + CSV_BYTES
_VERSION: Final = 1
_ID: Final = 16


class CaCertificate(msgspec.Struct, frozen=True):
    """An HRK or HSK certificate.

    Attributes:
        key_id: of the key in it, 16 bytes.
        signer_id: of the key that signed it; equal to ``key_id`` where it signed itself.
        usage: ``layout.USAGE_*``.
        key: the public key.
        user_id: what signatures by that key are made with.
        signature: over ``signed``.
        signed: bytes as received.
        sha256: of the whole certificate, hex.
    """

    key_id: bytes
    signer_id: bytes
    usage: int
    key: PublicKey
    user_id: bytes
    signature: Signature
    signed: bytes
    sha256: str


class SignatureSlot(msgspec.Struct, frozen=True):
    """One of the two signatures of a CSV certificate.

    Attributes:
        usage: of the key that made it; ``USAGE_NONE`` where there is none.
        algorithm: ``ALGORITHM_SM2``.
        signature: as read.
    """

    usage: int
    algorithm: int
    signature: Signature


class CsvCertificate(msgspec.Struct, frozen=True):
    """A CEK, OCA or PEK certificate.

    Attributes:
        api: (major, minor) of the firmware that made it.
        usage: ``layout.USAGE_*``.
        algorithm: of the key.
        key: the public key.
        user_id: what signatures by that key are made with.
        slots: both signatures.
        signed: bytes as received.
        sha256: of the whole certificate, hex.
    """

    api: tuple[int, int]
    usage: int
    algorithm: int
    key: PublicKey
    user_id: bytes
    slots: tuple[SignatureSlot, SignatureSlot]
    signed: bytes
    sha256: str


def parse_ca_certificate(data: bytes, what: str) -> CaCertificate:
    """Parse an HRK or HSK certificate.

    Raises:
        Malformed: another length, version or curve, no point of the curve, or no user id.
    """
    reader = _reader(data, CA_BYTES, what)
    key_id = reader.take(_ID, "key id")
    signer_id = reader.take(_ID, "signer id")
    usage = reader.u32("usage")
    reader.take(24, "reserved")
    key = take_key(reader)
    user_id = take_user_id(reader)
    reader.take(108, "reserved")
    signature = take_signature(reader)
    reader.take(112, "reserved")
    reader.finish()
    return CaCertificate(key_id, signer_id, usage, key, user_id, signature, data[:CA_SIGNED], _sha256(data))


def parse_csv_certificate(data: bytes, what: str) -> CsvCertificate:
    """Parse a CEK, OCA or PEK certificate.

    Raises:
        Malformed: another length, version or curve, no point of the curve, or no user id.
    """
    reader = _reader(data, CSV_BYTES, what)
    api = reader.u8("api major"), reader.u8("api minor")
    reader.take(2, "reserved")
    usage = reader.u32("usage")
    algorithm = reader.u32("algorithm")
    key = take_key(reader)
    user_id = take_user_id(reader)
    reader.take(16 + 608, "sid and reserved")
    slots = _take_slot(reader), _take_slot(reader)
    reader.finish()
    return CsvCertificate(api, usage, algorithm, key, user_id, slots, data[:CSV_SIGNED], _sha256(data))


def _reader(data: bytes, size: int, what: str) -> Reader:
    if len(data) != size:
        raise Malformed(f"{what} has {len(data)} bytes, not {size}")
    reader = Reader(data, what, "little")
    version = reader.u32("version")
    if version != _VERSION:
        raise Malformed(f"{what} has version {version}, only {_VERSION} is known")
    return reader


def _take_slot(reader: Reader) -> SignatureSlot:
    usage = reader.u32("signature usage")
    algorithm = reader.u32("signature algorithm")
    signature = take_signature(reader)
    reader.take(368, "reserved")
    return SignatureSlot(usage, algorithm, signature)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
