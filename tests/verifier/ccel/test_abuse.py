"""Abuse cases 26 to 28 of event logs, and hostile bytes."""

from __future__ import annotations

import tracemalloc
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import tcg_log
from common.binary import Reader
from common.checks import Checks
from common.errors import Malformed, TooLarge, TouchstoneError
from testkit.ccel import EV_IPL, CcLog, boot, header, record
from tests.fuzz.targets.ccel import TARGETS
from verifier.ccel import check_event_log
from verifier.ccel.table import parse_table
from verifier.errors import EventLogMismatch

GOLDEN = b"\x4b" * 48
EVIL = b"\x66" * 48


def check(data, log=None):
    registers = (log or boot()).registers
    return check_event_log(data, registers, algorithm=(log or boot()).banks[0], checks=Checks(), name="t")


# 26: truncated, reordered, an event of an unquoted register, two digests of one hash, wrong digest sizes


def test_26_a_log_that_is_cut_at_any_byte_is_refused():
    log = boot()
    whole = log.data()
    assert check(whole)
    for size in range(len(whole)):
        with pytest.raises((Malformed, EventLogMismatch)):
            check(whole[:size])


def test_26_reordered_events_are_refused():
    log = boot()
    log.records[0], log.records[1] = log.records[1], log.records[0]
    with pytest.raises(EventLogMismatch):
        check(log.data())


@pytest.mark.parametrize("index", range(8))
def test_26_a_dropped_or_doubled_event_is_refused(index):
    log = boot()
    event = log.records.pop(index)
    with pytest.raises(EventLogMismatch):
        check(log.data())
    log.records[index:index] = [event, event]
    with pytest.raises(EventLogMismatch):
        check(log.data())


@pytest.mark.parametrize("index", [0, 5, 23, 24, 0xFFFFFFFF])
def test_26_an_event_of_a_register_that_is_not_quoted_is_refused(index):
    log = boot()
    data = log.data() + record(index, EV_IPL, {"sha384": bytes(48)}, b"x")
    with pytest.raises((EventLogMismatch, Malformed)):
        check(data)


def test_26_an_event_of_a_register_that_the_caller_does_not_give_is_refused():
    log = boot()
    with pytest.raises(EventLogMismatch, match="not quoted"):
        check_event_log(
            log.data(),
            {1: log.registers[1], 2: log.registers[2]},
            algorithm="sha384",
            checks=Checks(),
            name="t",
        )


def test_26_two_digests_of_one_hash_are_refused():
    event = (3).to_bytes(4, "little") + EV_IPL.to_bytes(4, "little") + (2).to_bytes(4, "little")
    event += (b"\x0c\x00" + bytes(48)) * 2 + bytes(4)
    with pytest.raises(Malformed, match="2 digests"):
        check(boot().data() + event)
    double = header(("sha384", "sha256")) + event
    with pytest.raises(Malformed, match="two sha384"):
        check(double)


@pytest.mark.parametrize("size", [0, 20, 32, 47, 49, 64, 0xFFFF])
def test_26_wrong_digest_sizes_in_the_header_are_refused(size):
    data = boot().data().replace(b"\x0c\x00\x30\x00", b"\x0c\x00" + size.to_bytes(2, "little"), 1)
    with pytest.raises(Malformed, match="48"):
        check(data)


def test_26_one_hash_twice_in_the_header_is_refused():
    with pytest.raises(Malformed, match="twice"):
        check(header(("sha384", "sha384")) + boot().records[0])


# 27: words beside a digest that they have nothing to do with


def test_27_a_golden_name_beside_another_digest_names_no_kernel():
    log = boot(kernel=EVIL)
    claims = check(log.data(), log)
    assert claims["event_log"]["images"] == [EVIL.hex()]
    assert all(entry["details"].get("device_paths") is None for entry in claims["uefi_event_logs"])


def test_27_a_golden_digest_in_a_register_of_the_guest_is_no_kernel():
    log = boot(kernel=EVIL)
    path = bytes(32) + "File(kernel)".encode("utf-16-le")
    log.add(4, 0x80000003, path, digest=GOLDEN)
    log.add(3, 0x80000003, path, digest=GOLDEN)
    assert check(log.data(), log)["event_log"]["images"] == [EVIL.hex()]


def test_27_a_golden_digest_that_an_operating_system_adds_does_not_remove_its_own():
    log = boot(kernel=EVIL)
    log.image(GOLDEN, "kernel")
    claims = check(log.data(), log)
    assert claims["event_log"]["images"] == [EVIL.hex()]
    assert claims["uefi_event_logs"][-1]["phase"] == "after-exit-boot-services"


def test_27_a_golden_command_line_beside_another_digest_is_not_read():
    log = boot()
    log.add(3, EV_IPL, b"grub_cmd: linux /golden ro\x00", digest=EVIL)
    entry = check(log.data(), log)["uefi_event_logs"][-1]
    assert entry["digest_matches_event"] is False
    assert entry["details"] == {}
    assert "measured" not in entry


# 28: sizes. What is asserted is work: reads of the parser, and memory.


