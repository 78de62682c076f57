"""Rule tpm-event-log: a replacement that finds nothing is refused; what is kept stays what it was."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from common.tcg_log import replay
from provenance.errors import ArtifactInvalid, LaunchShapeInvalid, NotDerivable
from testkit.swtpm import SwTpm, event_record, spec_id_record
from tests.components import require_swtpm
from tests.provenance.derivation import boots
from tests.provenance.derivation.boots import extended

if TYPE_CHECKING:
    from pathlib import Path

RULE = "tpm-event-log"
BANKS = ("sha1", "sha256")
OLD, NEW = b"old initrd", b"new initrd"
OLD_KERNEL = boots.KERNEL_IMAGE
NEW_KERNEL = boots.image([(".text", b"a newer kernel")])


def record(pcr: int, data: bytes, kind: int = 0xD) -> bytes:
    digests = {bank: hashlib.new(bank, data).digest() for bank in BANKS}
    return event_record(pcr, kind, digests, b"")


LOG = (
    spec_id_record(BANKS)
    + event_record(0, 3, dict.fromkeys(BANKS, b"").copy() | {"sha1": bytes(20), "sha256": bytes(32)}, b"x")
    + record(4, bytes(4), 4)
    + record(9, b"grub.cfg")
    + record(9, OLD)
    + record(11, b".linux\0")
    + record(11, b"linux")
)
FILE = {"pcr": 9, "was": {"kind": "file", "role": "old"}, "now": {"kind": "file", "role": "new"}}


def shape(**changes: Any) -> dict[str, Any]:
    return {"bank": "sha256", "pcrs": [9], "replace": [FILE]} | changes


FILES = {"event-log": LOG, "old": OLD, "new": NEW}


def values(launch: dict[str, Any], files: dict[str, bytes]) -> dict[str, str]:
    return boots.values(RULE, launch, files)


# -- what is refused


@pytest.mark.parametrize(
    "changes",
    [
        {"bank": "sha1"},
        {"pcrs": []},
        {"pcrs": [9, 9]},
        {"pcrs": [10]},
        {"pcrs": [24]},
        {"pcrs": [-1]},
        {"pcrs": [4]},
        {"pcrs": [9, 11]},
        {"phases": [""]},
        {"pcrs": [9, 11], "phases": []},
        {"pcrs": [9, 11], "phases": ["ready", "ready"]},
        {"pcrs": [9, 11], "phases": ["ready:sysinit"]},
        {"replace": [FILE] * 65},
        {"replace": [FILE, FILE]},
        {"replace": [FILE | {"was": "00" * 31}]},
        {"replace": [FILE | {"was": "AA" * 32}]},
        {"replace": [FILE | {"was": 1}]},
        {"replace": [FILE | {"count": 1}]},
        {"replace": [{"pcr": 9, "was": "00" * 32}]},
        {"surplus": 1},
    ],
)
def test_a_malformed_shape_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(LaunchShapeInvalid):
        values(shape(**changes), FILES)


def test_a_list_of_commands_is_not_one_event() -> None:
    commands = FILE | {"now": {"kind": "commands", "role": "new"}}
    with pytest.raises(LaunchShapeInvalid, match="one event"):
        values(shape(replace=[commands]), FILES | {"new": b'["a","b"]'})


def test_a_replacement_that_finds_nothing_is_refused() -> None:
    with pytest.raises(NotDerivable, match="no such event"):
        values(shape(), FILES | {"old": b"never measured"})


def test_a_replacement_does_not_reach_into_another_register() -> None:
    with pytest.raises(NotDerivable, match="no such event"):
        values(shape(pcrs=[4], replace=[FILE | {"pcr": 4}]), FILES)


def test_an_event_that_extends_nothing_is_not_found() -> None:
    replacement = FILE | {"pcr": 0, "was": "00" * 32}
    with pytest.raises(NotDerivable, match="no such event"):
        values(shape(pcrs=[0], replace=[replacement]), {"event-log": LOG, "new": NEW})


def test_a_log_that_is_not_given_is_refused() -> None:
    with pytest.raises(NotDerivable, match="event-log"):
        values(shape(), {"old": OLD, "new": NEW})


def test_an_artefact_that_replaces_nothing_is_refused() -> None:
    with pytest.raises(NotDerivable, match="kernel"):
        values(shape(), FILES | {"kernel": NEW_KERNEL})


def test_a_log_without_the_bank_is_refused() -> None:
    with pytest.raises(NotDerivable, match="sha256"):
        values(shape(), FILES | {"event-log": spec_id_record(["sha1"])})


@pytest.mark.parametrize("log", [b"", LOG[:-1], LOG + b"\0", spec_id_record(BANKS)[:40]])
def test_a_log_that_cannot_be_read_is_refused(log: bytes) -> None:
    with pytest.raises(ArtifactInvalid):
        values(shape(), FILES | {"event-log": log})


def test_a_log_that_contradicts_itself_is_refused() -> None:
    digests = {"sha1": bytes(20), "sha256": bytes(32)}
    localities = event_record(0, 3, digests, b"StartupLocality\0\x03") * 2
    with pytest.raises(ArtifactInvalid):
        values(shape(), FILES | {"event-log": LOG + localities})


@given(data=st.binary(max_size=200), place=st.integers(0, len(LOG)))
@settings(max_examples=80, deadline=None)
def test_foreign_bytes_raise_typed_errors_alone(data: bytes, place: int) -> None:
    try:
        values(shape(replace=[]), {"event-log": LOG[:place] + data + LOG[place + len(data) :]})
    except TouchstoneError:
        pass


# -- what is derived


def test_a_replaced_file_takes_the_place_of_the_old_one() -> None:
    assert values(shape(), FILES) == {"tpm_pcr09": extended(b"grub.cfg", NEW)}


def test_every_occurrence_is_replaced() -> None:
    log = LOG + record(9, OLD)
    assert values(shape(), FILES | {"event-log": log}) == {"tpm_pcr09": extended(b"grub.cfg", NEW, NEW)}


def test_two_components_can_change_places() -> None:
    swap = [
        {"pcr": 9, "was": hashlib.sha256(OLD).hexdigest(), "now": {"kind": "file", "role": "grub"}},
        {"pcr": 9, "was": {"kind": "file", "role": "grub"}, "now": {"kind": "file", "role": "old"}},
    ]
    files = {"event-log": LOG, "old": OLD, "grub": b"grub.cfg"}
    assert values(shape(replace=swap), files) == {"tpm_pcr09": extended(OLD, b"grub.cfg")}


def test_a_unified_kernel_replaces_its_sections_and_goes_on_with_its_phases() -> None:
    section = {"kind": "section", "section": ".linux"}
    new = boots.image([(".linux", b"newer")])
    old = boots.image([(".linux", b"linux")])
    replacement = {"pcr": 11, "was": section | {"role": "old"}, "now": section | {"role": "new"}}
    launch = shape(pcrs=[11], replace=[replacement], phases=["enter-initrd"])
    files = {"event-log": LOG, "old": old, "new": new}
    assert values(launch, files) == {"tpm_pcr11": extended(b".linux\0", b"newer", b"enter-initrd")}


def test_a_register_that_nothing_extends_is_zeros() -> None:
    assert values(shape(pcrs=[8], replace=[]), {"event-log": LOG}) == {"tpm_pcr08": "00" * 32}


@pytest.mark.parametrize("name", boots.LOGS)
def test_a_real_log_without_replacements_is_what_the_machine_had(vectors: Path, name: str) -> None:
    data = (vectors / "evidence" / name).read_bytes()
    registers = replay(boots.real_log(vectors, name), "sha256")
    launch = shape(pcrs=[0, 1, 4, 5, 7, 8, 9, 14], replace=[])
    expected = {f"tpm_pcr{index:02d}": registers[index].hex() for index in launch["pcrs"]}
    assert values(launch, {"event-log": data}) == expected


def test_a_new_command_line_of_a_real_boot(vectors: Path) -> None:
    folder = vectors / "evidence/tpm/qemu-ovmf-swtpm-a"
    old = (folder / "cmdline.txt").read_bytes().rstrip(b"\n")
    log = boots.real_log(vectors, boots.QEMU)
    options = {"kind": "load-options"}
    replacement = {"pcr": 9, "was": options | {"role": "old"}, "now": options | {"role": "new"}}
    files = {
        "event-log": (folder / "binary_bios_measurements").read_bytes(),
        "old": old,
        "new": b"console=ttyS0",
    }
    found = values(shape(pcrs=[4, 9], replace=[replacement]), files)
    initrd = next(event.digests["sha256"] for event in log.events if b"initrd" in event.data)
    first = hashlib.sha256(bytes(32) + hashlib.sha256("console=ttyS0\0".encode("utf-16-le")).digest())
    assert found["tpm_pcr09"] == hashlib.sha256(first.digest() + initrd).hexdigest()
    assert found["tpm_pcr04"] == json.loads((folder / "pcrs.json").read_bytes())["sha256"]["4"]


def test_a_prediction_is_what_a_real_tpm_reads_after_the_new_boot() -> None:
    require_swtpm()
    with SwTpm(("sha256",)) as golden:
        golden.measured_boot(b"golden kernel", "quiet")
        log = golden.event_log.read_bytes()
        kernel = {"pcr": 4, "was": {"kind": "file", "role": "old"}, "now": {"kind": "file", "role": "new"}}
        cmdline = {
            "pcr": 8,
            "was": {"kind": "kernel-cmdline", "role": "old-cmdline"},
            "now": {"kind": "kernel-cmdline", "role": "cmdline"},
        }
        files = {"event-log": log, "old": b"golden kernel", "new": b"new kernel"}
        files |= {"old-cmdline": b"quiet", "cmdline": b"quiet debug"}
        predicted = values(shape(pcrs=[0, 4, 8], replace=[kernel, cmdline]), files)
    with SwTpm(("sha256",)) as tpm:
        tpm.measured_boot(b"new kernel", "quiet debug")
        read = tpm.registers("sha256", [0, 4, 8])
    assert predicted == {f"tpm_pcr{index:02d}": value for index, value in read.items()}
