"""Strict CBOR: what has two readings, or costs more than its size, is refused."""

from __future__ import annotations

import pytest
from cbor2 import CBORTag
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance.errors import ManifestMalformed
from provenance.manifests.corim import cbor

TAGS = frozenset({1, 37, 501})


@pytest.mark.parametrize(
    ("encoded", "what"),
    [
        ("", "empty"),
        ("a201010102", "duplicate integer key"),
        ("a2616101616102", "duplicate text key"),
        ("9f01ff", "indefinite array"),
        ("bf0101ff", "indefinite map"),
        ("5f4101ff", "indefinite bytes"),
        ("7f6161ff", "indefinite text"),
        ("0101", "trailing item"),
        ("1801", "integer not shortest"),
        ("190001", "integer not shortest"),
        ("1b0000000000000001", "integer not shortest"),
        ("5800", "length not shortest"),
        ("f94000", "half float"),
        ("fb3ff0000000000000", "double"),
        ("f7", "undefined"),
        ("f0", "simple value"),
        ("f820", "simple value"),
        ("1c", "reserved"),
        ("c0743230313330333231", "date tag"),
        ("d8236161", "regular expression"),
        ("d81c80", "shared value"),
        ("a1410101", "byte-string key"),
        ("a1f501", "boolean key"),
        ("a18001", "array key"),
        ("9b7fffffffffffffff", "array of 2**63"),
        ("bb7fffffffffffffff", "map of 2**63"),
        ("5b7fffffffffffffff00", "bytes of 2**63"),
        ("8201", "array cut short"),
        ("61ff", "text that is not UTF-8"),
        ("d9", "tag cut short"),
    ],
)
def test_what_is_not_strict_is_refused(encoded: str, what: str) -> None:
    with pytest.raises(ManifestMalformed):
        cbor.decode(bytes.fromhex(encoded), what=what, tags=TAGS)


def test_nesting_is_bounded() -> None:
    with pytest.raises(ManifestMalformed, match="nested"):
        cbor.decode(b"\x81" * 5000 + b"\x00", what="it", tags=TAGS)
    with pytest.raises(ManifestMalformed, match="nested"):
        cbor.decode(b"\xd9\x01\xf5" * 5000 + b"\x00", what="it", tags=TAGS)


def test_items_and_bytes_are_bounded() -> None:
    with pytest.raises(ManifestMalformed, match="items"):
        cbor.decode(b"\x9a\x00\x03\x0d\x41" + b"\x00" * 200_001, what="it", tags=TAGS)
    with pytest.raises(ManifestMalformed, match="larger"):
        cbor.decode(b"\x00" * (cbor.MAX_BYTES + 1), what="it", tags=TAGS)


def test_tags_stay_tags() -> None:
    assert cbor.decode(bytes.fromhex("c11a60000000"), what="it", tags=TAGS) == CBORTag(1, 0x60000000)
    value = cbor.decode(bytes.fromhex("d82550" + "11" * 16), what="it", tags=TAGS)
    assert value == CBORTag(37, b"\x11" * 16)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=40)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.integers(-9, 9) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(deadline=None, max_examples=150)
@given(PLAIN)
def test_what_is_encoded_is_decoded(value: object) -> None:
    assert cbor.decode(cbor.encode(value), what="it", tags=TAGS) == value


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=80))
def test_any_bytes_give_a_value_or_our_error(data: bytes) -> None:
    try:
        cbor.decode(data, what="it", tags=TAGS)
    except TouchstoneError:
        pass
