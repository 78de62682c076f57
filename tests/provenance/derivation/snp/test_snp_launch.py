"""Rule snp-launch-digest: nothing unattested, nothing unmeasured, and the digest that hardware signs."""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sevsnpmeasure.vcpu_types import CPU_SIGS

from common.errors import TouchstoneError
from provenance.derivation import derive
from provenance.derivation.snp.firmware import DESCRIPTOR_FORMAT, parse_firmware
from provenance.derivation.snp.snp_launch import TOOL
from provenance.errors import (
    ArtifactInvalid,
    ExpiryInvalid,
    LaunchShapeInvalid,
    NotDerivable,
    RuleUnknown,
    SubjectMismatch,
)
from provenance.model import AdmittedStatement, Artifact, Subject
from tests.provenance.derivation import independent, material

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.model import DerivedValue

HASHES = (
    hashlib.sha256(material.KERNEL).digest(),
    hashlib.sha256(material.INITRD).digest(),
    hashlib.sha256(material.CMDLINE + b"\0").digest(),
)


def _only(*roles: str) -> tuple[AdmittedStatement, list[Artifact]]:
    admitted, artifacts = material.build()
    return admitted, [artifact for artifact in artifacts if artifact.role in roles]


def _one(admitted: AdmittedStatement, artifacts: list[Artifact], **changes: Any) -> DerivedValue:
    (value,) = derive(admitted, material.request(**changes), artifacts)
    return value


# -- what is refused


@pytest.mark.parametrize("role", ["firmware", "kernel", "initrd", "cmdline"])
def test_an_artefact_changed_by_one_bit_is_not_a_subject(role: str) -> None:
    admitted, artifacts = material.build()
    changed = [
        Artifact(a.role, a.name, bytes([a.data[0] ^ 1]) + a.data[1:]) if a.role == role else a
        for a in artifacts
    ]
    with pytest.raises(SubjectMismatch, match=role):
        derive(admitted, material.request(), changed)


def test_a_subject_that_agrees_in_one_digest_and_not_in_the_other_is_no_match() -> None:
    firmware = material.image(sections=material.NO_HASHES)
    both = {"sha256": hashlib.sha256(firmware).hexdigest(), "sha512": "00" * 64}
    with pytest.raises(SubjectMismatch):
        derive(
            material.admitted(Subject("OVMF.fd", both)),
            material.request(launch={"kernel_hashes": False}),
            [Artifact("firmware", "OVMF.fd", firmware)],
        )


def test_an_artefact_that_is_another_subject_than_the_named_one_is_refused() -> None:
    admitted, artifacts = material.build()
    with pytest.raises(SubjectMismatch, match="names"):
        derive(admitted, material.request(subjects={"initrd": "bzImage"}), artifacts)


def test_a_weak_digest_alone_binds_nothing() -> None:
    firmware = material.image()
    weak = Subject("OVMF.fd", {"sha1": hashlib.sha1(firmware).hexdigest()})  # noqa: S324
    with pytest.raises(SubjectMismatch):
        derive(material.admitted(weak), material.request(), [Artifact("firmware", "OVMF.fd", firmware)])


@pytest.mark.parametrize(
    "firmware",
    [
        material.image(table=None),
        material.image(table=(0, 0)),
        material.image(sections=material.NO_HASHES),
    ],
    ids=["no table", "table at zero", "no section"],
)
def test_kernel_with_firmware_that_would_not_measure_it_is_refused(firmware: bytes) -> None:
    admitted, artifacts = material.build(firmware)
    with pytest.raises(NotDerivable, match="unmeasured"):
        derive(admitted, material.request(), artifacts)


@pytest.mark.parametrize("role", ["kernel", "initrd", "cmdline"])
def test_boot_files_without_kernel_hashes_are_refused_not_ignored(role: str) -> None:
    admitted, artifacts = _only("firmware", role)
    with pytest.raises(NotDerivable, match="unmeasured"):
        derive(admitted, material.request(launch={"kernel_hashes": False}), artifacts)


@pytest.mark.parametrize("missing", ["firmware", "kernel", "cmdline"])
def test_a_missing_artefact_is_named_not_assumed(missing: str) -> None:
    admitted, artifacts = _only(*({"firmware", "kernel", "initrd", "cmdline"} - {missing}))
    with pytest.raises(NotDerivable):
        derive(admitted, material.request(), artifacts)


