"""TDVF metadata: everything out of place is refused, nothing is padded."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance.derivation.tdx import tdvf
from provenance.derivation.tdx.tdvf import SectionType
from provenance.errors import ArtifactInvalid
from tests.components import require
from tests.provenance.derivation.tdx_firmware import (
    AUG,
    BASE,
    EXTEND,
    PAGE,
    SECTIONS,
    TEMP_MEM,
    changed,
    firmware,
)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "not whole pages"),
        (firmware()[:-1], "not whole pages"),
        (bytes(PAGE), "impossible size"),
        (firmware(guid=False), "no TDVF metadata"),
        (firmware(extra=b"x"), "after the end"),
        (firmware(from_end=0), "outside the firmware"),
        (firmware(from_end=0xFFFFFFFF), "outside the firmware"),
        (firmware(from_end=0x800), "no TDVF signature"),
        (firmware(signature=b"tdvf"), "no TDVF signature"),
        (firmware(version=2), "not version 1"),
        (firmware(count=7), "length"),
        (firmware(count=0xFFFFFFFF), "length"),
        (firmware([], length=16), "length"),
        (firmware(length=15), "length"),
        (firmware(from_end=24, count=0), "no TDVF signature"),
    ],
)
def test_metadata_that_does_not_hold_is_refused(image: bytes, reason: str) -> None:
    with pytest.raises(ArtifactInvalid, match=reason):
        tdvf.parse(image)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (changed(0, offset=2 * PAGE), "ends beyond the file"),
        (changed(0, offset=0xFFFFF000), "ends beyond the file"),
        (changed(0, data=0xFFFFFFFF), "ends beyond the file"),
        (changed(0, data=PAGE), "less data than memory"),
        (changed(0, data=3 * PAGE - 1), "less data than memory"),
        (changed(0, size=PAGE), "less data than memory, or more"),
        (changed(0, data=0), "has no data"),
        (changed(1, data=0), "has no data"),
        (changed(1, offset=PAGE), "overlap in the image"),
        (changed(0, gpa=BASE + PAGE + 1), "not page-aligned"),
        (changed(0, gpa=BASE), "overlap in guest memory"),
        (changed(0, gpa=BASE + 2 * PAGE), "beyond 4 GiB"),
        (changed(2, gpa=0xFFFF_FFFF_FFFF_F000), "beyond 4 GiB"),
        (changed(2, gpa=0x80B000), "overlap in guest memory"),
        (changed(2, gpa=0x80C000), "overlap in guest memory"),
        (changed(2, size=0), "is empty"),
        (changed(2, size=0x800), "not page-aligned"),
        (changed(2, gpa=0x1000000, size=0xE000_0000), "larger than"),
        (changed(2, size=1 << 63), "beyond 4 GiB"),
        (changed(2, data=PAGE), "has data, which its type cannot"),
        (changed(4, data=2 * PAGE, offset=0), "has data, which its type cannot"),
        (changed(2, type=7), "unknown type 7"),
        (changed(2, type=0xFFFFFFFF), "unknown type"),
        (changed(2, attributes=4), "attributes that are not known"),
        (changed(2, attributes=AUG | EXTEND), "added after the launch"),
        (changed(0, attributes=AUG), "added after the launch"),
        (firmware([(0, 0, 0x1000 * i, 0x1000, TEMP_MEM, 0) for i in range(65)][:60] + SECTIONS), "length"),
    ],
)
def test_a_section_that_cannot_be_launched_is_refused(image: bytes, reason: str) -> None:
    with pytest.raises(ArtifactInvalid, match=reason):
        tdvf.parse(image)


def test_sections_keep_the_order_of_the_table_and_their_data() -> None:
    image = firmware()
    parsed = tdvf.parse(image)
    assert [section.gpa for section in parsed.sections] == [row[2] for row in SECTIONS]
    assert parsed.one(SectionType.BFV).data == image[PAGE:]
    assert parsed.one(SectionType.CFV).data == image[:PAGE]
    with pytest.raises(ArtifactInvalid, match="declares 3 TEMP_MEM sections"):
        parsed.one(SectionType.TEMP_MEM)
    with pytest.raises(ArtifactInvalid, match="declares 0 PAYLOAD sections"):
        parsed.one(SectionType.PAYLOAD)


def test_the_code_half_of_a_split_firmware_is_refused() -> None:
    # Its sections are those of the whole image: slicing without a bound gives a plausible wrong MRTD.
    split = Path("/usr/share/OVMF/OVMF_CODE.fd")
    require(split.is_file(), "no split OVMF: install `ovmf`")
    with pytest.raises(ArtifactInvalid, match="beyond the file"):
        tdvf.parse(split.read_bytes())


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_only_our_errors_come_out_of_hostile_metadata(data: st.DataObject) -> None:
    image = bytearray(firmware())
    for _ in range(data.draw(st.integers(1, 6))):
        at = (
            data.draw(st.integers(0x700, 0x900))
            if data.draw(st.booleans())
            else data.draw(st.integers(1, 90))
        )
        image[-at] = data.draw(st.integers(0, 255))
    try:
        parsed = tdvf.parse(bytes(image))
    except TouchstoneError:
        return
    assert (
        sum(section.size for section in parsed.sections if not section.augmented) <= tdvf.MAX_MEMORY_BYTES
    )
