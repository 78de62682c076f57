"""Strict CBOR for evidence: its own errors, its limits, and arrays and maps of indefinite length."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import cbor
from common.errors import DuplicateKey, Malformed, TooLarge, TouchstoneError


@pytest.mark.parametrize(
    ("encoded", "error"),
    [
        ("", Malformed),
        ("a201010102", DuplicateKey),
        ("1801", Malformed),
        ("0101", Malformed),
        ("bf0101ff", Malformed),
        ("9fff", Malformed),
        ("5fff", Malformed),
        ("f93c00", Malformed),
        ("a1410101", Malformed),
        ("c100", Malformed),
    ],
)
def test_each_fault_has_its_error(encoded: str, error: type[TouchstoneError]) -> None:
    with pytest.raises(error):
        cbor.decode(bytes.fromhex(encoded), what="it")


def test_size_count_and_depth_are_bounded() -> None:
    for data in (
        b"\x59\xff\xff" + bytes(65535),
        b"\x99\x27\x10" + bytes(10_000),
        b"\x81" * 40 + b"\x00",
    ):
        with pytest.raises(TooLarge):
            cbor.decode(data, what="it")
    assert cbor.decode(b"\x81" * 31 + b"\x00", what="it")


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        ("bfff", {}),
        ("bf0102ff", {1: 2}),
        ("9f0102ff", [1, 2]),
        ("bf019f02ff03bf0405ffff", {1: [2], 3: {4: 5}}),
        ("829fff9f01ff", [[], [1]]),
    ],
)
def test_indefinite_lengths_where_the_caller_says_so(encoded: str, value: object) -> None:
    assert cbor.decode(bytes.fromhex(encoded), what="it", indefinite=True) == value


@pytest.mark.parametrize(
    "encoded",
    [
        "bf01ff",  # a key without a value
        "bf01",  # no end
        "bf0101",
        "9f",
        "ff",  # nothing that ends
        "82ff00",
        "a1ff00",
        "a101ff",
        "bf01020103ff",  # a key twice
        "bf9fff01ff",  # an array as a key
        "bfbfff01ff",  # a map as a key
        "bf4101ffff",
        "5f4101ff",  # bytes in chunks
        "7f6161ff",
        "9f01ffff",
        "9f180100ff",
        "9f" * 40 + "ff" * 40,
    ],
)
def test_what_is_broken_stays_refused(encoded: str) -> None:
    with pytest.raises(TouchstoneError):
        cbor.decode(bytes.fromhex(encoded), what="it", indefinite=True)


@settings(deadline=None, max_examples=500)
@given(
    st.binary(max_size=60) | st.lists(st.sampled_from(b"\xbf\x9f\xff\x01\x02\x81\xa1\x40\x60")).map(bytes)
)
def test_any_bytes_give_a_value_or_our_error(data: bytes) -> None:
    for indefinite in (False, True):
        try:
            cbor.decode(data, what="it", indefinite=indefinite)
        except TouchstoneError:
            pass
