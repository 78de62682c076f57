"""The SPDM 1.1 exchange that a device signed: GET_MEASUREMENTS request and MEASUREMENTS response.

Layout (integers little endian)::

    request    37  version 0x11, code 0xE0, param1 (bit 0: signature wanted), param2 (0xFF: all blocks),
                   nonce 32, slot 1
    response    8  version 0x11, code 0x60, param1, param2, number of blocks 1, record length 3
                n  blocks: index 1, specification 1 (= 1, DMTF), size 2, then type 1, size 2, value
               32  the responder's nonce
                2  length of the opaque data, then the data (``verifier.nvidia.opaque``)
               96  signature: ECDSA P-384, r and s big endian

Signed are all bytes before the signature, request included. Buffers of the driver may end in zeros after
it; anything else after it is refused.

Invariants: every length is checked before it is used; the blocks fill the record exactly; a block's index
occurs once (of two with one index it could not be said which counts).

Sources: DMTF DSP0274 1.1.2, tables 29 to 34 (GET_MEASUREMENTS, MEASUREMENTS, DMTF measurement block).
"""

from __future__ import annotations

from typing import Final

import msgspec

from common.binary import Reader
from common.errors import Malformed, TooLarge
from verifier.errors import UnsupportedEvidence

SPDM: Final = "DMTF DSP0274 1.1"
NONCE_BYTES: Final = 32
REQUEST_BYTES: Final = 37
SIGNATURE_BYTES: Final = 96  # P-384: r and s
MAX_EXCHANGE_BYTES: Final = 256 * 1024
_MAX_PADDING: Final = 64 * 1024
_VERSION: Final = 0x11
_GET_MEASUREMENTS: Final = 0xE0
_MEASUREMENTS: Final = 0x60
_SIGNED: Final = 0x01
_ALL_BLOCKS: Final = 0xFF
_DMTF: Final = 0x01
_BLOCK_HEADER: Final = 3  # type and size
_MAX_VALUE: Final = 1024
_LAST_INDEX: Final = 0xEF  # above are reserved for manifests and the like
_RECORD_LENGTH: Final = 3


class Exchange(msgspec.Struct, frozen=True):
    """One exchange, taken apart; nothing about it is verified yet.

    Attributes:
        nonce: of the request: what the requester asked to be signed.
        responder_nonce: the device's own.
        measurements: block index to value.
        opaque: the vendor's data.
        signed: the bytes that the signature covers.
        signature: r and s, big endian, 48 bytes each.
    """

    nonce: bytes
    responder_nonce: bytes
    measurements: dict[int, bytes]
    opaque: bytes
    signed: bytes
    signature: bytes


def parse_exchange(data: bytes) -> Exchange:
    """Take an exchange apart.

    Raises:
        TooLarge: more bytes than any device sends.
        Malformed: cut off, lengths that do not agree, an index twice, or something after the end.
        UnsupportedEvidence: another SPDM version or message, unsigned, or not about all measurements.
    """
    if len(data) > MAX_EXCHANGE_BYTES:
        raise TooLarge(f"the SPDM exchange has {len(data)} bytes, the limit is {MAX_EXCHANGE_BYTES}")
    reader = Reader(data, "SPDM exchange", "little")
    nonce = _request(reader)
    measurements = _response(reader)
    responder_nonce = reader.take(NONCE_BYTES, "responder nonce")
    opaque = reader.sized16("opaque data")
    signed = data[: reader.position]
    signature = reader.take(SIGNATURE_BYTES, "signature")
    padding = reader.take(reader.remaining, "padding")
    if len(padding) > _MAX_PADDING or any(padding):
        raise Malformed("the SPDM exchange has something other than zeros after its signature")
    return Exchange(nonce, responder_nonce, measurements, opaque, signed, signature)


def _request(reader: Reader) -> bytes:
    """The request's nonce."""
    version, code = reader.u8("request version"), reader.u8("request code")
    if (version, code) != (_VERSION, _GET_MEASUREMENTS):
        raise UnsupportedEvidence(
            f"the SPDM request is version {version:#04x}, code {code:#04x}, not a GET_MEASUREMENTS of 1.1"
        )
    attributes, blocks = reader.u8("request attributes"), reader.u8("request operation")
    if not attributes & _SIGNED or blocks != _ALL_BLOCKS:
        raise UnsupportedEvidence("the SPDM request does not ask for all measurements with a signature")
    nonce = reader.take(NONCE_BYTES, "request nonce")
    reader.u8("request slot")
    return nonce


def _response(reader: Reader) -> dict[int, bytes]:
    """The response's measurements."""
    version, code = reader.u8("response version"), reader.u8("response code")
    if (version, code) != (_VERSION, _MEASUREMENTS):
        raise UnsupportedEvidence(
            f"the SPDM response is version {version:#04x}, code {code:#04x}, not MEASUREMENTS of 1.1"
        )
    reader.take(2, "response parameters")
    count = reader.u8("number of blocks")
    length = int.from_bytes(reader.take(_RECORD_LENGTH, "record length"), "little")
    record = Reader(reader.take(length, "measurement record"), "SPDM measurement record", "little")
    measurements: dict[int, bytes] = {}
    for _ in range(count):
        index, value = _block(record)
        if index in measurements:
            raise Malformed(f"the SPDM response has two measurements with index {index}")
        measurements[index] = value
    record.finish()
    if not measurements:
        raise Malformed("the SPDM response has no measurement")
    return measurements


def _block(record: Reader) -> tuple[int, bytes]:
    index, specification = record.u8("block index"), record.u8("block specification")
    if not 1 <= index <= _LAST_INDEX or specification != _DMTF:
        raise UnsupportedEvidence(f"measurement block {index} is not one of the DMTF's specification")
    size = record.u16("block size")
    record.u8("value type")
    value_size = record.u16("value size")
    if size != _BLOCK_HEADER + value_size or not 1 <= value_size <= _MAX_VALUE:
        raise Malformed(f"measurement block {index} has sizes that do not agree, or are out of bounds")
    return index, record.take(value_size, "measurement value")