@pytest.mark.parametrize(("role", "name"), [("firmware", "OVMF.fd"), ("cmdline", "cmdline.txt")])
def test_the_digest_of_firmware_or_command_line_does_not_suffice(role: str, name: str) -> None:
    admitted, artifacts = material.build()
    rest = [artifact for artifact in artifacts if artifact.role != role]
    with pytest.raises(NotDerivable, match="digest does not suffice"):
        derive(admitted, material.request(subjects={role: name}), rest)


def test_a_named_subject_that_does_not_exist_is_refused() -> None:
    admitted, artifacts = _only("firmware", "initrd", "cmdline")
    for name in ("vmlinuz", ""):
        with pytest.raises(NotDerivable, match="no subject"):
            derive(admitted, material.request(subjects={"kernel": name}), artifacts)


def test_a_subject_known_by_sha512_alone_cannot_stand_for_a_kernel() -> None:
    admitted, artifacts = _only("firmware", "initrd", "cmdline")
    wide = Subject("vmlinuz", {"sha512": hashlib.sha512(material.KERNEL).hexdigest()})
    with pytest.raises(NotDerivable, match="SHA-256"):
        derive(
            material.admitted(*admitted.authentic.statement.subjects, wide),
            material.request(subjects={"kernel": "vmlinuz"}),
            artifacts,
        )


def test_an_artefact_that_does_not_enter_the_measurement_is_refused() -> None:
    admitted, artifacts = material.build()
    extra = Artifact("rootfs", "bzImage", material.KERNEL)
    with pytest.raises(NotDerivable, match="rootfs"):
        derive(admitted, material.request(), [*artifacts, extra])


def test_two_artefacts_of_one_role_are_refused() -> None:
    admitted, artifacts = material.build()
    with pytest.raises(NotDerivable, match="two artefacts"):
        derive(admitted, material.request(), [*artifacts, artifacts[0]])


def test_firmware_beside_its_descriptor_is_refused() -> None:
    admitted, artifacts = material.build()
    descriptor = parse_firmware(material.image()).descriptor()
    with pytest.raises(NotDerivable, match="exactly one"):
        derive(
            material.admitted(*admitted.authentic.statement.subjects, material.subject("d", descriptor)),
            material.request(),
            [*artifacts, Artifact("firmware-descriptor", "d", descriptor)],
        )


@pytest.mark.parametrize("text", [b"quiet\n", b"quiet\0", b"a\tb", b"\xff\xfe", b"x" * 4097, b"\x7f"])
def test_a_command_line_that_no_vmm_passes_on_is_refused(text: bytes) -> None:
    admitted, artifacts = _only("firmware", "kernel", "initrd")
    with pytest.raises(ArtifactInvalid):
        derive(
            material.admitted(*admitted.authentic.statement.subjects, material.subject("c", text)),
            material.request(),
            [*artifacts, Artifact("cmdline", "c", text)],
        )


def test_several_vcpus_need_a_start_address_for_them() -> None:
    admitted, artifacts = material.build(material.image(reset_eip=None))
    assert _one(admitted, artifacts, launch={"vcpus": 1}).inputs["launch"]["vcpus"] == 1
    with pytest.raises(NotDerivable, match="start address"):
        derive(admitted, material.request(launch={"vcpus": [1, 2]}), artifacts)


@pytest.mark.parametrize(
    "expires",
    [
        "2026-06-01T12:00:00Z",
        "2026-06-01T11:59:59Z",
        "2026-06-01T13:00:00+02:00",
        "2027-06-01",
        "2027-06-01T12:00:00",
        "2027-06-01 12:00:00Z",
        "2027-02-30T12:00:00Z",
        "9999-12-31T23:59:59-01:00",
        "2027-06-01T12:00:00Z\n",
        "",
    ],
)
def test_an_expiry_in_the_past_or_not_rfc_3339_is_refused(expires: str) -> None:
    admitted, artifacts = material.build()
    with pytest.raises(ExpiryInvalid):
        derive(admitted, material.request(expires=expires), artifacts)


@pytest.mark.parametrize("group", ["", "a b", "../x", "x\n", "x" * 129])
def test_a_group_that_is_no_identifier_is_refused(group: str) -> None:
    admitted, artifacts = material.build()
    with pytest.raises(LaunchShapeInvalid):
        derive(admitted, material.request(group=group), artifacts)


