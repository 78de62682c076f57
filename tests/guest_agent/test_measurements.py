"""Runtime measurements: what is logged explains what was extended, whatever happens in between."""

from __future__ import annotations

import hashlib
import threading

import pytest

from common import aael
from common.errors import Malformed, TouchstoneError
from guest_agent.attesters.vtpm import Vtpm
from guest_agent.coco import ccmr
from guest_agent.coco.csv import CsvAttester
from guest_agent.coco.sample import SampleAttester
from guest_agent.coco.tdx import TdxAttester
from guest_agent.coco.tpm import TpmCocoAttester
from guest_agent.errors import EventLogBroken, EvidenceNotMade, RuntimeRegisterInvalid
from guest_agent.measurements import Result, RuntimeMeasurements
from testkit.swtpm import SwTpm
from tests.components import require_swtpm

PULL = ("github.com/confidential-containers", "PullImage", '{"image": "a", "digest": "b"}')
FOLDER = "sys/devices/virtual/misc/tdx_guest/measurements"


class Rtmrs:
    """RTMRs as the kernel shows them: a write extends, a read gives the value."""

    algorithm = "sha384"

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.values = {register: bytes(48) for register in range(1, 5)}
        self.crash: str | None = None

    def register_of(self, pcr: int) -> int:
        return ccmr.register_of(pcr)

    def read(self, register: int) -> bytes:
        return self.values[register]

    def extend(self, register: int, digest: bytes) -> None:
        if self.crash == "before":
            raise EvidenceNotMade("crashed before the register was extended")
        self.values[register] = hashlib.sha384(self.values[register] + digest).digest()
        if self.crash == "after":
            raise EvidenceNotMade("crashed after the register was extended")


class Guest(SampleAttester):
    def __init__(self) -> None:
        super().__init__("tdx")
        self.rtmrs = Rtmrs()

    @property
    def registers(self):
        return self.rtmrs


@pytest.fixture
def guest():
    return Guest()


@pytest.fixture
def log(tmp_path):
    return tmp_path / "attestation-agent" / "eventlog"


def measuring(guest, log, **changes) -> RuntimeMeasurements:
    return RuntimeMeasurements(guest, **({"enabled": True, "log": log} | changes))


def assert_explained(guest, log) -> list[str]:
    """The log replays to the registers; the contents in order."""
    events = aael.parse_log(log.read_bytes(), "sha384") if log.exists() else ()
    values = aael.replay(events, "sha384", {register: bytes(48) for register in range(1, 5)})
    assert values == guest.rtmrs.values
    assert not log.with_name(".wal_event_entry").exists()
    return [aael.decode(event.data).content for event in events]


def test_off_is_told(guest, log):
    assert RuntimeMeasurements(guest, log=log).extend(*PULL) is Result.NOT_ENABLED
    assert not log.exists()


def test_a_tee_without_registers_is_told(log):
    assert measuring(SampleAttester(), log).extend(*PULL) is Result.NOT_SUPPORTED


def test_the_log_replays(guest, log):
    measurements = measuring(guest, log)
    for index in range(5):
        assert measurements.extend("d", "o", str(index)) is Result.OK
    assert assert_explained(guest, log) == ["0", "1", "2", "3", "4"]
    assert guest.rtmrs.values[4] != bytes(48)
    assert guest.rtmrs.values[3] == bytes(48)


@pytest.mark.parametrize(
    ("pcr", "register"), [(1, 1), (7, 1), (4, 2), (8, 3), (15, 3), (16, 4), (23, 4), (None, 4)]
)
def test_the_register_that_was_extended_is_the_one_that_is_logged(guest, log, pcr, register):
    """The reference logs the configured register and extends the one asked for: its log does not replay."""
    measuring(guest, log).extend(*PULL, register_index=pcr)
    (event,) = aael.parse_log(log.read_bytes(), "sha384")
    assert event.pcr == register
    assert guest.rtmrs.values[register] != bytes(48)
    assert_explained(guest, log)


@pytest.mark.parametrize("pcr", [0, 24, -1, 2**64 - 1])
def test_a_register_that_is_none_changes_nothing(guest, log, pcr):
    with pytest.raises(RuntimeRegisterInvalid):
        measuring(guest, log).extend(*PULL, register_index=pcr)
    assert_explained(guest, log)


def test_a_default_register_that_is_none_is_told_at_the_start(guest, log):
    with pytest.raises(RuntimeRegisterInvalid):
        measuring(guest, log, default_register=0)


@pytest.mark.parametrize(
    "event",
    [("a b", "o", "c"), ("", "o", "c"), ("d", "o p", "c"), ("d", "o", "c\nd o forged"), ("d\n", "o", "c")],
)
def test_words_that_could_be_read_two_ways_change_nothing(guest, log, event):
    with pytest.raises(Malformed):
        measuring(guest, log).extend(*event)
    assert guest.rtmrs.values == {register: bytes(48) for register in range(1, 5)}
    assert_explained(guest, log)


