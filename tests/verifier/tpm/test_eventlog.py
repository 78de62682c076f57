"""Event logs: hostile ones first, then what a log of a real form replays to."""

from __future__ import annotations

import hashlib
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import Malformed, TooLarge, TouchstoneError
from testkit.swtpm import event_record, spec_id_record
from verifier.errors import EventLogMismatch, UnsupportedEvidence
from verifier.tpm.eventlog import MAX_EVENTS, extended_registers, parse_event_log, replay
from verifier.tpm.events import event_log_claims, measured_data

SHA256 = hashlib.sha256
GLOBAL_VARIABLE = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")


def sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def agile(pcr: int, kind: int, data: bytes, measured: bytes | None = None) -> bytes:
    return event_record(
        pcr, kind, {"sha256": SHA256(data if measured is None else measured).digest()}, data
    )


def legacy(pcr: int, kind: int, data: bytes) -> bytes:
    digest = sha1(data)
    head = pcr.to_bytes(4, "little") + kind.to_bytes(4, "little") + digest
    return head + len(data).to_bytes(4, "little") + data


def locality(value: int, pcr: int = 0) -> bytes:
    return event_record(pcr, 3, {"sha256": bytes(32)}, b"StartupLocality\x00" + bytes([value]))


HEADER = spec_id_record(["sha256"])


class TestHostileLogs:
    def test_two_digests_of_one_algorithm_in_an_event_are_refused(self):
        header = spec_id_record(["sha256", "sha384"])
        digest = (0x000B).to_bytes(2, "little") + bytes(32)
        event = bytes(8) + (2).to_bytes(4, "little") + digest * 2 + bytes(4)
        with pytest.raises(Malformed, match="two sha256"):
            parse_event_log(header + event)

    def test_a_missing_digest_is_refused(self):
        header = spec_id_record(["sha256", "sha384"])
        with pytest.raises(Malformed, match="1 digests"):
            parse_event_log(header + agile(0, 4, b"x"))

    def test_an_algorithm_outside_the_header_is_refused(self):
        event = event_record(0, 4, {"sha384": bytes(48)}, b"")
        with pytest.raises(Malformed):
            parse_event_log(HEADER + event)

    @pytest.mark.parametrize("size", [0, 20, 31, 33, 48])
    def test_a_wrong_digest_size_in_the_header_is_refused(self, size):
        changed = HEADER.replace(b"\x0b\x00\x20\x00", b"\x0b\x00" + size.to_bytes(2, "little"))
        with pytest.raises(Malformed):
            parse_event_log(changed)

    def test_an_unknown_algorithm_in_the_header_is_unsupported(self):
        with pytest.raises(UnsupportedEvidence):
            parse_event_log(HEADER.replace(b"\x0b\x00\x20\x00", b"\x99\x00\x20\x00"))

    def test_an_algorithm_named_twice_is_refused(self):
        with pytest.raises(Malformed, match="twice"):
            parse_event_log(spec_id_record(["sha256", "sha256"]))

    @pytest.mark.parametrize("count", [0, 9, 0xFFFFFFFF])
    def test_a_header_with_no_or_countless_algorithms_is_refused(self, count):
        changed = HEADER.replace(b"\x01\x00\x00\x00\x0b", count.to_bytes(4, "little") + b"\x0b")
        with pytest.raises(Malformed):
            parse_event_log(changed)

    def test_a_million_digests_are_refused_at_once(self):
        event = bytes(8) + (1_000_000).to_bytes(4, "little") + bytes(4096)
        with pytest.raises(Malformed):
            parse_event_log(HEADER + event)

    @pytest.mark.parametrize("size", [1, 0x7FFFFFFF, 0xFFFFFFFF])
    def test_an_event_size_past_the_end_is_refused_without_memory(self, size):
        event = agile(0, 4, b"")[:-4] + size.to_bytes(4, "little")
        tracemalloc.start()
        with pytest.raises(Malformed):
            parse_event_log(HEADER + event)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 20

    def test_a_hundred_megabytes_are_refused_at_once(self):
        data = bytes(100 << 20)
        started = time.monotonic()
        with pytest.raises(TooLarge):
            parse_event_log(data)
        assert time.monotonic() - started < 0.05

    def test_too_many_events_are_refused(self):
        tiny = agile(0, 4, b"")
        with pytest.raises(TooLarge):
            parse_event_log(HEADER + tiny * (MAX_EVENTS + 1))

    def test_register_markers_of_no_action_events_cost_no_quadratic_time(self):
        event = event_record(0xFFFFFFFF, 3, {"sha256": bytes(32)}, b"\xff" * 100)
        started = time.monotonic()
        log = parse_event_log(HEADER + event * 15_000)
        assert len(log.events) == 15_000
        assert time.monotonic() - started < 2

    @pytest.mark.parametrize("pcr", [24, 0xFFFFFFFF])
    def test_an_event_that_extends_no_register_is_refused(self, pcr):
        with pytest.raises(Malformed):
            parse_event_log(HEADER + agile(pcr, 4, b"x"))

    def test_type_0_register_0_is_an_event_and_no_end(self):
        log = parse_event_log(HEADER + agile(0, 0, b"certificate") + agile(0, 4, bytes(4)))
        assert len(log.events) == 2

    @pytest.mark.parametrize("tail", [b"\x00", b"\x00" * 40, b"\xff\xff\xff", b"\xff" * 40 + b"\x00", b"x"])
    def test_anything_but_padding_after_the_last_event_is_refused(self, tail):
        with pytest.raises(Malformed):
            parse_event_log(HEADER + agile(0, 4, b"x") + tail)

    def test_padding_ends_the_log(self):
        log = parse_event_log(HEADER + agile(0, 4, b"\xff\xff") + b"\xff" * 4096)
        assert len(log.events) == 1

    @pytest.mark.parametrize(
        "records",
        [
            locality(3) + locality(3),
            agile(0, 4, b"x") + locality(3),
            locality(1),
            event_record(0, 3, {"sha256": bytes(32)}, b"StartupLocality\x00"),
            event_record(0, 3, {"sha256": bytes(32)}, b"StartupLocality\x00\x03\x00"),
        ],
        ids=["twice", "late", "locality 1", "none", "long"],
    )
    def test_a_startup_locality_out_of_order_is_refused(self, records):
        with pytest.raises(EventLogMismatch):
            replay(parse_event_log(HEADER + records), "sha256")

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=400))
    def test_random_bytes_raise_only_typed_errors(self, data):
        for candidate in (data, HEADER + data):
            try:
                log = parse_event_log(candidate)
                for bank in log.banks:
                    event_log_claims(log, bank, frozenset(range(24)))
                    replay(log, bank)
            except TouchstoneError:
                pass

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_mutated_logs_raise_only_typed_errors_or_parse(self, data):
        good = bytearray(HEADER + locality(3) + agile(0, 8, b"v") + agile(4, 0xD, b"cmd: a\x00"))
        for _ in range(data.draw(st.integers(1, 4))):
            good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
        try:
            log = parse_event_log(bytes(good[: data.draw(st.integers(0, len(good)))]))
            for bank in log.banks:
                replay(log, bank)
        except TouchstoneError:
            pass


