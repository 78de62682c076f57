"""The agent's event log: words that cannot be read two ways, digests that cover them, real logs."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import aael
from common.aael import LogicalEvent
from common.errors import InputError, Malformed, TooLarge
from common.tcg_log import parse_event_log, replay

PULL = LogicalEvent("github.com/confidential-containers", "PullImage", '{"image": "a", "digest": "b"}')


def test_a_record_is_what_the_specification_draws():
    record = aael.encode(LogicalEvent("d", "o", "c"), register=4, algorithm="sha384")
    tagged = b"LEAA" + (5).to_bytes(4, "little") + b"d o c"
    assert record == (
        b"\x04\0\0\0" b"\x06\0\0\0" b"\x01\0\0\0" b"\x0c\0"
        + hashlib.sha384(tagged).digest() + b"\x0d\0\0\0" + tagged
    )  # fmt: skip


def test_real_entries_decode_and_replay(vectors):
    path = vectors / "evidence" / "eventlog-ccel" / "trustee-aael-alibaba" / "ccel_data.dat"
    log = parse_event_log(path.read_bytes())
    found = [(e.pcr, aael.decode(e.data), e.digests["sha384"]) for e in log.events if aael.decode(e.data)]
    assert [event.content for _, event, _ in found] == [
        "some-content",
        '{"key": "value", "nested-key": {"sub-key": "value"}}',
    ]
    for register, event, digest in found:
        assert register == 4
        assert event.domain == "coco.com"
        assert aael.digest(event, "sha384") == digest
        assert aael.encode(event, register=4, algorithm="sha384") in path.read_bytes()
    assert replay(log, "sha384")[4].hex().startswith("5e4ecd49d3c7983d")
    assert log.end == 11707


@pytest.mark.parametrize("case", ["gcp", "grub", "ovmf", "tdshim", "csv-sm3"])
def test_the_end_of_a_real_log_is_where_records_may_follow(vectors, case):
    folder = vectors / "evidence" / "eventlog-ccel" / f"trustee-{case}"
    data = (folder / "ccel_data.dat").read_bytes()
    log = parse_event_log(data, zero_tail=True)
    algorithm = "sm3" if log.banks == ("sm3_256",) else "sha384"
    entry = aael.encode(PULL, register=4, algorithm=algorithm)
    longer = parse_event_log(data[: log.end] + entry)
    assert longer.events == (*log.events, longer.events[-1])
    assert aael.decode(longer.events[-1].data) == PULL
    assert set(data[log.end :]) <= ({0xFF} if case != "tdshim" else {0})


@pytest.mark.parametrize(
    "event",
    [
        LogicalEvent("", "o", "c"),
        LogicalEvent("d", "", "c"),
        LogicalEvent("d x", "o", "c"),
        LogicalEvent("d", "o p", "c"),
        LogicalEvent("d\n", "o", "c"),
        LogicalEvent("d", "o\t", "c"),
        LogicalEvent("d", "o", "c\nd o forged"),
        LogicalEvent("d", "o", "c\r"),
        LogicalEvent("d", "o", "c\0"),
        LogicalEvent("d", "o", "\ud800"),
    ],
)
def test_words_that_could_be_read_two_ways_are_refused(event):
    with pytest.raises(Malformed):
        aael.tagged(event)


def test_an_event_has_a_limit():
    with pytest.raises(TooLarge):
        aael.tagged(LogicalEvent("d", "o", "x" * 65536))


def test_content_may_have_spaces_and_may_be_empty():
    for content in ("", " ", "two  spaces "):
        event = LogicalEvent("d", "o", content)
        assert aael.decode(aael.tagged(event)) == event


@pytest.mark.parametrize(
    "data",
    [
        b"LEAA",
        b"LEAA\x05\0\0\0d o",
        b"LEAA\x03\0\0\0d o c",
        b"LEAA\x03\0\0\0d o",
        b"LEAA\x05\0\0\0d o\xff\xff",
        b"LEAA\x05\0\0\0d\0o c",
        b"LEAA\x04\0\0\0 o c",
    ],
)
def test_a_false_event_is_malformed(data):
    with pytest.raises(Malformed):
        aael.decode(data)


@pytest.mark.parametrize("data", [b"", b"AAEL", b"grub_cmd: linux", b"\0" * 40])
def test_other_data_are_no_event(data):
    assert aael.decode(data) is None


@given(st.binary(max_size=200))
def test_foreign_bytes_raise_typed_errors_alone(data):
    for prefix in (b"", b"LEAA"):
        try:
            aael.decode(prefix + data)
            aael.parse_log(prefix + data, "sha256")
        except InputError:
            continue


class TestLog:
    def entry(self, content: str, register: int = 17, algorithm: str = "sha256") -> bytes:
        return aael.encode(LogicalEvent("d", "o", content), register=register, algorithm=algorithm)

    @pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512", "sm3"])
    def test_a_log_replays(self, algorithm):
        data = self.entry("1", algorithm=algorithm) + self.entry("2", 16, algorithm=algorithm)
        events = aael.parse_log(data, algorithm)
        assert [aael.decode(event.data).content for event in events] == ["1", "2"]
        values = aael.replay(events, algorithm, {})
        assert sorted(values) == [16, 17]
        assert values[16] != values[17]

    @pytest.mark.parametrize("cut", [1, 4, 20, 60])
    def test_a_log_cut_short_is_malformed(self, cut):
        data = self.entry("1") + self.entry("2")
        with pytest.raises(Malformed):
            aael.parse_log(data[:-cut], "sha256")

    def test_a_changed_word_is_found(self):
        with pytest.raises(Malformed, match="digest"):
            aael.parse_log(self.entry("good").replace(b"good", b"evil"), "sha256")

    def test_another_hash_is_refused(self):
        with pytest.raises(Malformed):
            aael.parse_log(self.entry("1"), "sm3")

    def test_a_log_has_a_limit(self):
        with pytest.raises(TooLarge):
            aael.parse_log(bytes(aael.MAX_LOG_BYTES + 1), "sha256")
