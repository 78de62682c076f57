"""Rule tpm-pcrs: nothing unattested, nothing unmeasured, and the registers of real boots."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from common.tcg_log import replay
from provenance.derivation import derive
from provenance.derivation.boot import uki
from provenance.derivation.boot.boot_events import commands
from provenance.errors import (
    ArtifactInvalid,
    LaunchShapeInvalid,
    NotDerivable,
    SubjectMismatch,
)
from provenance.model import Artifact, DerivationRequest, Subject
from tests.components import require
from tests.provenance.derivation import boots, material
from tests.provenance.derivation.boots import extended

RULE = "tpm-pcrs"
SHIM, GRUB = (boots.image([(".text", name)]) for name in (b"shim", b"grub"))
CALLING = {"kind": "action", "text": "Calling EFI Application from Boot Option"}
SEPARATOR = {"kind": "separator"}
PCR4 = [CALLING, SEPARATOR, {"kind": "image", "role": "shim"}, {"kind": "image", "role": "grub"}]
VARIABLES: list[dict[str, Any]] = [
    {"kind": "secure-boot", "enabled": True},
    {"kind": "variable", "name": "PK", "role": "pk"},
    {"kind": "variable", "name": "KEK", "role": "kek"},
    {"kind": "variable", "name": "db", "role": "db"},
    {"kind": "variable", "name": "dbx", "role": None},
]
PCR7 = [*VARIABLES, SEPARATOR, {"kind": "authority", "name": "db", "role": "authority"}]
PCR7_FILES = {"pk": b"pk", "kek": b"kek", "db": b"db", "authority": b"owner+certificate"}
PCR8 = [{"kind": "commands", "role": "commands"}, {"kind": "kernel-cmdline", "role": "cmdline"}]
PCR8_FILES = {"commands": b'["set default=0","linux /vmlinuz quiet"]', "cmdline": b"/vmlinuz quiet"}
PHASES = ["", "enter-initrd", "enter-initrd:leave-initrd:sysinit:ready"]
PCR11 = {"role": "uki", "sections": boots.MEASURED, "phases": PHASES}
MEASURE_TOOL = Path("/usr/lib/systemd/systemd-measure")


def shape(**registers: Any) -> dict[str, Any]:
    return {"bank": "sha256"} | registers


def values(launch: dict[str, Any], files: dict[str, bytes]) -> dict[str, str]:
    return boots.values(RULE, launch, files)


# -- what is refused


@pytest.mark.parametrize(
    "launch",
    [
        {},
        {"bank": "sha256"},
        {"bank": "sha1", "pcr4": PCR4},
        {"bank": "sha384", "pcr4": PCR4},
        shape(pcr0=[]),
        shape(pcr4=[]),
        shape(pcr4=PCR4 * 100),
        shape(pcr4=[CALLING, SEPARATOR]),
        shape(pcr4=[CALLING, {"kind": "image", "role": "shim"}]),
        shape(pcr4=[*PCR4, SEPARATOR]),
        shape(pcr4=[*PCR4, {"kind": "file", "role": "kernel"}]),
        shape(pcr4=[*PCR4, {"kind": "image"}]),
        shape(pcr4=[*PCR4, {"kind": "image", "role": "kernel", "hash": "00"}]),
        shape(pcr4=[*PCR4, {"kind": "driver", "role": "kernel"}]),
        shape(pcr7=[*VARIABLES, SEPARATOR, {"kind": "secure-boot", "enabled": False}]),
        shape(pcr7=VARIABLES),
        shape(pcr7=[*VARIABLES[1:], SEPARATOR]),
        shape(pcr7=[*VARIABLES[:4], SEPARATOR]),
        shape(pcr7=[VARIABLES[0], *VARIABLES[:0:-1], SEPARATOR]),
        shape(pcr7=[{"kind": "secure-boot", "enabled": 1}, *VARIABLES[1:], SEPARATOR]),
        shape(pcr8=[{"kind": "section", "role": "uki", "section": ".linux"}]),
        shape(pcr9=[SEPARATOR]),
        shape(pcr12=[{"kind": "image", "role": "shim"}]),
        shape(pcr11={"role": "uki", "sections": boots.MEASURED}),
        shape(pcr11=PCR11 | {"phases": []}),
        shape(pcr11=PCR11 | {"phases": ["", ""]}),
        shape(pcr11=PCR11 | {"sections": boots.MEASURED[::-1]}),
        shape(pcr11=PCR11 | {"sections": boots.MEASURED[1:]}),
        shape(pcr11=PCR11 | {"sections": [*boots.MEASURED, ".pcrsig"]}),
        shape(pcr11=PCR11 | {"sections": [*boots.MEASURED, ".initrd"]}),
    ],
)
def test_a_shape_that_states_no_boot_is_refused(launch: dict[str, Any]) -> None:
    with pytest.raises(LaunchShapeInvalid):
        values(launch, {"shim": SHIM, "grub": GRUB})


@pytest.mark.parametrize(
    "path",
    [
        "leave-initrd:enter-initrd",
        "ready:sysinit",
        "enter-initrd:enter-initrd",
        "enter-initrd:",
        ":",
        "Enter-initrd",
        "enter-initrd leave-initrd",
    ],
)
def test_phases_out_of_order_are_refused(path: str) -> None:
    with pytest.raises(LaunchShapeInvalid, match="phase"):
        values(shape(pcr11=PCR11 | {"phases": [path]}), {"uki": boots.uki_image()})


@pytest.mark.parametrize(
    "guid", [None, "x", "605DAB50-E046-4300-ABB6-3DD810DD8B23", "605dab50e0464300abb63dd810dd8b23"]
)
def test_a_variable_of_unknown_vendor_needs_its_guid(guid: str | None) -> None:
    event = {"kind": "variable", "name": "MokListTrusted", "role": None, "guid": guid}
    with pytest.raises(LaunchShapeInvalid, match="guid"):
        values(shape(pcr7=[*PCR7, event]), PCR7_FILES)


def test_the_guid_of_a_standard_variable_cannot_be_replaced() -> None:
    event = {
        "kind": "authority",
        "name": "db",
        "role": "db",
        "guid": "605dab50-e046-4300-abb6-3dd810dd8b23",
    }
    with pytest.raises(LaunchShapeInvalid, match="guid"):
        values(shape(pcr7=[*PCR7, event]), PCR7_FILES)


def test_an_action_that_no_firmware_measures_is_refused() -> None:
    with pytest.raises(NotDerivable, match="action"):
        values(shape(pcr4=[{"kind": "action", "text": "Boot"}, *PCR4]), {"shim": SHIM, "grub": GRUB})


def test_an_artefact_that_is_not_given_is_named() -> None:
    with pytest.raises(NotDerivable, match="grub"):
        values(shape(pcr4=PCR4), {"shim": SHIM})


def test_an_artefact_that_nothing_measures_is_refused() -> None:
    with pytest.raises(NotDerivable, match="kernel"):
        values(shape(pcr4=PCR4), {"shim": SHIM, "grub": GRUB, "kernel": boots.KERNEL_IMAGE})


def test_an_artefact_that_is_not_a_subject_is_refused() -> None:
    admitted = material.admitted(material.subject("shim", SHIM), material.subject("grub", GRUB))
    changed = GRUB[:-1] + b"\x01"
    request = DerivationRequest(rule=RULE, launch=shape(pcr4=PCR4))
    with pytest.raises(SubjectMismatch, match="grub"):
        derive(admitted, request, [Artifact("shim", "s", SHIM), Artifact("grub", "g", changed)])


def test_a_digest_does_not_suffice_for_an_image() -> None:
    admitted = material.admitted(material.subject("shim", SHIM), material.subject("grub", GRUB))
    request = DerivationRequest(rule=RULE, launch=shape(pcr4=PCR4), subjects={"grub": "grub"})
    with pytest.raises(NotDerivable, match="bytes"):
        derive(admitted, request, [Artifact("shim", "s", SHIM)])


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ArtifactInvalid):
        values(shape(pcr4=PCR4), {"shim": SHIM, "grub": b"MZ but nothing else"})


@pytest.mark.parametrize("text", [b"", b"quiet\n", b"quiet\0", b"\xff", b"x" * 4097])
def test_a_command_line_that_no_loader_hands_on_is_refused(text: bytes) -> None:
    with pytest.raises(ArtifactInvalid):
        values(shape(pcr8=PCR8), PCR8_FILES | {"cmdline": text})
    with pytest.raises(ArtifactInvalid):
        values(shape(pcr9=[{"kind": "load-options", "role": "cmdline"}]), {"cmdline": text})


@pytest.mark.parametrize(
    "listed", [b"", b"[]", b'{"a":"b"}', b"[1]", b'["a\\u0000b"]', b'["\\ud800"]', b'["a"', b"[" * 200]
)
def test_a_list_of_commands_that_is_none_is_refused(listed: bytes) -> None:
    with pytest.raises(ArtifactInvalid):
        values(shape(pcr8=PCR8), PCR8_FILES | {"commands": listed})


@pytest.mark.parametrize("twice", boots.MEASURED)
def test_a_unified_kernel_with_a_section_twice_is_refused(twice: str) -> None:
    parts = [*boots.UKI_PARTS, (twice, b"other")]
    with pytest.raises(ArtifactInvalid, match="two"):
        values(shape(pcr11=PCR11 | {"phases": [""]}), {"uki": boots.uki_image(parts)})


@pytest.mark.parametrize("missing", boots.MEASURED)
def test_a_unified_kernel_without_a_stated_section_is_refused(missing: str) -> None:
    parts = [part for part in boots.UKI_PARTS if part[0] != missing]
    with pytest.raises(ArtifactInvalid, match="no section"):
        values(shape(pcr11=PCR11 | {"phases": [""]}), {"uki": boots.uki_image(parts)})


@pytest.mark.parametrize(
    "name", [".splash", ".dtb", ".pcrpkey", ".profile", ".dtbauto", ".hwids", ".efifw"]
)
def test_a_section_that_would_be_measured_unstated_is_refused(name: str) -> None:
    parts = [*boots.UKI_PARTS, (name, b"more")]
    with pytest.raises(NotDerivable):
        values(shape(pcr11=PCR11 | {"phases": [""]}), {"uki": boots.uki_image(parts)})


def test_an_empty_section_is_refused() -> None:
    parts = [*boots.UKI_PARTS[:3], (".initrd", b"")]
    with pytest.raises(NotDerivable, match="empty"):
        values(shape(pcr11=PCR11 | {"phases": [""]}), {"uki": boots.uki_image(parts)})


def test_a_section_larger_in_memory_than_in_the_file_is_refused() -> None:
    with pytest.raises(ArtifactInvalid):
        values(shape(pcr11=PCR11 | {"phases": [""]}), {"uki": boots.uki_image(memory=4096)})


@given(data=st.binary(max_size=64), place=st.integers(0, 0x400))
@settings(max_examples=100, deadline=None)
def test_foreign_bytes_raise_typed_errors_alone(data: bytes, place: int) -> None:
    image = boots.uki_image()
    for changed in (data, image[:place] + data + image[place + len(data) :]):
        try:
            uki.measure_sections(changed, boots.MEASURED, ["sha256"])
        except TouchstoneError:
            pass
    with pytest.raises(ArtifactInvalid):
        commands(b"\0" + data)


@given(
    launch=st.dictionaries(
        st.sampled_from(["bank", "pcr4", "pcr7", "pcr8", "pcr11", "x"]),
        st.recursive(
            st.none() | st.integers() | st.sampled_from(["sha256", "kind", "image", "separator", "role"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["kind", "role", "text"]), inner, max_size=3)
            ),
            max_leaves=6,
        ),
    )
)
@settings(max_examples=100, deadline=None)
def test_foreign_shapes_raise_typed_errors_alone(launch: dict[str, Any]) -> None:
    for rule in (RULE, "tpm-event-log"):
        with pytest.raises(TouchstoneError):
            boots.run(rule, launch, {})


# -- what is derived


def test_boot_applications_are_measured_by_their_authenticode_digests() -> None:
    # Without certificates the digest is over all but the checksum and the certificate table's entry.
    images = []
    for image in (SHIM, GRUB):
        checksum, entry = 0x80 + 24 + 64, 0x80 + 24 + 112 + 4 * 8
        images.append(image[:checksum] + image[checksum + 4 : entry] + image[entry + 8 :])
    assert values(shape(pcr4=PCR4), {"shim": SHIM, "grub": GRUB}) == {
        "tpm_pcr04": extended(b"Calling EFI Application from Boot Option", bytes(4), *images)
    }


def test_the_kernel_inside_a_unified_kernel_is_an_image_too() -> None:
    inner = {"kind": "image", "role": "uki", "section": ".linux"}
    whole = {"kind": "image", "role": "uki"}
    from_uki = values(shape(pcr4=[SEPARATOR, whole, inner]), {"uki": boots.uki_image()})
    kernel = {"kind": "image", "role": "kernel"}
    files = {"uki": boots.uki_image(), "kernel": boots.KERNEL_IMAGE}
    assert from_uki == values(shape(pcr4=[SEPARATOR, whole, kernel]), files)


def test_commands_and_command_line_are_measured_as_texts() -> None:
    assert values(shape(pcr8=PCR8), PCR8_FILES) == {
        "tpm_pcr08": extended(b"set default=0", b"linux /vmlinuz quiet", b"/vmlinuz quiet")
    }


@pytest.mark.parametrize("register", [8, 9, 12])
def test_a_command_line_beside_the_image_is_measured_as_utf_16(register: int) -> None:
    launch = shape(**{f"pcr{register}": [{"kind": "load-options", "role": "cmdline"}]})
    expected = extended("debug \u00e9\0".encode("utf-16-le"))
    files = {"cmdline": "debug \u00e9".encode()}
    assert values(launch, files) == {f"tpm_pcr{register:02d}": expected}


def test_a_files_digest_suffices() -> None:
    events = [{"kind": "load-options", "role": "cmdline"}, {"kind": "file", "role": "initrd"}]
    admitted = material.admitted(
        material.subject("cmdline", b"quiet"),
        Subject("initrd.img", {"sha256": hashlib.sha256(b"initrd").hexdigest()}),
    )
    request = DerivationRequest(rule=RULE, launch=shape(pcr9=events), subjects={"initrd": "initrd.img"})
    (value,) = derive(admitted, request, [Artifact("cmdline", "cmdline", b"quiet")])
    assert value.value == extended("quiet\0".encode("utf-16-le"), b"initrd")


def test_a_set_of_phases_is_a_set_of_values() -> None:
    derived = boots.run(RULE, shape(pcr11=PCR11), {"uki": boots.uki_image()})
    sections = [data for name, content in boots.UKI_PARTS for data in (name.encode() + b"\0", content)]
    assert [(value.inputs["phase"], value.value) for value in derived] == [
        (path, extended(*sections, *(word.encode() for word in path.split(":") if word))) for path in PHASES
    ]
    assert {value.name for value in derived} == {"tpm_pcr11"}
    assert {value.inputs["stub"] for value in derived} == {"systemd-stub 252.39"}


def test_a_stated_sbat_section_is_measured_and_an_unstated_one_is_not() -> None:
    sections = [*boots.MEASURED, ".sbat"]
    with_sbat, without = (
        values(shape(pcr11=PCR11 | {"sections": stated, "phases": [""]}), {"uki": boots.uki_image()})
        for stated in (sections, boots.MEASURED)
    )
    parts = [data for name, content in boots.UKI_PARTS for data in (name.encode() + b"\0", content)]
    assert without["tpm_pcr11"] == extended(*parts)
    assert with_sbat["tpm_pcr11"] == extended(*parts, b".sbat\0", dict(boots.STUB)[".sbat"])


def test_systemd_measure_gives_the_same_values(tmp_path: Path) -> None:
    require(MEASURE_TOOL.exists(), f"the program {MEASURE_TOOL} is not installed (package systemd)")
    command = [str(MEASURE_TOOL), "calculate", "--json=short", "--bank=sha256"]
    parts = [*boots.UKI_PARTS, (".splash", b"BM"), (".dtb", b"\xd0\x0d\xfe\xed"), (".pcrpkey", b"a key")]
    for name, content in parts:
        (tmp_path / name).write_bytes(content)
        command.append(f"--{name[1:]}={tmp_path / name}")
    phases = ["", "enter-initrd", "enter-initrd:leave-initrd", "enter-initrd:leave-initrd:sysinit:ready"]
    command += [f"--phase={path}" for path in phases]
    output = subprocess.run(command, capture_output=True, check=True, timeout=30).stdout
    expected = {entry.get("phase", ""): entry["hash"] for entry in json.loads(output)["sha256"]}
    launch = shape(pcr11={"role": "uki", "sections": [name for name, _ in parts], "phases": phases})
    derived = boots.run(RULE, launch, {"uki": boots.uki_image(parts)})
    assert {value.inputs["phase"]: value.value for value in derived} == expected


# -- real boots


def _pcr7(log: Any) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """The boot shape and artefacts that a real log's own event data make."""
    events: list[dict[str, Any]] = []
    files: dict[str, bytes] = {}
    for event in log.events:
        if event.pcr != 7:
            continue
        if event.type == 4:
            events.append(SEPARATOR)
            continue
        guid, name, content = boots.variable_parts(event.data)
        role = f"variable{len(files)}"
        known = name in {"SecureBoot", "PK", "KEK", "db", "dbx", "Shim", "SbatLevel"}
        if name == "SecureBoot":
            events.append({"kind": "secure-boot", "enabled": content == b"\x01" if content else None})
            continue
        kind = "authority" if event.type == 0x800000E0 else "variable"
        events.append(
            {"kind": kind, "name": name, "role": role if content or kind == "authority" else None}
        )
        if not known:
            events[-1]["guid"] = guid
        if content:
            files[role] = content
    return events, files


