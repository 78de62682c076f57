"""COSE_Sign1: the key's algorithm, the bytes received, and nothing that is not signed."""

from __future__ import annotations

import pytest
from cbor2 import CBORTag
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from common import cbor, cose
from common.errors import Malformed, TouchstoneError
from testkit.cose import cose_key, sign1

CURVES = (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())
KEYS = {curve.name: ec.generate_private_key(curve) for curve in CURVES}
KEY = KEYS["secp384r1"]


def parse(data: bytes, **options: object) -> cose.Sign1:
    return cose.parse(data, what="it", kind=cose.Sign1, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", KEYS)
def test_a_message_holds_by_its_key_alone(name: str) -> None:
    message = parse(sign1(b"payload", KEYS[name]))
    for other, key in KEYS.items():
        assert (cose.problem(message, key.public_key()) is None) == (other == name)
    stranger = ec.generate_private_key(KEYS[name].curve)
    assert cose.problem(message, stranger.public_key()) == "the signature does not verify"


def test_a_key_of_another_curve_is_no_key() -> None:
    message = parse(sign1(b"payload", KEY))
    brainpool = ec.generate_private_key(ec.BrainpoolP384R1()).public_key()
    assert "curve" in str(cose.problem(message, brainpool))


@pytest.mark.parametrize("algorithm", [-35, -51])
def test_both_names_of_an_algorithm_are_read(algorithm: int) -> None:
    assert cose.problem(parse(sign1(b"x", KEY, header={1: algorithm})), KEY.public_key()) is None


@pytest.mark.parametrize(
    "header", [{}, {1: -7}, {1: -36}, {1: "ES384"}, {1: None}, {1: -37}, {1: 5}, {4: b"key"}, {1: True}]
)
def test_a_header_that_names_another_algorithm_is_refused_though_the_key_signed(
    header: dict[int, object],
) -> None:
    message = parse(sign1(b"x", KEY, header=header))
    assert cose.problem(message, KEY.public_key()) == (
        "the protected header does not name the algorithm of the key"
    )


def test_an_algorithm_that_is_not_protected_does_not_count() -> None:
    with pytest.raises(Malformed):
        parse(sign1(b"x", KEY, header={}, unprotected={1: -35}), key_id_unprotected=True)
    assert cose.problem(parse(sign1(b"x", KEY, protected=b"")), KEY.public_key()) is not None


def test_the_header_is_verified_as_received() -> None:
    """Encoded with its members in an order that an encoder of ours would not choose."""
    protected = bytes.fromhex("a2 0441aa 013822")
    message = parse(sign1(b"x", KEY, protected=protected))
    assert message.protected == protected
    assert cose.problem(message, KEY.public_key()) is None


def test_unknown_parameters_are_signed_and_left_alone_but_critical_ones_refuse() -> None:
    message = parse(sign1(b"x", KEY, header={1: -35, 3: 99, "text": 1}))
    assert cose.problem(message, KEY.public_key()) is None
    with pytest.raises(Malformed, match="crit"):
        parse(sign1(b"x", KEY, header={1: -35, 2: [3], 3: 99}))


def test_a_key_id_may_stand_unprotected_where_the_caller_says_so() -> None:
    data = sign1(b"x", KEY, unprotected={4: b"id"})
    with pytest.raises(Malformed):
        parse(data)
    assert cose.problem(parse(data, key_id_unprotected=True), KEY.public_key()) is None
    with pytest.raises(Malformed):
        parse(sign1(b"x", KEY, unprotected={4: "id"}), key_id_unprotected=True)
    with pytest.raises(Malformed):
        parse(sign1(b"x", KEY, unprotected={4: b"id", 33: b"certificate"}), key_id_unprotected=True)


def test_the_tag_is_demanded_forbidden_or_free() -> None:
    with_tag, without = sign1(b"x", KEY), sign1(b"x", KEY, tagged=False)
    for data, tagged in ((with_tag, True), (without, False), (with_tag, None), (without, None)):
        assert parse(data, tagged=tagged).payload == b"x"
    for data, tagged in ((with_tag, False), (without, True)):
        with pytest.raises(Malformed):
            parse(data, tagged=tagged)
    with pytest.raises(Malformed):
        parse(cbor.encode(CBORTag(98, [b"", {}, b"x", []])), tagged=None)


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"", {}, b"x"],
        [b"", {}, b"x", b"", b""],
        [{}, {}, b"x", b""],
        [b"", [], b"x", b""],
        [b"", {}, None, b""],
        [b"", {}, "x", b""],
        [b"", {}, b"x", None],
        [b"\x80", {}, b"x", b""],
        [b"\xa1", {}, b"x", b""],
        [b"\xa2\x01\x01\x01\x02", {}, b"x", b""],
        {1: 2},
        5,
    ],
)
def test_what_is_no_message_is_refused(parts: object) -> None:
    with pytest.raises(TouchstoneError):
        parse(cbor.encode(CBORTag(18, parts)))