def test_an_unknown_rule_is_refused_and_the_known_ones_named() -> None:
    admitted, artifacts = material.build()
    with pytest.raises(RuleUnknown, match="snp-launch-digest"):
        derive(admitted, material.request(rule="snp-launch-digest/1"), artifacts)


# -- what is derived


def test_the_value_records_what_it_was_derived_from() -> None:
    admitted, artifacts = material.build()
    value = _one(admitted, artifacts, expires="2027-06-01T14:00:00+02:00")
    assert (value.name, value.tee, value.rule) == (
        "snp_launch_measurement",
        "snp",
        "snp-launch-digest/1",
    )
    assert value.group == material.ATTESTATION
    assert value.not_before == material.SIGNED_AT
    assert value.expires is not None
    assert value.expires.isoformat() == "2027-06-01T12:00:00+00:00"
    assert not value.scalar
    digests = {a.role: hashlib.sha256(a.data).hexdigest() for a in artifacts}
    assert value.inputs == digests | {"launch": material.LAUNCH, "tool": TOOL}
    assert json.loads(json.dumps(value.inputs)) == value.inputs
    assert _one(admitted, artifacts, group="release-7").group == "release-7"
    assert TOOL == "sev-snp-measure/0.0.13"


@pytest.mark.parametrize(
    ("vmm", "features", "model"),
    [
        *itertools.product(["QEMU", "ec2", "gce"], [1, 0x21], ["EPYC-v4"]),
        ("QEMU", 1, "EPYC-Milan"),
        ("QEMU", 1, "EPYC-Turin"),
    ],
)
def test_an_independent_computation_gives_the_same_digests(vmm: str, features: int, model: str) -> None:
    admitted, artifacts = material.build()
    launch = {"vmm": vmm, "guest_features": features, "vcpu_type": model, "vcpus": [1, 3, 8]}
    values = derive(admitted, material.request(launch=launch), artifacts)
    expected = {
        count: independent.launch_digest(
            independent.firmware_pages(material.image()),
            material.SECTIONS,
            vcpus=count,
            features=features,
            vmm=vmm,
            sig=CPU_SIGS[model],
            eip=material.RESET_EIP,
            hashes=HASHES,
            table_gpa=material.TABLE_GPA,
        ).hex()
        for count in (1, 3, 8)
    }
    assert {value.inputs["launch"]["vcpus"]: value.value for value in values} == expected


def test_a_list_of_counts_is_the_set_of_single_launches() -> None:
    admitted, artifacts = material.build()
    together = derive(admitted, material.request(launch={"vcpus": [4, 1, 2]}), artifacts)
    single = [_one(admitted, artifacts, launch={"vcpus": count}) for count in (1, 2, 4)]
    assert list(together) == single
    assert len({value.value for value in together}) == 3


def test_without_kernel_hashes_the_page_is_measured_as_zeroes() -> None:
    admitted, artifacts = _only("firmware")
    value = _one(admitted, artifacts, launch={"kernel_hashes": False})
    expected = independent.launch_digest(
        independent.firmware_pages(material.image()),
        material.SECTIONS,
        vcpus=2,
        sig=CPU_SIGS["EPYC-v4"],
        eip=material.RESET_EIP,
    )
    assert value.value == expected.hex()


def test_a_kernel_known_by_its_subject_alone_gives_the_same_value() -> None:
    admitted, artifacts = material.build()
    rest = [artifact for artifact in artifacts if artifact.role in ("firmware", "cmdline")]
    names = {"kernel": "bzImage", "initrd": "initrd.img"}
    assert _one(admitted, rest, subjects=names) == _one(admitted, artifacts)


def test_a_descriptor_gives_the_firmwares_value() -> None:
    admitted, artifacts = material.build()
    descriptor = parse_firmware(material.image()).descriptor()
    by_descriptor = _one(
        material.admitted(*admitted.authentic.statement.subjects, material.subject("d", descriptor)),
        [Artifact("firmware-descriptor", "d", descriptor), *artifacts[1:]],
    )
    assert by_descriptor.value == _one(admitted, artifacts).value
    assert by_descriptor.inputs["firmware-descriptor"] == hashlib.sha256(descriptor).hexdigest()


