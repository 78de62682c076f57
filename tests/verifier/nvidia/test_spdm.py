"""The exchange: every length, every field, and bytes that are no exchange at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import Malformed, TooLarge, TouchstoneError
from testkit.nvidia_device import TestDevice
from tests.verifier.nvidia.conftest import NONCE
from verifier.errors import UnsupportedEvidence
from verifier.nvidia.spdm import MAX_EXCHANGE_BYTES, SIGNATURE_BYTES, parse_exchange


def test_an_exchange_is_taken_apart(gpu: TestDevice) -> None:
    data = gpu.exchange(NONCE)
    exchange = parse_exchange(data)
    assert exchange.nonce == NONCE
    assert exchange.measurements == gpu.measurements
    assert exchange.signed == data[:-SIGNATURE_BYTES]
    assert exchange.signature == data[-SIGNATURE_BYTES:]


def test_it_is_refused_when_cut_off_at_any_length(gpu: TestDevice) -> None:
    data = gpu.exchange(NONCE)
    for length in range(len(data)):
        with pytest.raises(TouchstoneError):
            parse_exchange(data[:length])


def test_zeros_after_the_end_are_padding_and_nothing_else_is(gpu: TestDevice) -> None:
    data = gpu.exchange(NONCE)
    assert parse_exchange(data + bytes(1000)) == parse_exchange(data)
    with pytest.raises(Malformed):
        parse_exchange(data + b"\1")
    with pytest.raises(TooLarge):
        parse_exchange(data + bytes(MAX_EXCHANGE_BYTES))


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        pytest.param(0, 0x12, id="SPDM 1.2 request"),
        pytest.param(1, 0xE1, id="another request"),
        pytest.param(2, 0x00, id="no signature asked for"),
        pytest.param(3, 0x01, id="one measurement alone"),
        pytest.param(37, 0x10, id="SPDM 1.0 response"),
        pytest.param(38, 0x7F, id="an error response"),
        pytest.param(46, 0x02, id="another specification"),
        pytest.param(45, 0x00, id="index 0"),
        pytest.param(45, 0xFD, id="the index of a manifest"),
    ],
)
def test_other_versions_and_messages_are_not_taken(gpu: TestDevice, offset: int, value: int) -> None:
    data = bytearray(gpu.exchange(NONCE))
    data[offset] = value
    with pytest.raises(UnsupportedEvidence):
        parse_exchange(bytes(data))


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        pytest.param(41, 4, id="fewer blocks than there are"),
        pytest.param(41, 6, id="more blocks than there are"),
        pytest.param(42, 0x01, id="a record of another length"),
        pytest.param(47, 50, id="a block whose sizes do not agree"),
        pytest.param(50, 0, id="a value whose sizes do not agree"),
    ],
)
def test_lengths_that_do_not_agree_are_refused(gpu: TestDevice, offset: int, value: int) -> None:
    data = bytearray(gpu.exchange(NONCE))
    data[offset] = value
    with pytest.raises(Malformed):
        parse_exchange(bytes(data))


def test_an_index_twice_is_refused_whichever_comes_last(gpu: TestDevice) -> None:
    good, bad = bytes([1] * 48), bytes([2] * 48)
    for blocks in ([(1, good), (1, bad)], [(1, bad), (2, good), (1, good)], [(1, good), (1, good)]):
        with pytest.raises(Malformed, match="two measurements"):
            parse_exchange(gpu.exchange(NONCE, blocks=blocks))


def test_an_exchange_without_measurements_is_refused(gpu: TestDevice) -> None:
    with pytest.raises(Malformed, match="no measurement"):
        parse_exchange(gpu.exchange(NONCE, blocks=[]))


@settings(max_examples=300)
@given(st.binary(max_size=600))
def test_any_bytes_give_an_exchange_or_an_error_of_ours(data: bytes) -> None:
    try:
        parse_exchange(data)
    except TouchstoneError:
        return


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_exchange_gives_an_exchange_or_an_error_of_ours(
    gpu: TestDevice, data: st.DataObject
) -> None:
    changed = bytearray(gpu.exchange(NONCE))
    for _ in range(data.draw(st.integers(1, 4))):
        offset = data.draw(st.integers(0, len(changed) - 1))
        changed[offset] = data.draw(st.integers(0, 255))
    try:
        parse_exchange(bytes(changed))
    except TouchstoneError:
        return


def test_real_exchanges_are_refused_when_cut_off(vectors: Path) -> None:
    for path in sorted((vectors / "evidence" / "nvidia").glob("*/report.bin")):
        whole = path.read_bytes().rstrip(b"\0")
        for length in range(0, len(whole) - 1, 7):
            with pytest.raises(TouchstoneError):
                parse_exchange(whole[:length])
