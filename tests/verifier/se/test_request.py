"""Requests, headers and sealed challenges: what is built is read back, what is altered is refused."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidSetting, Malformed, TooLarge, TouchstoneError
from testkit.se_host import TAGS, image_header
from tests.verifier.se.conftest import NOW, SEAL, World
from verifier.errors import NonceUnknown, UnsupportedEvidence
from verifier.se.challenge import OpenedRequest, make_challenge, open_sealed, seal
from verifier.se.header import parse_header, parse_tags
from verifier.se.host_key import host_key_hash
from verifier.se.request import (
    FLAG_ATTESTATION_PHKH,
    FLAG_FIRMWARE,
    FLAG_IMAGE_PHKH,
    FLAG_NONCE,
    FLAG_SECRET_STORE,
    RequestSecrets,
    build_request,
    open_request,
    parse_request,
)
from verifier.se.response import parse_additional

HOSTS = [ec.generate_private_key(ec.SECP521R1()) for _ in range(3)]
PUBLIC = [key.public_key() for key in HOSTS]
SECRETS = RequestSecrets(
    measurement_key=bytes([0x77]) * 64,
    nonce=bytes([0xAB]) * 16,
    protection_key=bytes([0x17]) * 32,
    iv=bytes([0x55]) * 12,
    customer_key=ec.generate_private_key(ec.SECP521R1()),
)
FLAGS = FLAG_NONCE | FLAG_IMAGE_PHKH | FLAG_ATTESTATION_PHKH
REQUEST = build_request(FLAGS, PUBLIC, SECRETS)
LIFETIME = timedelta(minutes=15)
OPENED = OpenedRequest(bytes([1]) * 64, bytes([2]) * 16, FLAGS, NOW)


def test_a_request_reads_back_for_every_host_key() -> None:
    request = parse_request(REQUEST)
    assert request.flags == FLAGS
    assert [slot.host_key_hash for slot in request.slots] == [host_key_hash(key) for key in PUBLIC]
    assert open_request(request, SECRETS.protection_key) == (SECRETS.measurement_key, SECRETS.nonce)
    assert len(REQUEST) == 0xE0 + 3 * 80 + 80 + 16


def test_a_request_does_not_open_with_another_key_or_altered() -> None:
    with pytest.raises(Malformed):
        open_request(parse_request(REQUEST), bytes(32))
    for position in (0x10, 0x33, 0x50, 0xE5, len(REQUEST) - 1):
        altered = bytearray(REQUEST)
        altered[position] ^= 1
        with pytest.raises(TouchstoneError):
            open_request(parse_request(bytes(altered)), SECRETS.protection_key)


@pytest.mark.parametrize(
    ("position", "value", "error"),
    [
        (0x00, 1, UnsupportedEvidence),
        (0x0A, 2, UnsupportedEvidence),
        (0x0F, 0, Malformed),
        (0x1C, 1, Malformed),
        (0x20, 1, Malformed),
        (0x27, 0, Malformed),
        (0x27, 4, Malformed),
        (0x28, 1, Malformed),
        (0x2F, 1, Malformed),
        (0x30, 0xFF, UnsupportedEvidence),
        (0x3B, 2, UnsupportedEvidence),
        (0x3F, 1, Malformed),
    ],
)
def test_fields_of_a_request(position: int, value: int, error: type[TouchstoneError]) -> None:
    altered = bytearray(REQUEST)
    altered[position] = value
    with pytest.raises(error):
        parse_request(bytes(altered))


def test_requests_of_every_other_length_are_refused() -> None:
    for size in range(len(REQUEST)):
        with pytest.raises(Malformed):
            parse_request(REQUEST[:size])
    with pytest.raises(Malformed):
        parse_request(REQUEST + b"\0")
    with pytest.raises(TooLarge):
        parse_request(bytes((64 << 10) + 1))


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": b""},
        {"measurement_key": bytes(32)},
        {"customer_key": ec.generate_private_key(ec.SECP256R1())},
    ],
)
def test_secrets_have_their_sizes(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        build_request(FLAGS, PUBLIC, msgspec.structs.replace(SECRETS, **changes))


@pytest.mark.parametrize(
    ("flags", "keys"), [(FLAGS, []), (FLAGS, PUBLIC * 86), (FLAGS | 1, PUBLIC), (0, PUBLIC)]
)
def test_a_request_has_host_keys_and_known_flags(flags: int, keys: list[Any]) -> None:
    with pytest.raises(InvalidSetting):
        build_request(flags, keys, SECRETS)


def test_a_challenge_has_the_members_that_guests_read(world: World) -> None:
    tags = parse_tags(TAGS)
    flags = FLAGS | FLAG_SECRET_STORE | FLAG_FIRMWARE
    document = json.loads(make_challenge(SEAL, flags, [world.host.key.public_key()], tags, NOW))
    assert document["measurement_size"] == 64
    assert document["additional_size"] == 32 + 32 + 64 + 320
    assert base64.b64decode(document["image_hdr_tags"]) == TAGS
    request = parse_request(base64.b64decode(document["request_blob"]))
    assert request.slots[0].host_key_hash == world.host.phkh
    sealed = [base64.b64decode(document[name]) for name in ("encr_measurement_key", "encr_request_nonce")]
    opened = open_sealed(SEAL, sealed[0], sealed[1], LIFETIME, NOW)
    assert opened.flags == flags
    assert opened.measurement_key not in b"".join(sealed)


def test_what_was_sealed_opens_within_its_lifetime_alone() -> None:
    key, nonce = seal(SEAL, OPENED)
    for moment in (NOW - timedelta(minutes=4), NOW, NOW + LIFETIME):
        assert open_sealed(SEAL, key, nonce, LIFETIME, moment) == OPENED
    for moment in (NOW - timedelta(minutes=6), NOW + LIFETIME + timedelta(seconds=1)):
        with pytest.raises(NonceUnknown):
            open_sealed(SEAL, key, nonce, LIFETIME, moment)


def test_what_we_did_not_seal_does_not_open() -> None:
    key, nonce = seal(SEAL, OPENED)
    other = seal(SEAL, msgspec.structs.replace(OPENED, nonce=bytes(16)))
    pairs = [(nonce, key), (key, key), (nonce, nonce), (key, other[1]), (other[0], nonce)]
    pairs += [(b"", nonce), (key, b""), (b"\x01", nonce), (b"\x02" + key[1:], nonce), (key[:-1], nonce)]
    pairs.append(seal(bytes(32), OPENED))
    for one, two in pairs:
        with pytest.raises(NonceUnknown):
            open_sealed(SEAL, one, two, LIFETIME, NOW)
    for position in range(len(key)):
        altered = bytearray(key)
        altered[position] ^= 1
        with pytest.raises(NonceUnknown):
            open_sealed(SEAL, bytes(altered), nonce, LIFETIME, NOW)
    with pytest.raises(InvalidSetting):
        open_sealed(b"short", key, nonce, LIFETIME, NOW)


def test_two_seals_of_one_request_differ() -> None:
    assert seal(SEAL, OPENED) != seal(SEAL, OPENED)


def test_headers_give_tags_and_whether_dumps_are_allowed() -> None:
    plain, dumps = parse_header(image_header()), parse_header(image_header(dumps=True))
    assert plain.tags.raw == dumps.tags.raw == TAGS
    assert (plain.dump_allowed, dumps.dump_allowed) == (False, True)


def test_headers_that_are_none() -> None:
    data = image_header()
    for size in range(len(data)):
        with pytest.raises(Malformed):
            parse_header(data[:size])
    with pytest.raises(Malformed):
        parse_header(data + b"\0")
    with pytest.raises(UnsupportedEvidence):
        parse_header(image_header(version=0x200))
    with pytest.raises(TooLarge):
        parse_header(bytes((1 << 20) + 1))
    for size in (0, 207, 209):
        with pytest.raises(Malformed):
            parse_tags(bytes(size))


def test_additional_data_is_what_was_asked_for() -> None:
    data = b"".join(bytes([place]) * size for place, size in enumerate((32, 32, 64, 320)))
    everything = FLAG_IMAGE_PHKH | FLAG_ATTESTATION_PHKH | FLAG_SECRET_STORE | FLAG_FIRMWARE
    found = parse_additional(data, everything)
    assert (found.image_phkh, found.attestation_phkh) == (bytes(32), bytes([1]) * 32)
    assert (found.secret_store, found.firmware) == (bytes([2]) * 64, bytes([3]) * 320)
    assert parse_additional(data[32:64], FLAG_ATTESTATION_PHKH).attestation_phkh == bytes([1]) * 32
    for wrong in (data[:-1], data + b"\0", b""):
        with pytest.raises(Malformed):
            parse_additional(wrong, everything)


@given(data=st.binary(max_size=600), position=st.integers(0, 600))
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_a_value_or_a_typed_error(data: bytes, position: int) -> None:
    header = image_header()
    for whole in (REQUEST, header):
        place = position % len(whole)
        candidate = whole[:place] + data + whole[place + len(data) :]
        for parse in (parse_request, parse_header, parse_tags, lambda item: parse_additional(item, FLAGS)):
            for item in (data, candidate):
                try:
                    parse(item)
                except TouchstoneError:
                    continue
