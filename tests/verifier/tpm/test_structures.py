"""TPMS_ATTEST, TPMT_SIGNATURE, TPMT_PUBLIC: nothing but typed errors, and only whole structures."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import Malformed, TouchstoneError
from verifier.errors import UnsupportedEvidence
from verifier.tpm.attest import parse_quote, parse_signature
from verifier.tpm.names import name_of
from verifier.tpm.public import parse_public

from . import forge

ECC, RSA = forge.EccKey(), forge.RsaKey()
QUOTE = forge.attest(
    extra_data=bytes(32),
    entries=[forge.selection_entry("sha256", range(24)), forge.selection_entry("sha384", [0, 8, 23])],
    digest=bytes(32),
)
GOOD = {
    "quote": (parse_quote, QUOTE),
    "ecdsa": (parse_signature, ECC.sign(b"m")),
    "rsassa": (parse_signature, RSA.sign(b"m")),
    "ecc": (parse_public, ECC.public),
    "rsa": (parse_public, RSA.public),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_prefix_is_refused(name):
    parse, data = GOOD[name]
    for length in range(len(data)):
        with pytest.raises(TouchstoneError):
            parse(data[:length])


@pytest.mark.parametrize("name", GOOD)
def test_trailing_bytes_are_refused(name):
    parse, data = GOOD[name]
    with pytest.raises(Malformed):
        parse(data + b"\x00")


@pytest.mark.parametrize("name", GOOD)
def test_oversized_input_is_refused(name):
    parse, data = GOOD[name]
    with pytest.raises(Malformed):
        parse(data + bytes(10_000))


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=150, deadline=None)
@given(random=st.data())
def test_mutations_raise_only_typed_errors_or_parse(name, random):
    parse, data = GOOD[name]
    changed = bytearray(data)
    for _ in range(random.draw(st.integers(1, 3))):
        changed[random.draw(st.integers(0, min(len(changed) - 1, 80)))] = random.draw(st.integers(0, 255))
    try:
        result = parse(bytes(changed))
        if name in ("ecc", "rsa"):
            name_of(result)
    except TouchstoneError:
        pass


@pytest.mark.parametrize("parse", [parse_quote, parse_signature, parse_public])
@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=300))
def test_random_bytes_raise_only_typed_errors(parse, data):
    try:
        parse(data)
    except TouchstoneError:
        pass


def test_a_quote_is_read_field_by_field():
    quote = parse_quote(QUOTE)
    assert [(item.bank, item.indexes) for item in quote.selections] == [
        ("sha256", tuple(range(24))),
        ("sha384", (0, 8, 23)),
    ]
    assert (quote.clock, quote.reset_count, quote.restart_count, quote.safe) == (12345, 2, 1, True)


def test_safe_is_yes_or_no():
    with pytest.raises(Malformed):
        parse_quote(forge.attest(extra_data=b"", entries=[], digest=b"", safe=2))


def test_an_unknown_bank_is_unsupported():
    entry = b"\x00\x99\x03" + bytes(3)
    with pytest.raises(UnsupportedEvidence):
        parse_quote(forge.attest(extra_data=b"", entries=[entry], digest=b""))


def test_countless_selections_are_refused():
    data = bytearray(forge.attest(extra_data=b"", entries=[], digest=b""))
    data[-6:-2] = b"\xff\xff\xff\xff"
    with pytest.raises(Malformed):
        parse_quote(bytes(data))


def test_a_point_off_its_curve_is_refused():
    changed = bytearray(ECC.public)
    changed[-1] ^= 1
    with pytest.raises(Malformed):
        parse_public(bytes(changed))


def test_a_modulus_shorter_than_it_says_is_refused():
    changed = bytearray(RSA.public)
    changed[-256] = 0
    with pytest.raises(Malformed):
        parse_public(bytes(changed))


def test_a_small_rsa_key_is_unsupported():
    small = RSA.public[:-264] + forge.u16(1024) + bytes(4) + forge.sized(b"\xff" * 128)
    with pytest.raises(UnsupportedEvidence):
        parse_public(small)


@pytest.mark.parametrize("kind", [0x0008, 0x0025, 0x0000])
def test_keyed_hashes_and_symmetric_keys_are_unsupported(kind):
    with pytest.raises(UnsupportedEvidence):
        parse_public(forge.u16(kind) + ECC.public[2:])


def test_a_name_over_sha1_is_unsupported():
    public = parse_public(ECC.public[:2] + b"\x00\x04" + ECC.public[4:])
    with pytest.raises(UnsupportedEvidence):
        name_of(public)
