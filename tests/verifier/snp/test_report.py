"""The report parser: every reserved range, every layout, and nothing but typed errors on any bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import Malformed, TouchstoneError
from testkit.snp_firmware import SnpFirmware
from tests.verifier.snp.conftest import REPORT_DATA
from verifier.errors import UnsupportedEvidence
from verifier.snp.products import Product, Tcb, decode_tcb, encode_tcb, product_of
from verifier.snp.report import REPORT_BYTES, SIGNED_BYTES, parse_report

# (offset, length) of what must be zero, per version.
_ALWAYS = [(0x04C, 4), (0x18B, 21), (0x1EB, 1), (0x1EF, 1), (0x208, 152), (0x2E8 - 24, 24), (0x330, 368)]
_RESERVED = {
    2: [*_ALWAYS, (0x188, 3), (0x1F8, 16)],
    3: [*_ALWAYS, (0x1F8, 16)],
    4: [*_ALWAYS, (0x1F8, 16)],
    5: _ALWAYS,
}


@pytest.fixture(scope="module")
def reports(milan: SnpFirmware) -> dict[int, bytes]:
    return {version: milan.report(REPORT_DATA, version=version) for version in _RESERVED}


@pytest.mark.parametrize("version", _RESERVED)
def test_a_set_bit_in_any_reserved_range_is_refused(reports: dict[int, bytes], version: int) -> None:
    for offset, length in _RESERVED[version]:
        for position in {offset, offset + length // 2, offset + length - 1}:
            changed = bytearray(reports[version])
            changed[position] = 0x80
            with pytest.raises(Malformed):
                parse_report(bytes(changed))


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (0x008, bytes(8)),  # POLICY bit 17 must be one
        (0x008 + 3, b"\x04"),  # POLICY bit 26
        (0x008 + 7, b"\x80"),  # POLICY bit 63
        (0x030, b"\x04"),  # VMPL 4
        (0x030, b"\xff" * 4),  # a report that the host asked for
        (0x048, b"\x20"),  # KEY_INFO bit 5
        (0x04B, b"\x80"),  # KEY_INFO bit 31
        (0x110, b"\x01"),  # an author key digest without AUTHOR_KEY_EN
    ],
)
def test_a_field_outside_its_range_is_refused(reports: dict[int, bytes], offset: int, data: bytes) -> None:
    report = reports[3]
    with pytest.raises(Malformed):
        parse_report(report[:offset] + data + report[offset + len(data) :])


@pytest.mark.parametrize("size", [0, 1, SIGNED_BYTES, REPORT_BYTES - 1, REPORT_BYTES + 1])
def test_another_length_is_refused(reports: dict[int, bytes], size: int) -> None:
    with pytest.raises(Malformed, match="1184"):
        parse_report((reports[3] * 2)[:size])


@pytest.mark.parametrize("version", [0, 1, 6, 255])
def test_an_unknown_version_is_refused(reports: dict[int, bytes], version: int) -> None:
    with pytest.raises(UnsupportedEvidence):
        parse_report(version.to_bytes(4, "little") + reports[3][4:])


def test_unknown_platform_bits_do_not_fail_parsing(milan: SnpFirmware) -> None:
    assert (
        parse_report(milan.report(REPORT_DATA, platform_info=1 << 63 | 0x65)).platform_info
        == 1 << 63 | 0x65
    )


def test_every_field_stands_at_its_offset(milan: SnpFirmware) -> None:
    fields: dict[str, Any] = {
        "guest_svn": 0x01020304,
        "family_id": b"f" * 16,
        "image_id": b"i" * 16,
        "vmpl": 3,
        "measurement": b"m" * 48,
        "host_data": b"h" * 32,
        "id_key_digest": b"k" * 48,
        "author_key_digest": b"a" * 48,
        "key_info": 1,
        "report_id": b"r" * 32,
        "report_id_ma": b"M" * 32,
        "chip_id": b"c" * 64,
        "current_version": (1, 58, 3),
        "committed_version": (1, 55, 200),
        "launch_mitigations": 0x3F,
        "current_mitigations": 0x7F,
        "cpuid": (0x19, 0x01, 0x02),
    }
    parsed = parse_report(milan.report(REPORT_DATA, version=5, **fields))
    assert {name: getattr(parsed, name) for name in fields} == fields
    assert parsed.report_data == REPORT_DATA
    assert len(parsed.signed) == SIGNED_BYTES


def test_a_version_2_report_has_neither_cpuid_nor_mitigations(reports: dict[int, bytes]) -> None:
    parsed = parse_report(reports[2])
    assert (parsed.cpuid, parsed.launch_mitigations, parsed.current_mitigations) == (None, None, None)


def test_mitigation_vectors_exist_since_version_5(reports: dict[int, bytes]) -> None:
    assert parse_report(reports[4]).launch_mitigations is None
    assert parse_report(reports[5]).launch_mitigations == 0


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64) | st.binary(min_size=REPORT_BYTES, max_size=REPORT_BYTES))
def test_any_bytes_give_a_report_or_a_typed_error(data: bytes) -> None:
    try:
        assert parse_report(data).signed == data[:SIGNED_BYTES]
    except TouchstoneError:
        pass


@settings(max_examples=300, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, REPORT_BYTES - 1), st.integers(0, 255)), max_size=4))
def test_an_edited_report_parses_or_fails_typed(
    reports: dict[int, bytes], edits: list[tuple[int, int]]
) -> None:
    changed = bytearray(reports[5])
    for offset, value in edits:
        changed[offset] = value
    try:
        parse_report(bytes(changed))
    except TouchstoneError:
        pass


@pytest.mark.parametrize(
    ("family", "model", "product"),
    [
        (0x19, 0x00, Product.MILAN),
        (0x19, 0x0F, Product.MILAN),
        (0x19, 0x10, Product.GENOA),
        (0x19, 0x1F, Product.GENOA),
        (0x19, 0xA0, Product.GENOA),
        (0x19, 0xAF, Product.GENOA),
        (0x1A, 0x00, Product.TURIN),
        (0x1A, 0x11, Product.TURIN),
    ],
)
def test_the_product_follows_from_the_cpuid(family: int, model: int, product: Product) -> None:
    assert product_of(family, model) is product


@pytest.mark.parametrize(
    ("product", "raw", "tcb"),
    [
        (Product.MILAN, "04000000000018db", Tcb(4, 0, 24, 219)),
        (Product.GENOA, "0a00000000001754", Tcb(10, 0, 23, 84)),
        (Product.TURIN, "0103020500000061", Tcb(3, 2, 5, 97, fmc=1)),
    ],
)
def test_the_tcb_layout_is_the_products(product: Product, raw: str, tcb: Tcb) -> None:
    assert decode_tcb(bytes.fromhex(raw), product) == tcb
    assert encode_tcb(tcb, product).hex() == raw


@pytest.mark.parametrize(
    ("product", "raw"),
    [
        (Product.MILAN, "0400000001001 8db"),
        (Product.GENOA, "0a00010000001754"),
        (Product.TURIN, "0103020501000061"),
        (Product.TURIN, "01030205000000"),
    ],
)
def test_a_reserved_tcb_byte_is_refused(product: Product, raw: str) -> None:
    with pytest.raises(Malformed):
        decode_tcb(bytes.fromhex(raw.replace(" ", "")), product)


def test_tcbs_cover_each_other_by_component() -> None:
    assert Tcb(4, 0, 24, 219).covers(Tcb(4, 0, 24, 219))
    assert not Tcb(4, 0, 23, 255).covers(Tcb(4, 0, 24, 219))
    assert not Tcb(3, 2, 5, 97, fmc=0).covers(Tcb(3, 2, 5, 97, fmc=1))