class _Counted:
    """Counts the reads of a parser."""

    def __init__(self):
        self.reads = 0

    def __enter__(self):
        take = Reader.take

        def counted(reader, count, field):
            self.reads += 1
            return take(reader, count, field)

        self._patch = patch.object(Reader, "take", counted)
        self._patch.start()
        return self

    def __exit__(self, *_exception):
        self._patch.stop()


def _peak(data, error):
    tracemalloc.start()
    try:
        with pytest.raises(error), _Counted() as counted:
            check(data)
        return counted.reads, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF])
def test_28_an_event_size_near_4_gib_reads_and_allocates_nothing(size):
    event = (3).to_bytes(4, "little") + EV_IPL.to_bytes(4, "little") + (1).to_bytes(4, "little")
    event += b"\x0c\x00" + bytes(48) + size.to_bytes(4, "little")
    reads, peak = _peak(boot().data() + event, Malformed)
    assert reads < 200
    assert peak < 1 << 20


@pytest.mark.parametrize("count", [0, 2, 1_000_000, 0xFFFFFFFF])
def test_28_a_million_digests_are_refused_before_the_first(count):
    event = (3).to_bytes(4, "little") + EV_IPL.to_bytes(4, "little") + count.to_bytes(4, "little")
    data = boot().data() + event + b"\x0c\x00" * 1_000_000
    reads, peak = _peak(data, Malformed)
    assert reads < 200
    assert peak < 2 * len(data) + (1 << 20)


def test_28_a_hundred_mebibytes_are_refused_unread():
    data = bytes(100 << 20)
    reads, peak = _peak(data, TooLarge)
    assert reads == 0
    assert peak < 1 << 20


def test_28_more_events_than_the_limit_are_refused_at_the_limit():
    log = CcLog("sha256")
    event = record(3, EV_IPL, {"sha256": bytes(32)}, b"")
    data = log.data() + event * 80_000
    assert len(data) < tcg_log.MAX_LOG_BYTES
    reads, peak = _peak(data, TooLarge)
    assert reads < 7 * (tcg_log.MAX_EVENTS + 10)
    assert peak < 32 << 20


def test_28_a_header_of_many_algorithms_is_refused():
    body = b"Spec ID Event03\x00" + bytes(8) + (0xFFFFFFFF).to_bytes(4, "little")
    data = bytes(4) + (3).to_bytes(4, "little") + bytes(20) + len(body).to_bytes(4, "little") + body
    reads, _ = _peak(data, Malformed)
    assert reads < 20


# Any bytes


@pytest.mark.parametrize("target", TARGETS)
@given(data=st.binary(max_size=400))
@settings(max_examples=100, deadline=None)
def test_hostile_bytes_raise_typed_errors_alone(target, data):
    TARGETS[target](data)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_flipped_bit_is_refused_or_hides_nothing_that_a_digest_covers(draw):
    log = boot()
    data = bytearray(log.data(b"\xff" * 16))
    at = draw.draw(st.integers(0, len(data) * 8 - 1))
    data[at // 8] ^= 1 << at % 8
    try:
        claims = check(bytes(data), log)
    except TouchstoneError:
        return
    assert GOLDEN.hex() in claims["event_log"]["images"]
    assert claims["event_log"]["secure_boot"] is True
    assert claims["event_log"]["exit_boot_services"] is True


@given(
    events=st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from([3, 4, 6, 13, 0x80000001, 0x80000002]), st.binary()),
        max_size=6,
    )
)
@settings(max_examples=100, deadline=None)
def test_made_logs_raise_typed_errors_alone(events):
    log = CcLog()
    for index, kind, data in events:
        log.add(index, kind, data)
    try:
        claims = check(log.data(), log)
    except TouchstoneError:
        assert (
            not events
            or any(index not in log.registers for index, _, _ in events)
            or all(kind == 3 for _, kind, _ in events)
        )
    else:
        assert claims["event_log"]["unexplained"] == []


def _table(**changes):
    fields = {
        "signature": b"CCEL",
        "length": (56).to_bytes(4, "little"),
        "revision": b"\x01",
        "checksum": b"\x00",
        "oem_id": b"OEM   ",
        "oem_table": b"TABLE   ",
        "rest": bytes(12),
        "type": b"\x02\x00\x00\x00",
        "area": (65536).to_bytes(8, "little") + (1 << 30).to_bytes(8, "little"),
    } | changes
    data = bytearray(b"".join(fields.values()))
    if "checksum" not in changes and len(data) > 9:
        data[9] = -sum(data) % 256
    return bytes(data)


def test_a_table_is_read():
    assert parse_table(_table()).log_area_bytes == 65536


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": b"APIC"},
        {"length": (55).to_bytes(4, "little")},
        {"checksum": b"\x00"},
        {"oem_id": b"\xff\xff\xff\xff\xff\xff"},
        {"area": b""},
        {"area": bytes(17)},
    ],
)
def test_a_table_that_is_none_is_refused(changes):
    with pytest.raises(Malformed):
        parse_table(_table(**changes))
