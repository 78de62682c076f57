"""Rule ``tdx-rtmr`` against the event logs of real TDX machines.

The digests of the first two events are those of Debian's OVMF: the same TDVF sections, and the same empty
variable store.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from common import tcg_log
from provenance.derivation.tdx import td_hob, tdvf
from provenance.errors import NotDerivable
from tests.components import require
from tests.provenance.derivation.tdx_boot import (
    CALLING,
    EXIT,
    GIB,
    SEPARATOR,
    VARIABLES,
    derive,
    replayed,
    sha384,
    value_of,
)


def _log(vectors: Path, name: str) -> bytes:
    return (vectors / "evidence" / "eventlog-ccel" / name / "ccel_data.dat").read_bytes()


def _registers(vectors: Path, name: str) -> dict[str, str]:
    manifest = json.loads((vectors / "evidence" / "manifest.json").read_text())
    (case,) = [case for case in manifest["cases"] if case["id"] == f"eventlog-ccel/{name}"]
    return dict(case["expect"]["claims"]["registers"])


def _event(log: bytes, register: int, number: int) -> tcg_log.Event:
    events = [event for event in tcg_log.parse_event_log(log).events if event.pcr == register + 1]
    return events[number]


def _debian(name: str) -> bytes:
    for folder in ("/usr/share/ovmf", "/usr/share/OVMF"):
        if (Path(folder) / name).is_file():
            return (Path(folder) / name).read_bytes()
    require(available=False, reason=f"no {name}: install `ovmf`")
    raise AssertionError


def test_rtmr0_of_a_real_direct_boot_is_derived(vectors: Path) -> None:
    log = _log(vectors, "trustee-ovmf")
    launch = {
        "rtmr0": [
            {"kind": "td-hob", "role": "firmware"},
            {"kind": "file", "role": "variables"},
            {"kind": "secure-boot", "enabled": None},
            *VARIABLES,
            SEPARATOR,
            {"kind": "logged", "role": "log", "first": 8, "last": 10},
            {"kind": "file", "role": "boot-order"},
            {"kind": "file", "role": "boot-entry"},
            SEPARATOR,
        ],
        "memory": 2 * GIB,
    }
    order, entry = _event(log, 0, 11).data[32 + 2 * 9 :], _event(log, 0, 12).data[32 + 2 * 8 :]
    value = value_of(
        launch,
        firmware=_debian("OVMF.fd"),
        variables=_debian("OVMF_VARS_4M.fd"),
        log=log,
        boot_order=order,
        boot_entry=entry,
    )
    assert value == _registers(vectors, "trustee-ovmf")["1"]


def test_the_hand_off_block_of_a_real_machine_with_memory_above_4_gib_is_derived(vectors: Path) -> None:
    parsed = tdvf.parse(_debian("OVMF.fd"))
    expected = _event(_log(vectors, "trustee-grub"), 0, 0).digests["sha384"]
    assert sha384(td_hob.measured_list(parsed, 10 * GIB)) == expected
    assert sha384(td_hob.measured_list(parsed, 8 * GIB)) != expected


@pytest.mark.parametrize("name", ["trustee-ovmf", "trustee-grub", "trustee-gcp", "trustee-aael-alibaba"])
def test_a_log_taken_over_whole_gives_the_registers(vectors: Path, name: str) -> None:
    log = _log(vectors, name)
    events = tcg_log.parse_event_log(log).events
    for index, expected in _registers(vectors, name).items():
        last = sum(event.pcr == int(index) for event in events) - 1
        launch = {f"rtmr{int(index) - 1}": [{"kind": "logged", "role": "log", "first": 0, "last": last}]}
        assert value_of(launch, log=log) == expected
        launch[f"rtmr{int(index) - 1}"][0]["last"] = last + 1
        with pytest.raises(NotDerivable, match="there is no event"):
            derive(launch, log=log)


def test_rtmr1_and_rtmr2_of_a_real_grub_boot_are_derived_but_for_their_images(vectors: Path) -> None:
    log = _log(vectors, "trustee-aael-alibaba")
    registers = _registers(vectors, "trustee-aael-alibaba")
    boot = [event for event in tcg_log.parse_event_log(log).events if event.pcr == 2]
    variables = {f"boot_{number}": _variable_data(boot[number].data) for number in range(7)}
    gpt = boot[9].data
    launch: dict[str, Any] = {
        "rtmr1": [
            *({"kind": "file", "role": role.replace("_", "-")} for role in variables),
            CALLING,
            SEPARATOR,
            {"kind": "gpt", "role": "disk"},
            {"kind": "logged", "role": "log", "first": 10, "last": 11},
            *EXIT,
        ]
    }
    assert value_of(launch, log=log, disk=_disk(gpt), **variables) == registers["2"]

    system = [event for event in tcg_log.parse_event_log(log).events if event.pcr == 3]
    texts = [event.data.split(b"\0")[0].decode() for event in system]
    prefix = "grub_cmd "
    first = next(number for number, text in enumerate(texts) if text.startswith(prefix))
    kernel = texts.index("grub_linuxefi Kernel")
    commands = json.dumps([text.removeprefix(prefix) for text in texts[first:kernel]]).encode()
    launch = {
        "rtmr2": [
            {"kind": "logged", "role": "log", "first": 0, "last": first - 1},
            {"kind": "grub-commands", "role": "commands", "terminated": True},
            {"kind": "logged", "role": "log", "first": kernel, "last": kernel},
            {"kind": "grub-cmdline", "role": "cmdline", "terminated": False},
            {"kind": "grub-commands", "role": "initrd-command", "terminated": True},
            {"kind": "logged", "role": "log", "first": kernel + 3, "last": kernel + 3},
        ]
    }
    line = texts[kernel + 1].removeprefix("grub_kernel_cmdline ").encode()
    initrd = json.dumps([texts[kernel + 2].removeprefix(prefix)]).encode()
    assert (
        value_of(launch, log=log, commands=commands, cmdline=line, initrd_command=initrd) == registers["3"]
    )


def test_rtmr3_of_a_real_machine_is_derived_from_its_agents_entries(vectors: Path) -> None:
    log = _log(vectors, "trustee-aael-alibaba")
    entries = [
        dict(zip(("domain", "operation", "content"), event.data[8:].decode().split(" ", 2), strict=True))
        for event in tcg_log.parse_event_log(log).events
        if event.pcr == 4
    ]
    launch = {"rtmr3": [{"kind": "aael-events", "role": "events"}]}
    value = value_of(launch, events=json.dumps(entries).encode())
    assert value == _registers(vectors, "trustee-aael-alibaba")["4"]


def test_secure_boot_variables_of_a_real_machine_are_derived(vectors: Path) -> None:
    log = _log(vectors, "trustee-grub")
    contents = {
        name: _variable_data(_event(log, 0, number).data)
        for number, name in enumerate(("PK", "KEK", "db", "dbx"), start=3)
    }
    launch = {
        "rtmr0": [
            {"kind": "secure-boot", "enabled": True},
            *({"kind": "variable", "name": name, "role": name} for name in contents),
        ]
    }
    assert value_of(launch, **contents) == replayed(
        *(_event(log, 0, number).digests["sha384"] for number in range(2, 7))
    )


def _variable_data(event: bytes) -> bytes:
    """The content of a UEFI_VARIABLE_DATA: behind GUID, two lengths and the name."""
    units, size = struct.unpack_from("<QQ", event, 16)
    return event[32 + 2 * units : 32 + 2 * units + size]


def _disk(event: bytes) -> bytes:
    """A disk whose GPT is measured as this UEFI_GPT_DATA: header, 64-bit count, entries."""
    header, entries = event[:92], event[100:]
    total, size = struct.unpack_from("<II", header, 80)
    start = int.from_bytes(header[72:80], "little") * 512
    return (bytes(512) + header).ljust(start, b"\0") + entries.ljust(total * size, b"\0")
