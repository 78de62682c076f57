"""Quotes by their bytes: layouts, lengths, and that nothing but our own errors ever leaves the parser."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import Malformed, TooLarge, TouchstoneError
from testkit.intel_platform import IntelPlatform
from verifier.errors import SignatureInvalid, UnsupportedEvidence
from verifier.intel.enclave import EnclaveReport, parse_enclave_report
from verifier.intel.quote import MAX_QUOTE_BYTES, parse_quote
from verifier.intel.td import TdBody, parse_td_body

from .helpers import verify_td

_HEADER = 48


def _all(platform: IntelPlatform) -> list[bytes]:
    return [
        platform.td_quote(),
        platform.td_quote(version=5, body_type=2),
        platform.td_quote(version=5, body_type=3),
        platform.sgx_quote(),
        platform.sgx_quote(version=4),
        platform.sgx_quote(version=5),
    ]


def test_every_layout_is_taken_apart(platform: IntelPlatform) -> None:
    found = [parse_quote(data) for data in _all(platform)]
    assert [(quote.header.version, quote.body_type) for quote in found] == [
        (4, None), (5, 2), (5, 3), (3, None), (4, None), (5, 1),
    ]  # fmt: skip
    assert [type(quote.body) for quote in found] == [TdBody] * 3 + [EnclaveReport] * 3
    for data, quote in zip(_all(platform), found, strict=True):
        assert data.startswith(quote.signed[:_HEADER])
        assert quote.body.report_data == bytes(range(64))
    assert isinstance(found[2].body, TdBody)
    assert found[2].body.tee_tcb_svn2 is not None
    assert isinstance(found[1].body, TdBody)
    assert found[1].body.tee_tcb_svn2 is None


def test_every_shorter_text_is_refused(platform: IntelPlatform) -> None:
    for data in _all(platform):
        for length in range(len(data)):
            with pytest.raises((Malformed, UnsupportedEvidence)):
                parse_quote(data[:length])


def test_zeros_may_follow_and_nothing_else(platform: IntelPlatform) -> None:
    quote = platform.td_quote()
    assert parse_quote(quote + bytes(3065)) == parse_quote(quote)
    with pytest.raises(Malformed, match="zeros"):
        parse_quote(quote + bytes(70) + b"\x01")


def test_the_limit_is_on_the_whole(platform: IntelPlatform) -> None:
    quote = platform.td_quote()
    with pytest.raises(TooLarge):
        parse_quote(quote.ljust(MAX_QUOTE_BYTES + 1, b"\0"))


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, 2), (0, 6), (4, 1)],
)
def test_unknown_versions_and_tees_are_named(platform: IntelPlatform, offset: int, value: int) -> None:
    quote = bytearray(platform.td_quote())
    quote[offset] = value
    with pytest.raises(UnsupportedEvidence):
        parse_quote(bytes(quote))


def test_a_td_in_version_3_is_not_known(platform: IntelPlatform) -> None:
    quote = bytearray(platform.td_quote())
    quote[0] = 3
    with pytest.raises(UnsupportedEvidence):
        parse_quote(bytes(quote))


@pytest.mark.parametrize(("kind", "size"), [(1, 384), (2, 648), (3, 584), (3, 647)])
def test_a_body_type_has_one_size_and_one_tee(platform: IntelPlatform, kind: int, size: int) -> None:
    quote = bytearray(platform.td_quote(version=5, body_type=3))
    quote[_HEADER : _HEADER + 6] = struct.pack("<HI", kind, size)
    with pytest.raises(Malformed):
        parse_quote(bytes(quote))


def test_an_unknown_body_type_is_not_supported(platform: IntelPlatform) -> None:
    quote = bytearray(platform.td_quote(version=5))
    quote[_HEADER : _HEADER + 2] = struct.pack("<H", 4)
    with pytest.raises(UnsupportedEvidence):
        parse_quote(bytes(quote))


def test_lengths_must_agree_exactly(platform: IntelPlatform) -> None:
    """Outer certification data, inner certification data and the whole, one byte off each."""
    quote = platform.td_quote()
    outer = _HEADER + 584 + 4 + 128 + 2
    inner = outer + 4 + 384 + 64 + 2 + 32 + 2
    for position in (_HEADER + 584, outer, inner):
        (length,) = struct.unpack_from("<I", quote, position)
        for wrong in (length - 1, length + 1, 0, 0xFFFFFFFF):
            changed = quote[:position] + struct.pack("<I", wrong) + quote[position + 4 :]
            with pytest.raises(Malformed):
                parse_quote(changed)


def test_the_wrapper_of_later_versions_is_of_type_6(platform: IntelPlatform) -> None:
    quote = bytearray(platform.td_quote())
    quote[_HEADER + 584 + 4 + 128] = 5
    with pytest.raises(UnsupportedEvidence):
        parse_quote(bytes(quote))


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 7])
def test_certification_data_without_a_chain_is_not_supported(platform: IntelPlatform, kind: int) -> None:
    signed = parse_quote(platform.td_quote()).signed
    with pytest.raises(UnsupportedEvidence):
        verify_td(platform, platform.seal(signed, "tdx", certification=(kind, bytes(404))))


@pytest.mark.parametrize(("offset", "value"), [(2, 3), (12, 0)])
def test_algorithm_and_vendor_are_fixed(platform: IntelPlatform, offset: int, value: int) -> None:
    signed = bytearray(parse_quote(platform.td_quote()).signed)
    signed[offset] = value
    with pytest.raises(UnsupportedEvidence):
        verify_td(platform, platform.seal(bytes(signed), "tdx"))


def test_every_signed_bit_counts(platform: IntelPlatform) -> None:
    quote = platform.td_quote()
    for offset in range(_HEADER, _HEADER + 584, 7):
        changed = bytearray(quote)
        changed[offset] ^= 1 << offset % 8
        with pytest.raises(SignatureInvalid):
            verify_td(platform, bytes(changed))


@given(st.binary(max_size=2048))
def test_no_bytes_break_the_parsers(data: bytes) -> None:
    for parse in (parse_quote, parse_enclave_report, lambda text: parse_td_body(text, len(text))):
        try:
            parse(data)
        except TouchstoneError:
            continue


@given(st.data())
def test_no_change_of_a_quote_breaks_the_verifier(platform: IntelPlatform, data: st.DataObject) -> None:
    quote = bytearray(data.draw(st.sampled_from(_all(platform)[:3])))
    for _ in range(data.draw(st.integers(1, 4))):
        quote[data.draw(st.integers(0, len(quote) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(quote)))
    for changed in (bytes(quote), bytes(quote[:cut])):
        try:
            verify_td(platform, changed)
        except TouchstoneError:
            continue