def test_no_initrd_is_the_hash_of_nothing_and_another_value() -> None:
    admitted, artifacts = _only("firmware", "kernel", "cmdline")
    value = _one(admitted, artifacts)
    expected = independent.launch_digest(
        independent.firmware_pages(material.image()),
        material.SECTIONS,
        vcpus=2,
        sig=CPU_SIGS["EPYC-v4"],
        eip=material.RESET_EIP,
        hashes=(HASHES[0], hashlib.sha256(b"").digest(), HASHES[2]),
        table_gpa=material.TABLE_GPA,
    )
    assert value.value == expected.hex() != _one(*material.build()).value


def test_subjects_by_the_wider_hashes_bind_too() -> None:
    _, artifacts = material.build()
    subjects = [
        Subject(a.name, {name: hashlib.new(name, a.data).hexdigest()})
        for a, name in zip(artifacts, ("sha384", "sha512", "sha512", "sha256"), strict=True)
    ]
    value = _one(material.admitted(*subjects), artifacts)
    assert value == _one(*material.build())


def test_ec2_does_not_measure_the_cpu_model() -> None:
    admitted, artifacts = material.build()
    without = {name: item for name, item in material.LAUNCH.items() if name != "vcpu_type"}
    request = material.request(launch={"vmm": "ec2"})
    (with_model,) = derive(admitted, request, artifacts)
    bare = type(request)(rule=request.rule, launch=without | {"vmm": "ec2"})
    (value,) = derive(admitted, bare, artifacts)
    assert value.value == with_model.value


# -- real hardware and the published cases


def test_the_dstack_build_gives_the_measurement_that_hardware_signed(vectors: Path) -> None:
    folder = vectors / "evidence"
    build = json.loads((folder / "measure/snp-dstack/input.json").read_text())
    members = ("ovmf_hash", "ovmf_sections", "hashes_table_gpa", "reset_eip")
    descriptor = json.dumps(
        {"format": DESCRIPTOR_FORMAT} | {name: build[name] for name in members}
    ).encode()
    cmdline = build["cmdline"].encode()
    admitted = material.admitted(
        material.subject("firmware.json", descriptor),
        material.subject("cmdline", cmdline),
        Subject("bzImage", {"sha256": build["kernel_hash"]}),
        Subject("initramfs", {"sha256": build["initrd_hash"]}),
    )
    value = _one(
        admitted,
        [
            Artifact("firmware-descriptor", "firmware.json", descriptor),
            Artifact("cmdline", "cmdline", cmdline),
        ],
        subjects={"kernel": "bzImage", "initrd": "initramfs"},
        launch={"vcpus": build["vcpus"], "vcpu_type": build["vcpu_type"]},
    )
    report = (folder / "snp/milan-vcek-v3-dstack/report.bin").read_bytes()
    assert value.value == report[0x90:0xC0].hex()  # MEASUREMENT, SEV-SNP ABI table 23


def test_a_changed_command_line_gives_another_measurement() -> None:
    admitted, artifacts = _only("firmware", "kernel", "initrd")
    other = material.CMDLINE + b" init=/bin/sh"
    value = _one(
        material.admitted(*admitted.authentic.statement.subjects, material.subject("c", other)),
        [*artifacts, Artifact("cmdline", "c", other)],
    )
    assert value.value != _one(*material.build()).value


# -- fuzz

_LAUNCH_JSON = st.dictionaries(
    st.sampled_from([*material.LAUNCH, "vcpu_sig", "else"]),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["QEMU", "ec2", "gce", "EPYC"])
    | st.lists(st.integers(0, 3), max_size=4),
)


@settings(max_examples=150, deadline=None)
@given(
    _LAUNCH_JSON,
    st.lists(st.sampled_from(["firmware", "kernel", "initrd", "cmdline"]), max_size=5),
    st.dictionaries(
        st.text(max_size=6) | st.sampled_from(["kernel", "initrd"]),
        st.sampled_from(["bzImage", "OVMF.fd", ""]),
        max_size=3,
    ),
)
def test_any_request_gives_values_or_a_typed_error(
    launch: dict[str, Any], roles: list[str], subjects: dict[str, str]
) -> None:
    admitted, artifacts = material.build()
    by_role = {artifact.role: artifact for artifact in artifacts}
    try:
        values = derive(
            admitted,
            material.request(launch=launch, subjects=subjects),
            [by_role[role] for role in roles],
        )
    except TouchstoneError:
        return
    assert all(len(value.value) == 96 for value in values)