def test_signatures_of_another_length_do_not_hold() -> None:
    message = parse(sign1(b"x", KEY))
    for signature in (b"", message.signature[:-1], message.signature + b"\0", bytes(96), b"\xff" * 96):
        changed = cose.Sign1(message.protected, message.header, message.payload, signature)
        assert cose.problem(changed, KEY.public_key()) == "the signature does not verify"


def test_every_bit_counts() -> None:
    data = sign1(b"payload", KEY)
    for index in range(len(data)):
        changed = data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]
        try:
            message = parse(changed)
        except TouchstoneError:
            continue
        assert cose.problem(message, KEY.public_key()) is not None


def test_truncated_at_every_length() -> None:
    data = sign1(b"payload", KEY)
    for length in range(len(data)):
        with pytest.raises(TouchstoneError):
            parse(data[:length])
    with pytest.raises(TouchstoneError):
        parse(data + b"\0")


@pytest.mark.parametrize("name", KEYS)
def test_a_cose_key_is_read(name: str) -> None:
    public = KEYS[name].public_key()
    for more in ({}, {"label_3": cose.CURVES[name].algorithms[0]}, {"label_4": [2]}, {"label_2": b"kid"}):
        assert cose.ec_key(cose_key(public, **more), what="it") == public


@pytest.mark.parametrize(
    "more",
    [
        {"label_1": 1},
        {"label_1": "EC2"},
        {"label_m1": 1},
        {"label_m1": 8},
        {"label_m1": "P-384"},
        {"label_m2": b"short"},
        {"label_m2": 5},
        {"label_m3": True},
        {"label_m4": bytes(48)},
        {"label_3": -7},
        {"label_4": [1]},
        {"label_4": []},
        {"label_4": 2},
    ],
)
def test_a_cose_key_of_another_form_is_refused(more: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        cose.ec_key(cose_key(KEY.public_key(), **more), what="it")


def test_coordinates_that_are_no_point_are_no_key() -> None:
    assert cose.ec_key(cose_key(KEY.public_key(), label_m2=bytes(47) + b"\x05"), what="it") is None
    with pytest.raises(Malformed):
        cose.ec_key(b"\x80", what="it")


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=80), st.integers(0, 200), st.binary(min_size=1, max_size=4))
def test_any_bytes_give_a_message_or_our_error(data: bytes, at: int, patch: bytes) -> None:
    good = sign1(b"payload", KEY)
    key = cose_key(KEY.public_key())
    for candidate in (data, good[:at] + patch + good[at + len(patch) :]):
        try:
            cose.problem(parse(candidate, tagged=None, key_id_unprotected=True), KEY.public_key())
        except TouchstoneError:
            pass
    for candidate in (data, key[:at] + patch + key[at + len(patch) :]):
        try:
            cose.ec_key(candidate, what="it")
        except TouchstoneError:
            pass
