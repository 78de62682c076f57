"""Register arithmetic and UEFI events: what cannot be, then every event kind of real boots."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from common.tcg_log import EV_NO_ACTION
from common.tcg_log import replay as replay_log
from provenance.derivation.boot import measured_boot
from provenance.derivation.boot.boot_events import load_options
from provenance.derivation.boot.measured_boot import BANKS
from provenance.errors import ArtifactInvalid, NotDerivable
from testkit.swtpm import SwTpm
from tests.components import require_swtpm
from tests.provenance.derivation import boots

if TYPE_CHECKING:
    from pathlib import Path

GUID = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")


@pytest.mark.parametrize("bank", ["", "SHA256", "sha3_256", "md5"])
def test_an_unknown_bank_is_refused(bank: str) -> None:
    with pytest.raises(NotDerivable):
        measured_boot.first_value(bank)
    with pytest.raises(NotDerivable):
        measured_boot.measure(4, "x", b"x", [bank])


@pytest.mark.parametrize("size", [0, 20, 31, 33, 48])
def test_a_digest_of_another_bank_is_not_extended(size: int) -> None:
    with pytest.raises(NotDerivable):
        measured_boot.extend("sha256", bytes(32), bytes(size))
    with pytest.raises(NotDerivable):
        measured_boot.extend("sha256", bytes(size), bytes(32))


def test_an_event_without_the_banks_digest_is_not_extended() -> None:
    event = measured_boot.measure(4, "x", b"x", ["sha256"])
    with pytest.raises(NotDerivable, match="sha384"):
        measured_boot.registers("sha384", [event])


def test_an_action_that_no_firmware_measures_is_refused() -> None:
    with pytest.raises(NotDerivable):
        measured_boot.efi_action(4, "Calling EFI Application from boot option", ["sha256"])


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 257, "\ud800"])
def test_a_variable_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(ArtifactInvalid):
        measured_boot.variable_data(GUID, name, b"")


def _disk(entries: list[bytes], *, lba: int = 2, count: int | None = None, size: int = 128) -> bytes:
    header = b"EFI PART" + bytes(64)
    header += struct.pack("<QIII", lba, len(entries) if count is None else count, size, 0)
    return bytes(512) + header.ljust(512, b"\0") + b"".join(entries)


@pytest.mark.parametrize(
    "disk",
    [
        b"",
        bytes(2048),
        _disk([bytes(128)], lba=1 << 60),
        _disk([bytes(128)], count=2),
        _disk([bytes(128)], count=1 << 31),
        _disk([bytes(256)], size=256),
        _disk([bytes(128)], count=0),
    ],
)
def test_a_disk_without_a_whole_partition_table_is_refused(disk: bytes) -> None:
    with pytest.raises(ArtifactInvalid):
        measured_boot.gpt_data(disk)


@given(data=st.binary(max_size=1200))
@settings(max_examples=60, deadline=None)
def test_foreign_bytes_raise_typed_errors_alone(data: bytes) -> None:
    for disk in (data, bytes(512) + b"EFI PART" + data):
        try:
            measured_boot.gpt_data(disk)
        except TouchstoneError:
            pass


@pytest.mark.parametrize("bank", BANKS)
def test_registers_are_extended_in_order(bank: str) -> None:
    name = {"sm3_256": "sm3"}.get(bank, bank)
    events = [measured_boot.measure(9, "a", b"a", BANKS), measured_boot.separator(9, BANKS)]
    expected = bytes(hashlib.new(name).digest_size)
    for data in (b"a", bytes(4)):
        expected = hashlib.new(name, expected + hashlib.new(name, data).digest()).digest()
    assert measured_boot.registers(bank, events) == {9: expected}
    assert measured_boot.replay(bank, [event.digests[bank] for event in events]) == expected


def test_a_register_goes_on_from_a_first_value() -> None:
    event = measured_boot.measure(11, "a", b"a", ["sha256"])
    first = b"\x01" * 32
    expected = hashlib.sha256(first + hashlib.sha256(b"a").digest()).digest()
    assert measured_boot.registers("sha256", [event], {11: first, 12: first}) == {11: expected, 12: first}


def test_unused_partition_entries_are_left_out() -> None:
    used, unused = b"\x01" * 128, bytes(16) + b"\x02" * 112
    data = measured_boot.gpt_data(_disk([used, unused, used]))
    assert data[92:] == (2).to_bytes(8, "little") + used + used


# Event types of the TCG PC Client Platform Firmware Profile 1.05, section 10.4.1.
SEPARATOR, IPL, DRIVER_CONFIG, BOOT, ACTION, GPT, AUTHORITY = (
    0x4,
    0xD,
    0x80000001,
    0x80000002,
    0x80000007,
    0x80000006,
    0x800000E0,
)


@pytest.mark.parametrize("name", boots.LOGS)
def test_every_event_of_a_real_boot_that_carries_its_data_is_predicted(vectors: Path, name: str) -> None:
    log = boots.real_log(vectors, name)
    banks = tuple(bank for bank in log.banks if bank in BANKS)
    seen: Counter[int] = Counter()
    for event in log.events:
        if event.type == EV_NO_ACTION:
            continue
        ours = None
        if event.type == SEPARATOR:
            ours = measured_boot.separator(event.pcr, banks)
        elif event.type == ACTION:
            ours = measured_boot.efi_action(event.pcr, event.data.decode(), banks)
        elif event.type in (DRIVER_CONFIG, AUTHORITY):
            guid, variable, content = boots.variable_parts(event.data)
            ours = measured_boot.variable(event.pcr, UUID(guid), variable, content, banks)
        elif event.type == GPT:
            header, entries = event.data[:92], event.data[100:]
            disk = bytes(512) + header[:72] + struct.pack("<QII", 2, len(entries) // 128, 128) + header[88:]
            rebuilt = measured_boot.gpt_data(disk.ljust(1024, b"\0") + entries)
            assert rebuilt[92:] == event.data[92:]
            ours = measured_boot.measure(event.pcr, "GPT", header + rebuilt[92:], banks)
        elif event.type == IPL and event.data.startswith((b"grub_cmd: ", b"kernel_cmdline: ")):
            text = event.data.split(b": ", 1)[1].rstrip(b"\0")
            ours = measured_boot.measure(event.pcr, "text", text, banks)
        elif event.type == BOOT:
            _, variable, content = boots.variable_parts(event.data)
            ours = measured_boot.boot_variable(event.pcr, variable, content, banks)
            whole = measured_boot.measure(event.pcr, variable, event.data, banks)
            # Firmware of before PFP 1.05 measures the data alone; some firmware measures all of it.
            ours = whole if whole.digests == _known(event.digests, banks) else ours
        if ours is None or (event.type == AUTHORITY and ours.digests != _known(event.digests, banks)):
            continue  # an old loader's authority event, whose digest does not cover its data
        assert ours.digests == _known(event.digests, banks)
        seen[event.type] += 1
    assert seen[SEPARATOR] >= 8
    assert seen[DRIVER_CONFIG] >= 5


def _known(digests: dict[str, bytes], banks: tuple[str, ...]) -> dict[str, bytes]:
    return {bank: digests[bank] for bank in banks}


def test_the_kernels_load_options_are_the_command_line_of_a_real_boot(vectors: Path) -> None:
    folder = vectors / "evidence/tpm/qemu-ovmf-swtpm-a"
    log = boots.real_log(vectors, boots.QEMU)
    (event,) = [each for each in log.events if b"LoadOptions" in each.data]
    text = (folder / "cmdline.txt").read_bytes().rstrip(b"\n")
    ours = measured_boot.measure(9, "options", load_options(text), log.banks)
    assert ours.digests == event.digests


@pytest.mark.parametrize("name", boots.LOGS)
def test_registers_of_a_real_boot_are_what_the_verifier_replays(vectors: Path, name: str) -> None:
    log = boots.real_log(vectors, name)
    events = [
        measured_boot.Measurement(event.pcr, "logged", event.digests)
        for event in log.events
        if event.type != EV_NO_ACTION and event.pcr not in (0, *range(17, 23))
    ]
    replayed = replay_log(log, log.banks[0])
    for register, value in measured_boot.registers(log.banks[0], events).items():
        assert value == replayed[register]


def test_a_real_tpm_reads_the_predicted_values() -> None:
    require_swtpm()
    banks = ("sha1", "sha256", "sha384")
    events = [
        measured_boot.efi_action(4, measured_boot.CALLING_EFI_APPLICATION, banks),
        measured_boot.separator(4, banks),
        measured_boot.measure_image(4, "kernel", boots.KERNEL_IMAGE, banks),
        measured_boot.variable(7, GUID, "SecureBoot", b"\x01", banks),
        measured_boot.separator(7, banks),
        measured_boot.measure(9, "options", load_options(b"quiet"), banks),
    ]
    with SwTpm(banks) as tpm:
        for event in events:
            tpm.extend(event.register, event.digests)
        for bank in banks:
            expected = {
                index: value.hex() for index, value in measured_boot.registers(bank, events).items()
            }
            assert tpm.registers(bank, [4, 7, 9]) == expected
