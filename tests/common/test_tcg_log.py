"""TCG event logs for whoever is not a verifier: the same parser, with errors of its own."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import Malformed, TouchstoneError
from common.tcg_log import (
    HashUnknown,
    LogContradiction,
    extended_registers,
    parse_event_log,
    replay,
    replay_from,
)
from testkit.swtpm import event_record, spec_id_record

HEADER = spec_id_record(["sha256"])


def _record(pcr: int, data: bytes) -> bytes:
    return event_record(pcr, 4, {"sha256": hashlib.sha256(data).digest()}, data)


def test_an_unknown_hash_is_named() -> None:
    with pytest.raises(HashUnknown, match="0x0099"):
        parse_event_log(HEADER.replace(b"\x0b\x00\x20\x00", b"\x99\x00\x20\x00"))


def test_a_bank_that_the_log_lacks_is_not_replayed() -> None:
    with pytest.raises(LogContradiction, match="sha384"):
        replay(parse_event_log(HEADER + _record(4, b"x")), "sha384")


def test_a_hash_without_an_implementation_is_not_replayed() -> None:
    log = parse_event_log(spec_id_record(["sha256"]).replace(b"\x0b\x00\x20\x00", b"\x27\x00\x20\x00"))
    assert log.banks == ("sha3_256",)
    with pytest.raises(HashUnknown, match="sha3_256"):
        replay(log, "sha3_256")


def test_registers_that_are_given_are_replayed_from_their_values_and_no_others() -> None:
    log = parse_event_log(HEADER + _record(4, b"one"))
    digest = hashlib.sha256(b"one").digest()
    start = b"\x07" * 32
    assert replay_from(log, "sha256", {4: start, 1: start}) == {
        4: hashlib.sha256(start + digest).digest(),
        1: start,
    }
    with pytest.raises(LogContradiction, match="register 4"):
        replay_from(log, "sha256", {1: start})


def test_sm3_is_replayed() -> None:
    header = spec_id_record(["sha256"]).replace(b"\x0b\x00\x20\x00", b"\x12\x00\x20\x00")
    record = _record(4, b"one").replace(b"\x0b\x00", b"\x12\x00", 1)
    # SM3 of 32 zero bytes and SHA-256("one"), by OpenSSL.
    expected = hashlib.new("sm3", bytes(32) + hashlib.sha256(b"one").digest()).digest()
    assert replay(parse_event_log(header + record), "sm3_256")[4] == expected


def test_two_starting_localities_contradict_each_other() -> None:
    locality = event_record(0, 3, {"sha256": bytes(32)}, b"StartupLocality\x00\x03")
    with pytest.raises(LogContradiction):
        replay(parse_event_log(HEADER + locality * 2), "sha256")


def test_an_empty_log_is_malformed() -> None:
    with pytest.raises(Malformed):
        parse_event_log(b"")


def test_registers_are_extended_in_order() -> None:
    log = parse_event_log(HEADER + _record(4, b"one") + _record(4, b"two"))
    one = hashlib.sha256(bytes(32) + hashlib.sha256(b"one").digest()).digest()
    assert replay(log, "sha256")[4] == hashlib.sha256(one + hashlib.sha256(b"two").digest()).digest()
    assert extended_registers(log) == {4}


@given(data=st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_foreign_bytes_raise_typed_errors_alone(data: bytes) -> None:
    for log in (data, HEADER + data):
        try:
            replay(parse_event_log(log), "sha256")
        except TouchstoneError:
            pass


def test_zeros_after_a_log_are_padding_only_where_the_caller_says_so() -> None:
    log = HEADER + _record(4, b"x\x00\x00")
    with pytest.raises(Malformed):
        parse_event_log(log + bytes(64))
    assert parse_event_log(log + bytes(64), zero_tail=True) == parse_event_log(log)
    assert parse_event_log(log).end == len(log)
    with pytest.raises(Malformed):
        parse_event_log(log + bytes(64) + b"\x01", zero_tail=True)