@pytest.mark.parametrize("name", [name for name in boots.LOGS if "cos-" not in name])
def test_register_7_of_a_real_boot(vectors: Path, name: str) -> None:
    log = boots.real_log(vectors, name)
    events, files = _pcr7(log)
    assert values(shape(pcr7=events), files) == {"tpm_pcr07": replay(log, "sha256")[7].hex()}


@pytest.mark.parametrize("name", boots.LOGS)
def test_register_8_of_a_real_boot(vectors: Path, name: str) -> None:
    log = boots.real_log(vectors, name)
    events: list[dict[str, Any]] = []
    files: dict[str, bytes] = {}
    for event in log.events:
        if event.pcr != 8:
            continue
        prefix, text = event.data.rstrip(b"\0").split(b": ", 1)
        role = f"text{len(files)}"
        if prefix == b"kernel_cmdline":
            events.append({"kind": "kernel-cmdline", "role": role})
            files[role] = text
        elif events and events[-1]["kind"] == "commands":
            last = events[-1]["role"]
            files[last] = json.dumps([*json.loads(files[last]), text.decode()]).encode()
        else:
            events.append({"kind": "commands", "role": role})
            files[role] = json.dumps([text.decode()]).encode()
    if not events:
        assert replay(log, "sha256")[8] == bytes(32)
        return
    assert values(shape(pcr8=events), files) == {"tpm_pcr08": replay(log, "sha256")[8].hex()}


