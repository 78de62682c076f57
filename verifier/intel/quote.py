"""Quotes of versions 3, 4 and 5 with ECDSA-P256 signatures, taken apart without copying what is signed.

Sources: Intel SGX ECDSA Quote Library API, appendix A.4 (version 3); Intel TDX DCAP Quote Generation
Library API, appendix A.3 (versions 4 and 5); Intel TDX Module Base Architecture Specification (TDREPORT).

Invariants:

* A ``Quote`` exists only if every length says the same as every other, and nothing but zeros follows it.
* ``signed`` is the slice received, never a re-encoding.
* Whether versions, algorithms and values are acceptable is for ``verifier.intel.checks``.
* The header's two fields at 0x08 mean different things in different versions: nothing is decided by them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable  # noqa: TC003 (msgspec resolves it at run time)
from typing import Final

import msgspec

from common.errors import Malformed, TooLarge
from verifier.errors import UnsupportedEvidence
from verifier.intel.enclave import REPORT_BYTES, EnclaveReport, parse_enclave_report
from verifier.intel.td import BODY_15_BYTES, BODY_BYTES, TdBody, parse_td_body

MAX_QUOTE_BYTES: Final = 64 * 1024
SGX: Final = 0x00
TDX: Final = 0x81
SGX_VERSION: Final = 3
TYPED_BODY_VERSION: Final = 5
VERSIONS: Final = (3, 4, 5)
ECDSA_P256: Final = 2
# Types of certification data (API appendix A.4.9).
PCK_CHAIN: Final = 5
QE_REPORT: Final = 6

_HEADER: Final = struct.Struct("<H H I 2s 2s 16s 20s")
_BODY_DESCRIPTOR: Final = struct.Struct("<H I")
_LENGTH: Final = struct.Struct("<I")
_AUTH_LENGTH: Final = struct.Struct("<H")
_CERTIFICATION: Final = struct.Struct("<H I")
_SIGNATURE_BYTES: Final = 64
_KEY_BYTES: Final = 64


class Header(msgspec.Struct, frozen=True):
    """The first 48 bytes.

    Attributes:
        version: 3 to 5.
        key_type: attestation key type; 2 is ECDSA with P-256.
        tee_type: 0x00 SGX, 0x81 TDX.
        field_08: 2 bytes (version 3: QE SVN; later: reserved).
        field_0a: 2 bytes (version 3: PCE SVN; later: reserved).
        vendor_id: 16 bytes, of the quoting enclave.
        user_data: 20 bytes.
    """

    version: int
    key_type: int
    tee_type: int
    field_08: bytes
    field_0a: bytes
    vendor_id: bytes
    user_data: bytes


class QuoteSignature(msgspec.Struct, frozen=True):
    """What the quoting enclave put behind the signed bytes.

    Attributes:
        signature: r and s, big endian, 64 bytes, by ``attestation_key``.
        attestation_key: x and y, 64 bytes.
        qe_report: report of the quoting enclave, 384 bytes.
        qe_signature: r and s over ``qe_report``, by the PCK.
        auth_data: QE authentication data.
        certification_type: 5 is a PEM chain, leaf first.
        certification_data: as the type says.
    """

    signature: bytes
    attestation_key: bytes
    qe_report: bytes
    qe_signature: bytes
    auth_data: bytes
    certification_type: int
    certification_data: bytes


class Quote(msgspec.Struct, frozen=True):
    """A structurally sound quote.

    Attributes:
        header: see there.
        body_type: of version 5 (1 SGX, 2 TD 1.0, 3 TD 1.5); None before.
        body: the TD or the enclave that it speaks for.
        signed: what ``proof.signature`` covers: header, body descriptor and body.
        proof: signature and certification data.
    """

    header: Header
    body_type: int | None
    body: TdBody | EnclaveReport
    signed: bytes
    proof: QuoteSignature


def parse_quote(data: bytes) -> Quote:
    """Take a quote apart.

    Raises:
        TooLarge: more than 64 KiB.
        Malformed: a length that does not fit, or bytes other than zero behind it.
        UnsupportedEvidence: a version, TEE or body type whose layout is not known here.
    """
    if len(data) > MAX_QUOTE_BYTES:
        raise TooLarge(f"a quote has at most {MAX_QUOTE_BYTES} bytes, this one has {len(data)}")
    if len(data) < _HEADER.size:
        raise Malformed("a quote has a header of 48 bytes")
    header = Header(*_HEADER.unpack_from(data))
    body_type, start, layout = _body_layout(header, data)
    end = start + layout.size
    body = layout.parse(data[start:end])
    return Quote(header, body_type, body, data[:end], _proof(header, data, end))


def _td_10(data: bytes) -> TdBody:
    return parse_td_body(data, BODY_BYTES)


def _td_15(data: bytes) -> TdBody:
    return parse_td_body(data, BODY_15_BYTES)


class _Layout(msgspec.Struct, frozen=True):
    """A body's TEE type, size and parser."""

    tee_type: int
    size: int
    parse: Callable[[bytes], TdBody | EnclaveReport]


