"""Reports and certificates at every length, and what their fields are read from."""

from __future__ import annotations

import pytest

from common.errors import Malformed
from testkit.csv_platform import POLICY, SERIAL_NUMBER, CsvPlatform, ReportFields, mask
from verifier.csv.certificates import (
    CA_BYTES,
    CSV_BYTES,
    parse_ca_certificate,
    parse_csv_certificate,
)
from verifier.csv.layout import ALGORITHM_SM2, USAGE_CEK, USAGE_HSK, USAGE_NONE, USAGE_OCA, USAGE_PEK
from verifier.csv.report import PAGE, looks_like_report, parse_report, parse_serial_number

_FIELDS = ReportFields(
    user_pubkey_digest=b"\1" * 32,
    vm_id=b"\2" * 16,
    vm_version=b"\3" * 16,
    report_data=b"\4" * 64,
    mnonce=b"\5" * 16,
    measure=b"\6" * 32,
)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_every_field_is_where_it_belongs(platform: CsvPlatform, version: int, masked: bool) -> None:
    data = platform.report(version, _FIELDS, masked=masked)
    report = parse_report(data, version)
    for name in ("user_pubkey_digest", "vm_id", "vm_version", "report_data", "mnonce", "measure"):
        assert getattr(report, name) == getattr(_FIELDS, name)
    assert (report.policy, report.sig_usage, report.sig_algo) == (POLICY, USAGE_PEK, ALGORITHM_SM2)
    assert (report.pek, report.serial_number) == (platform.pek, SERIAL_NUMBER)
    assert report.signed == data[: 0xB4 if version == 1 else 0x400]
    if report.extension is None:
        assert (version, report.anonce) == (1, _FIELDS.anonce)
        assert data[0x90:0xB0] == mask(_FIELDS.measure, _FIELDS.anonce)
        return
    assert (version, report.anonce) == (2, 0)
    assert (report.extension.build, report.extension.register_version) == (2100, 1)
    assert report.extension.registers == _FIELDS.registers
    assert not any(report.extension.reserved0 + report.extension.reserved1)


@pytest.mark.parametrize(("version", "end"), [(1, 2548), (2, 3380)])
def test_a_report_has_its_length_and_zeros_to_a_page(platform: CsvPlatform, version: int, end: int) -> None:
    data = platform.report(version)
    for size in range(end):
        with pytest.raises(Malformed):
            parse_report(data[:size], version)
    for size in (end, end + 1, PAGE):
        assert parse_report(data[:size], version).serial_number == SERIAL_NUMBER
    with pytest.raises(Malformed):
        parse_report(data + b"\0", version)
    for position in (end, PAGE - 1):
        changed = bytearray(data)
        changed[position] = 1
        with pytest.raises(Malformed):
            parse_report(bytes(changed), version)


@pytest.mark.parametrize("version", [-1, 0, 3, 4])
def test_there_are_no_other_versions(platform: CsvPlatform, version: int) -> None:
    with pytest.raises(Malformed):
        parse_report(platform.report(2), version)


def test_certificates_have_one_length(platform: CsvPlatform) -> None:
    for size in range(CA_BYTES + 2):
        if size != CA_BYTES:
            with pytest.raises(Malformed):
                parse_ca_certificate(platform.hsk.ljust(size, b"\0")[:size], "HSK")
    for size in range(CSV_BYTES + 2):
        if size != CSV_BYTES:
            with pytest.raises(Malformed):
                parse_csv_certificate(platform.cek.ljust(size, b"\0")[:size], "CEK")


def test_certificates_are_read_as_they_were_made(platform: CsvPlatform) -> None:
    hsk = parse_ca_certificate(platform.hsk, "HSK")
    assert (hsk.usage, hsk.signer_id, hsk.user_id) == (USAGE_HSK, platform.hrk_id, b"HYGON-SSD-HSK")
    assert hsk.key.raw == platform.hsk_key.point
    pek = parse_csv_certificate(platform.pek, "PEK")
    assert (pek.usage, pek.algorithm, pek.api, pek.user_id) == (
        USAGE_PEK,
        ALGORITHM_SM2,
        (1, 3),
        b"HYGON-SSD-PEK",
    )
    assert [slot.usage for slot in pek.slots] == [USAGE_CEK, USAGE_OCA]
    cek = parse_csv_certificate(platform.cek, "CEK")
    assert [slot.usage for slot in cek.slots] == [USAGE_HSK, USAGE_NONE]


@pytest.mark.parametrize(
    ("offset", "new"),
    [
        (0, b"\2"),  # version
        (0x10, b"\2"),  # curve
        (0x14, b"\xff" * 32),  # x above p
        (0x14 + 71, b"\1"),  # something above x
        (0x14 + 72, bytes(72)),  # no point
        (0xA4, b"\0\0"),  # no user id
        (0xA4, b"\xff\0"),  # 255 bytes of user id in a field of 254
        (0xA4, b"\xff\xff"),
    ],
)
def test_a_certificate_that_is_none_is_refused(platform: CsvPlatform, offset: int, new: bytes) -> None:
    changed = bytearray(platform.cek)
    changed[offset : offset + len(new)] = new
    with pytest.raises(Malformed):
        parse_csv_certificate(bytes(changed), "CEK")


def test_a_serial_number_is_letters_digits_and_hyphens() -> None:
    assert parse_serial_number(b"KPA64911240507".ljust(64, b"\0")) == "KPA64911240507"
    assert parse_serial_number(b"a-Z-9") == "a-Z-9"
    assert parse_serial_number(b"A" * 64) == "A" * 64
    for field in (b"", bytes(64), b"A" * 65, b"A\n", b"A\0B", b"\0A", b"A.", b"A_", b"A/", b"\xff"):
        with pytest.raises(Malformed):
            parse_serial_number(field)


def test_a_report_is_recognised_by_its_pek(platform: CsvPlatform) -> None:
    for version in (1, 2):
        data = platform.report(version)
        assert looks_like_report(data, version)
        assert not looks_like_report(data, 3 - version)
        assert not looks_like_report(data[:100], version)
        assert not looks_like_report(bytes(PAGE), version)