class TestReplay:
    def test_startup_locality_sets_the_first_value_of_register_0(self):
        log = parse_event_log(HEADER + locality(3) + agile(0, 4, b"x"))
        first = bytes(31) + b"\x03"
        assert replay(log, "sha256")[0] == SHA256(first + SHA256(b"x").digest()).digest()

    def test_no_action_events_are_not_extended(self):
        log = parse_event_log(HEADER + event_record(3, 3, {"sha256": SHA256(b"n").digest()}, b"n"))
        assert replay(log, "sha256")[3] == bytes(32)
        assert extended_registers(log) == frozenset()

    def test_registers_of_the_dynamic_root_start_at_all_ones(self):
        values = replay(parse_event_log(HEADER), "sha256")
        assert [index for index in values if values[index] == b"\xff" * 32] == list(range(17, 23))

    def test_a_legacy_log_is_sha1_alone(self):
        log = parse_event_log(legacy(0, 8, b"v") + legacy(0, 4, bytes(4)))
        first = sha1(bytes(20) + sha1(b"v"))
        assert replay(log, "sha1")[0] == sha1(first + sha1(bytes(4)))
        with pytest.raises(EventLogMismatch):
            replay(log, "sha256")


class TestCoveredData:
    def test_a_grub_command_is_covered_without_its_prefix_and_terminator(self):
        log = parse_event_log(HEADER + agile(8, 0xD, b"grub_cmd: linux /vmlinuz\x00", b"linux /vmlinuz"))
        assert measured_data(log.events[0], "sha256") == b"linux /vmlinuz"

    def test_a_prefix_is_never_part_of_a_claim(self):
        """The digest covers `quiet`; what stands before it is the attacker's."""
        log = parse_event_log(HEADER + agile(8, 0xD, b"signed by vendor: quiet\x00", b"quiet"))
        claims = event_log_claims(log, "sha256", frozenset({8}))
        assert [event["text"] for event in claims["events"]] == ["quiet"]

    def _variable(self, state: int) -> bytes:
        return (
            GLOBAL_VARIABLE
            + (10).to_bytes(8, "little")
            + (1).to_bytes(8, "little")
            + "SecureBoot".encode("utf-16-le")
            + bytes([state])
        )

    @pytest.mark.parametrize(
        ("records", "state"),
        [
            ([("on", 1), "separator"], True),
            ([("off", 0), "separator"], False),
            (["separator"], None),
            ([("on", 1)], None),
            (["separator", ("on", 1)], None),
            ([("off", 0), "separator", ("on", 1)], False),
        ],
    )
    def test_secure_boot_is_read_before_the_separator_alone(self, records, state):
        data = HEADER
        for record in records:
            data += (
                agile(7, 4, bytes(4))
                if record == "separator"
                else agile(7, 0x80000001, self._variable(record[1]))
            )
        claims = event_log_claims(parse_event_log(data), "sha256", frozenset({7}))
        assert claims["secure_boot"] is state

    def test_secure_boot_cannot_be_hidden_behind_another_type_or_data(self):
        """The log's type and data are rewritten; the digests stay, since they replay."""
        off, on = self._variable(0), self._variable(1)
        data = HEADER + agile(7, 0xD, b"nothing", off) + agile(7, 4, bytes(4)) + agile(7, 0x80000001, on)
        assert event_log_claims(parse_event_log(data), "sha256", frozenset({7}))["secure_boot"] is False