def test_registers_7_and_9_that_a_real_tpm_read_after_a_real_boot(vectors: Path) -> None:
    folder = vectors / "evidence/tpm/qemu-ovmf-swtpm-a"
    log = boots.real_log(vectors, boots.QEMU)
    events, files = _pcr7(log)
    (initrd,) = [event.digests["sha256"].hex() for event in log.events if b"initrd" in event.data]
    text = (folder / "cmdline.txt").read_bytes().rstrip(b"\n")
    launch = shape(
        pcr7=events, pcr9=[{"kind": "load-options", "role": "cmdline"}, {"kind": "file", "role": "initrd"}]
    )
    admitted = material.admitted(
        *(material.subject(role, data) for role, data in files.items()),
        material.subject("cmdline", text),
        Subject("initrd", {"sha256": initrd}),
    )
    request = DerivationRequest(rule=RULE, launch=launch, subjects={"initrd": "initrd"})
    artifacts = [Artifact(role, role, data) for role, data in (files | {"cmdline": text}).items()]
    derived = {value.name: value.value for value in derive(admitted, request, artifacts)}
    read = json.loads((folder / "pcrs.json").read_bytes())
    assert derived == {"tpm_pcr07": read["sha256"]["7"], "tpm_pcr09": read["sha256"]["9"]}
