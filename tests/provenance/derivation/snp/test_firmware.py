"""Firmware and descriptors: hostile ones are refused before anything is measured."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sevsnpmeasure.guest import calc_snp_ovmf_hash
from sevsnpmeasure.ovmf import OVMF

from common.errors import TouchstoneError
from provenance.derivation.snp.firmware import (
    DESCRIPTOR_FORMAT,
    MAX_FIRMWARE_BYTES,
    parse_descriptor,
    parse_firmware,
)
from provenance.errors import ArtifactInvalid
from tests.provenance.derivation import independent, material

if TYPE_CHECKING:
    from pathlib import Path

DESCRIPTOR: dict[str, Any] = json.loads(parse_firmware(material.image()).descriptor())


def _lies(**section: int) -> list[tuple[int, int, int]]:
    first = {"gpa": 0x820000, "size": 0x1000, "type": 1} | section
    return [*material.SECTIONS, (first["gpa"], first["size"], first["type"])]


HOSTILE = {
    "empty": b"",
    "not whole pages": material.image()[1:],
    "larger than the limit": bytes(MAX_FIRMWARE_BYTES + 4096),
    "all zeroes": bytes(8192),
    "no table footer": material.image(footer=material.METADATA),
    "table larger than the image": material.image(pages=1, footer_size=0xFFFF),
    "table smaller than its footer": material.image(footer_size=17),
    "table cuts an entry": material.image(footer_size=18 + 40),
    "entry of impossible size": material.image(extra=material.entry(bytes(16), b"", size=3)),
    "entry reaches before the table": material.image(extra=material.entry(bytes(16), b"", size=900)),
    "a GUID twice": material.image(extra=material.entry(material.RESET_BLOCK, bytes(4))),
    "no SEV metadata": material.image(meta=b""),
    "metadata before the image": material.image(meta_offset=3 * 4096 + 16),
    "metadata past the end": material.image(meta_offset=15),
    "metadata at the end": material.image(meta_offset=0),
    "metadata elsewhere": material.image(meta_offset=0x700),
    "metadata items past the end": material.image(
        meta=material.metadata(material.SECTIONS, count=200, size=16 + 200 * 12)
    ),
    "metadata signature": material.image(meta=material.metadata(material.SECTIONS, signature=b"ASEW")),
    "metadata version": material.image(meta=material.metadata(material.SECTIONS, version=2)),
    "metadata size is not its items'": material.image(meta=material.metadata(material.SECTIONS, size=16)),
    "metadata of very many items": material.image(
        meta=material.metadata(material.SECTIONS, count=0xFFFFFFFF, size=16)
    ),
    "no section": material.image(sections=[]),
    "section type unknown": material.image(sections=_lies(type=9)),
    "section empty": material.image(sections=_lies(size=0)),
    "section size not whole pages": material.image(sections=_lies(size=0x1001)),
    "section address not aligned": material.image(sections=_lies(gpa=0x820001)),
    "section beyond 4 GiB": material.image(sections=_lies(gpa=0xFFFFF000, size=0x2000)),
    "section over the firmware": material.image(sections=_lies(gpa=0xFFFFF000)),
    "section over another": material.image(sections=_lies(gpa=0x800000)),
    "section that takes minutes to measure": material.image(sections=_lies(size=0x7F000000)),
    "secrets of two pages": material.image(sections=_lies(type=2, size=0x2000)),
    "two CPUID pages": material.image(sections=_lies(type=3)),
    "two pages of kernel hashes": material.image(sections=_lies(type=0x10)),
    "hash table outside its section": material.image(table=(0x900000, 0x400)),
    "hash table over the end of its section": material.image(table=(0x810F60, 0x400)),
    "hash table too small": material.image(table=(material.TABLE_GPA, 175)),
    "application processors start at zero": material.image(reset_eip=0),
    "reset block too short": material.image(
        reset_eip=None, extra=material.entry(material.RESET_BLOCK, b"\1")
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_firmware_is_refused(name: str) -> None:
    with pytest.raises(ArtifactInvalid):
        parse_firmware(HOSTILE[name])


def test_the_unaltered_image_of_these_cases_is_accepted() -> None:
    state = parse_firmware(material.image())
    assert [(s.gpa, s.size, int(s.type)) for s in state.sections] == material.SECTIONS
    assert (state.hashes_table_gpa, state.reset_eip) == (material.TABLE_GPA, material.RESET_EIP)
    assert state.ovmf_hash == independent.firmware_pages(material.image())
    assert state.measures_kernel


def test_firmware_that_the_measuring_library_would_misread_is_refused(tmp_path: Path) -> None:
    # Without metadata there is no SNP launch; the library gives a plausible digest all the same.
    file = tmp_path / "firmware"
    file.write_bytes(HOSTILE["no SEV metadata"])
    assert OVMF(str(file)).metadata_items() == []
    assert len(calc_snp_ovmf_hash(str(file))) == 48
    with pytest.raises(ArtifactInvalid, match="no SEV metadata"):
        parse_firmware(HOSTILE["no SEV metadata"])


def test_of_two_equal_guids_the_library_takes_the_one_that_qemu_does_not(tmp_path: Path) -> None:
    file = tmp_path / "firmware"
    file.write_bytes(HOSTILE["a GUID twice"])
    assert OVMF(str(file)).sev_es_reset_eip() == 0
    with pytest.raises(ArtifactInvalid, match="twice"):
        parse_firmware(HOSTILE["a GUID twice"])


@pytest.mark.parametrize(
    ("change", "measures"),
    [
        ({"table": None}, False),
        ({"table": (0, 0)}, False),
        ({"sections": material.NO_HASHES}, False),
        ({}, True),
    ],
)
def test_only_a_page_and_a_table_together_measure_a_kernel(change: dict[str, Any], measures: bool) -> None:
    assert parse_firmware(material.image(**change)).measures_kernel is measures


def test_a_descriptor_is_the_firmware() -> None:
    state = parse_firmware(material.image())
    assert parse_descriptor(state.descriptor()) == state


@pytest.mark.parametrize(
    "change",
    [
        {"format": "urn:touchstone:snp-firmware:v2"},
        {"format": None},
        {"ovmf_hash": "00" * 47},
        {"ovmf_hash": "AB" * 48},
        {"ovmf_hash": 7},
        {"ovmf_sections": []},
        {"ovmf_sections": [{"gpa": 0x800000, "size": 4096}]},
        {"ovmf_sections": [{"gpa": 0x800000, "size": 4096, "type": 1, "more": 1}]},
        {"ovmf_sections": [{"gpa": 0x800000, "size": 4096, "type": "1"}]},
        {"ovmf_sections": [{"gpa": -4096, "size": 4096, "type": 1}]},
        {"ovmf_sections": [{"gpa": 8388608.0, "size": 4096, "type": 1}]},
        {"ovmf_sections": [{"gpa": 0, "size": 1 << 40, "type": 1}]},
        {"ovmf_sections": [{"gpa": 0x800000 + n * 4096, "size": 4096, "type": 1} for n in range(65)]},
        {"hashes_table_gpa": -1},
        {"hashes_table_gpa": True},
        {"hashes_table_gpa": 0},
        {"reset_eip": 1 << 32},
        {"kernel_hash": "00" * 32},
    ],
)
def test_a_descriptor_out_of_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ArtifactInvalid):
        parse_descriptor(json.dumps(DESCRIPTOR | change).encode())


@pytest.mark.parametrize("member", sorted(DESCRIPTOR))
def test_every_member_of_a_descriptor_is_required(member: str) -> None:
    rest = {name: value for name, value in DESCRIPTOR.items() if name != member}
    with pytest.raises(ArtifactInvalid):
        parse_descriptor(json.dumps(rest).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"{", b'{"format":"a","format":"b"}', b"\xff", b"[" * 1000, b" " * 70_000],
)
def test_a_descriptor_that_is_not_one_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactInvalid):
        parse_descriptor(data)


def test_the_format_name_is_the_documented_one() -> None:
    assert DESCRIPTOR["format"] == DESCRIPTOR_FORMAT == "urn:touchstone:snp-firmware:v1"


@settings(max_examples=150, deadline=None)
@given(
    edits=st.lists(st.tuples(st.integers(1, 0x640), st.binary(min_size=1, max_size=8)), max_size=4),
    cut=st.integers(0, 3),
)
@example(edits=[(32 + 18, struct.pack("<H", 0))], cut=0)
def test_mutated_firmware_gives_a_state_or_a_typed_error(edits: list[tuple[int, bytes]], cut: int) -> None:
    data = bytearray(material.image(pages=4)[cut * 4096 :])
    for from_end, replacement in edits:
        start = len(data) - from_end
        data[max(start, 0) : max(start, 0) + len(replacement)] = replacement
    try:
        state = parse_firmware(bytes(data[: len(data) // 4096 * 4096]))
    except TouchstoneError:
        return
    assert len(state.ovmf_hash) == 48
    assert sum(section.size for section in state.sections) <= 64 << 20


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_no_descriptor(data: bytes) -> None:
    with pytest.raises(ArtifactInvalid):
        parse_descriptor(data)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["gpa", "size", "type"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(DESCRIPTOR)), _JSON))
def test_descriptors_of_other_shapes_are_refused_with_a_typed_error(changes: dict[str, Any]) -> None:
    try:
        parse_descriptor(json.dumps(DESCRIPTOR | changes).encode())
    except TouchstoneError:
        return
    assert changes.get("format", DESCRIPTOR_FORMAT) == DESCRIPTOR_FORMAT