_SGX_BODY: Final = _Layout(SGX, REPORT_BYTES, parse_enclave_report)
_TD_BODY: Final = _Layout(TDX, BODY_BYTES, _td_10)
# By the body type of version 5.
_TYPED: Final = {1: _SGX_BODY, 2: _TD_BODY, 3: _Layout(TDX, BODY_15_BYTES, _td_15)}


def _body_layout(header: Header, data: bytes) -> tuple[int | None, int, _Layout]:
    """Type, start and layout of the body."""
    if header.version not in VERSIONS:
        raise UnsupportedEvidence(f"quote version {header.version} is not one of {VERSIONS}")
    if header.tee_type not in (SGX, TDX) or (header.version == SGX_VERSION and header.tee_type != SGX):
        raise UnsupportedEvidence(
            f"a quote of version {header.version} for TEE type {header.tee_type:#x} is not known"
        )
    if header.version < TYPED_BODY_VERSION:
        return None, _HEADER.size, _SGX_BODY if header.tee_type == SGX else _TD_BODY
    start = _HEADER.size + _BODY_DESCRIPTOR.size
    if len(data) < start:
        raise Malformed("the quote ends inside its body descriptor")
    kind, size = _BODY_DESCRIPTOR.unpack_from(data, _HEADER.size)
    layout = _TYPED.get(kind)
    if layout is None:
        raise UnsupportedEvidence(f"quote body type {kind} is not known")
    if (layout.tee_type, layout.size) != (header.tee_type, size):
        raise Malformed(f"quote body type {kind} does not go with {size} bytes of TEE {header.tee_type:#x}")
    return kind, start, layout


def _proof(header: Header, data: bytes, end: int) -> QuoteSignature:
    reader = _Reader(data, end, len(data))
    (length,) = _LENGTH.unpack(reader.take(_LENGTH.size))
    reader.bound(length)
    signature, key = reader.take(_SIGNATURE_BYTES), reader.take(_KEY_BYTES)
    if header.version > SGX_VERSION:
        kind, size = _CERTIFICATION.unpack(reader.take(_CERTIFICATION.size))
        if kind != QE_REPORT:
            raise UnsupportedEvidence(
                f"certification data of type {kind} around the QE report is not known"
            )
        reader.exactly(size)
    report, qe_signature = reader.take(REPORT_BYTES), reader.take(_SIGNATURE_BYTES)
    (auth_length,) = _AUTH_LENGTH.unpack(reader.take(_AUTH_LENGTH.size))
    auth_data = reader.take(auth_length)
    kind, size = _CERTIFICATION.unpack(reader.take(_CERTIFICATION.size))
    reader.exactly(size)
    return QuoteSignature(signature, key, report, qe_signature, auth_data, kind, reader.take(size))


class _Reader:
    """Takes pieces of known length; what is not there is an error."""

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: bytes, position: int, end: int) -> None:
        self._data = data
        self._position = position
        self._end = end

    def take(self, size: int) -> bytes:
        start = self._position
        if size > self._end - start:
            raise Malformed(f"the quote ends {size - (self._end - start)} bytes early")
        self._position = start + size
        return self._data[start : self._position]

    def bound(self, length: int) -> None:
        """``length`` bytes follow that belong to the quote, then zeros alone."""
        end = self._position + length
        if end > self._end:
            raise Malformed(f"the quote's signature data lacks {end - self._end} bytes")
        if self._data.count(0, end) != self._end - end:
            raise Malformed("something other than zeros follows the quote")
        self._end = end

    def exactly(self, size: int) -> None:
        """``size`` is all that is left."""
        if size != self._end - self._position:
            raise Malformed(
                f"certification data of {size} bytes in a place of {self._end - self._position}"
            )