class TestCrash:
    """After each step; the next start, or the next event, settles it."""

    @pytest.mark.parametrize("restarted", [True, False])
    @pytest.mark.parametrize(("crash", "kept"), [("before", ["1", "3"]), ("after", ["1", "2", "3"])])
    def test_around_the_register(self, guest, log, crash, kept, restarted):
        measurements = measuring(guest, log)
        measurements.extend("d", "o", "1")
        guest.rtmrs.crash = crash
        with pytest.raises(EvidenceNotMade):
            measurements.extend("d", "o", "2")
        guest.rtmrs.crash = None
        assert log.with_name(".wal_event_entry").exists()
        if restarted:
            measurements = measuring(guest, log)
            assert assert_explained(guest, log) == kept[:-1]
        measurements.extend("d", "o", "3")
        assert assert_explained(guest, log) == kept

    @pytest.mark.parametrize("written", [1, 20, 60, -1])
    def test_in_the_middle_of_the_log(self, guest, log, written):
        measurements = measuring(guest, log)
        measurements.extend("d", "o", "1")
        guest.rtmrs.crash = "after"
        with pytest.raises(EvidenceNotMade):
            measurements.extend("d", "o", "2")
        record = aael.encode(aael.LogicalEvent("d", "o", "2"), register=4, algorithm="sha384")
        with log.open("ab") as file:
            file.write(record[:written])
        guest.rtmrs.crash = None
        measuring(guest, log)
        assert assert_explained(guest, log) == ["1", "2"]

    def test_after_the_log(self, guest, log, monkeypatch):
        measurements = measuring(guest, log)
        pending = log.with_name(".wal_event_entry")
        monkeypatch.setattr("pathlib.Path.unlink", lambda *_args, **_kwargs: None)
        measurements.extend("d", "o", "1")
        monkeypatch.undo()
        assert pending.exists()
        measuring(guest, log)
        assert assert_explained(guest, log) == ["1"]

    def test_another_writer_of_the_register_is_told(self, guest, log):
        measurements = measuring(guest, log)
        guest.rtmrs.crash = "after"
        with pytest.raises(EvidenceNotMade):
            measurements.extend(*PULL)
        guest.rtmrs.crash = None
        guest.rtmrs.extend(4, bytes(48))
        for again in (lambda: measuring(guest, log), lambda: measurements.extend(*PULL)):
            with pytest.raises(EventLogBroken):
                again()


@pytest.mark.parametrize("content", [b"x", b"\0" * 100])
def test_a_log_that_was_changed_is_told(guest, log, content):
    measurements = measuring(guest, log)
    measurements.extend(*PULL)
    log.write_bytes(log.read_bytes() + content)
    with pytest.raises(EventLogBroken):
        measurements.extend(*PULL)
    with pytest.raises(EventLogBroken):
        measuring(guest, log)


def test_a_pending_record_that_is_none_is_told(guest, log):
    measuring(guest, log)
    log.with_name(".wal_event_entry").write_bytes(b"{")
    with pytest.raises(EventLogBroken):
        measuring(guest, log)


def test_a_full_log_extends_nothing(guest, log, monkeypatch):
    measurements = measuring(guest, log)
    monkeypatch.setattr(aael, "MAX_LOG_BYTES", 150)
    measurements.extend("d", "o", "c")
    with pytest.raises(EventLogBroken, match="full"):
        measurements.extend("d", "o", "c")
    assert_explained(guest, log)


def test_a_folder_that_cannot_be_written_is_told(guest, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EventLogBroken):
        measuring(guest, tmp_path / "file" / "eventlog")


def test_many_threads_and_two_agents_keep_one_log(guest, log):
    agents = [measuring(guest, log), measuring(guest, log)]
    errors = []

    def work(agent, name):
        try:
            for index in range(5):
                agent.extend("d", "o", f"{name}-{index}", register_index=8 + index % 10)
        except TouchstoneError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(agents[n % 2], n)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(assert_explained(guest, log)) == 30


def test_a_real_rtmr_file_is_written_with_the_digest(tmp_path):
    """The kernel's files, which a plain file system does not extend: what is written is the digest."""
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    (folder / "rtmr3:sha384").write_bytes(bytes(48))
    attester = TdxAttester(tmp_path)
    log = tmp_path / "run/attestation-agent/eventlog"
    assert RuntimeMeasurements(attester, enabled=True, log=log).extend(*PULL) is Result.OK
    (event,) = aael.parse_log(log.read_bytes(), "sha384")
    assert (folder / "rtmr3:sha384").read_bytes() == event.digests["sha384"]


def test_csv_logs_sm3(tmp_path):
    assert CsvAttester(tmp_path).registers.algorithm == "sm3"


@pytest.mark.xdist_group("swtpm")
def test_the_log_replays_to_a_real_tpm(tmp_path):
    require_swtpm()
    with SwTpm() as tpm:
        attester = TpmCocoAttester(Vtpm(tpm.tcti))
        measurements = RuntimeMeasurements(
            attester, enabled=True, default_register=14, log=tmp_path / "log"
        )
        measurements.extend(*PULL)
        measurements.extend(*PULL, register_index=11)
        measurements.extend("d", "o", "again")
        values = aael.replay(aael.parse_log((tmp_path / "log").read_bytes(), "sha256"), "sha256", {})
        assert {pcr: value.hex() for pcr, value in values.items()} == tpm.registers("sha256", [11, 14])
        with pytest.raises(RuntimeRegisterInvalid):
            measurements.extend(*PULL, register_index=4)
        attester.registers.close()


@pytest.mark.xdist_group("swtpm")
def test_a_register_that_the_tpm_keeps_to_itself_is_told_and_not_logged(tmp_path):
    require_swtpm()
    with SwTpm() as tpm:
        attester = TpmCocoAttester(Vtpm(tpm.tcti))
        measurements = RuntimeMeasurements(attester, enabled=True, log=tmp_path / "log")
        with pytest.raises(EvidenceNotMade) as caught:
            measurements.extend(*PULL)
        assert "8 to 15" in caught.value.advice
        measurements.extend(*PULL, register_index=14)
        events = aael.parse_log((tmp_path / "log").read_bytes(), "sha256")
        assert [event.pcr for event in events] == [14]
        assert aael.replay(events, "sha256", {})[14].hex() == tpm.registers("sha256", [14])[14]
