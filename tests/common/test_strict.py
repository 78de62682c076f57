"""Strict encodings: one spelling per value, nothing padded, nothing guessed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from common import runtime_data, strict_json
from common.binary import Reader
from common.binding import binding_digest, jwk_thumbprint
from common.encoding import b64_decode, b64url_decode, b64url_encode, hex_decode, identifier
from common.errors import (
    DuplicateKey,
    InvalidIdentifier,
    InvalidSetting,
    Malformed,
    TooLarge,
    TouchstoneError,
    registry,
)
from common.files import read_private, write_private

JWK = {"kty": "EC", "crv": "P-256", "x": "x", "y": "y"}


@pytest.mark.parametrize("text", ["AA==", "A", "AB", "A+A/", "AA\n", "AAAA AAAA"])
def test_base64url_has_one_spelling(text: str) -> None:
    with pytest.raises(Malformed):
        b64url_decode(text)


@given(st.binary(max_size=100))
def test_base64url_round_trips(data: bytes) -> None:
    assert b64url_decode(b64url_encode(data)) == data


@pytest.mark.parametrize("text", ["AB==", "AA", "A-==", "AA==\n"])
def test_base64_has_one_spelling(text: str) -> None:
    with pytest.raises(Malformed):
        b64_decode(text)


@pytest.mark.parametrize("text", ["AB", "a", "0x00", "zz", "00\n"])
def test_hex_is_lower_case_and_even(text: str) -> None:
    with pytest.raises(Malformed):
        hex_decode(text)


@pytest.mark.parametrize(
    "text", ["", "..", "a..b", "%2e%2e", "a/b", "a\n", ".a", "-a", "ａ", "a" * 129, "a\x00"]
)
def test_identifiers_refuse_what_could_be_a_path(text: str) -> None:
    with pytest.raises(InvalidIdentifier):
        identifier(text)


def test_duplicate_members_are_refused_at_any_depth() -> None:
    with pytest.raises(DuplicateKey):
        strict_json.loads(b'{"a": [{"b": 1, "b": 2}]}')


@pytest.mark.parametrize("data", [b"NaN", b"[Infinity]", b"{} {}", b"\xff", b"", b'{"a":1,}', b"1" * 5000])
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        strict_json.loads(data)


def test_depth_and_size_are_bounded_before_parsing() -> None:
    with pytest.raises(TooLarge):
        strict_json.loads(b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(TooLarge):
        strict_json.loads(b'"' + b"x" * 100 + b'"', max_bytes=50)
    brackets_in_a_string = b'"' + b"[" * 1000 + b'\\""'
    assert strict_json.loads(brackets_in_a_string) == "[" * 1000 + '"'


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_the_parser_raises_only_typed_errors(data: bytes) -> None:
    try:
        strict_json.loads(data)
    except TouchstoneError:
        pass


def test_canonical_json_sorts_by_utf16_and_refuses_floats() -> None:
    # RFC 8785 section 3.2.3: U+1F600 sorts before U+FB33 in UTF-16 code units, after it in UTF-8.
    assert strict_json.canonical({"\ufb33": 1, "\U0001f600": 2, "a": None}) == (
        '{"a":null,"\U0001f600":2,"\ufb33":1}'.encode()
    )
    for value in (1.0, 2**53, {1: "a"}, {"a"}):
        with pytest.raises(Malformed):
            strict_json.canonical(value)


_SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text()


@given(st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_canonical_json_is_that_of_another_implementation(value: object) -> None:
    assert strict_json.canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]
    assert runtime_data.canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


def test_every_character_is_escaped_as_by_another_implementation() -> None:
    for first in range(0, 0x110000, 0x800):
        if 0xD800 <= first < 0xE000:
            continue
        text = "".join(map(chr, range(first, first + 0x800)))
        for value in (text, {"a": text}, {text: "a"}):
            assert strict_json.canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", ["\ud800", {"\ud800": 1}, {"a": ["\udfff"]}])
def test_a_lone_surrogate_has_no_canonical_form(value: object) -> None:
    with pytest.raises(UnicodeEncodeError):
        strict_json.canonical(value)
    with pytest.raises(Malformed):
        runtime_data.canonical(value)


def test_runtime_data_is_bounded_in_depth() -> None:
    value: list[object] = []
    for _ in range(31):
        value = [value]
    assert runtime_data.canonical(value) == b"[" * 32 + b"]" * 32
    with pytest.raises(Malformed, match="too deeply"):
        runtime_data.canonical([value])
    with pytest.raises(Malformed, match="too deeply"):
        runtime_data.canonical([[value, 1.5]])


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(), st.lists))
def test_canonical_json_means_the_same(value: object) -> None:
    assert json.loads(strict_json.canonical(value)) == value


def test_a_reader_never_returns_short() -> None:
    reader = Reader(b"\x00\x05abc", "thing", "big")
    with pytest.raises(Malformed, match="wants 5 bytes at offset 2, 3 remain"):
        reader.sized16("name")


def test_a_reader_demands_the_end() -> None:
    reader = Reader(b"\x01\x02", "thing", "little")
    assert reader.u8("first") == 1
    with pytest.raises(Malformed, match="1 bytes after the end"):
        reader.finish()


def test_thumbprint_is_that_of_rfc_7638() -> None:
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiF"
        "V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c"
        "7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF"
        "44-csFCur-kEgU8awapJzKnqDKgw"
    )
    jwk = {"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    assert b64url_encode(jwk_thumbprint(jwk)) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_the_binding_separates_its_items() -> None:
    base = binding_digest(nonce=bytes(32), tee_pubkey=JWK, audience="ab", init_data_digest=b"c", size=64)
    moved = binding_digest(nonce=bytes(32), tee_pubkey=JWK, audience="a", init_data_digest=b"bc", size=64)
    assert len(base) == 64
    assert base != moved


@pytest.mark.parametrize(("nonce", "size"), [(bytes(31), 64), (b"", 64), (bytes(32), 48)])
def test_the_binding_refuses_short_nonces_and_odd_fields(nonce: bytes, size: int) -> None:
    with pytest.raises(Malformed):
        binding_digest(nonce=nonce, tee_pubkey=JWK, audience="a", size=size)


def test_private_files_are_0600_and_wider_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_private(path, b"secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_private(path, what="key") == b"secret"
    path.chmod(0o640)
    with pytest.raises(InvalidSetting, match="can be read by others"):
        read_private(path, what="key")
    assert list(tmp_path.iterdir()) == [path]


def test_every_code_is_dotted_and_has_advice() -> None:
    for code, error in registry().items():
        assert code == code.lower()
        assert "." in code
        assert error.advice.endswith(".")
        assert error.__doc__
