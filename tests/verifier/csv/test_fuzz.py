"""Any bytes give our own errors and nothing else; so do good structures with bytes changed."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.encoding import b64url_encode
from common.errors import TouchstoneError
from testkit.csv_platform import CsvPlatform
from tests.fuzz.targets.csv import TARGETS
from tests.verifier.csv.conftest import NOW
from verifier.csv.certificates import CA_BYTES, CSV_BYTES, parse_ca_certificate, parse_csv_certificate
from verifier.csv.coco import CsvCocoForm
from verifier.csv.report import parse_report
from verifier.csv.tee import contents, recognise
from verifier.csv.verifier import CsvVerifier
from verifier.model import Unbound

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["attestation_report", "magic", "flags", "data", "cert_chain", "pek", "hsk_cek", "hsk", "cek",
             "body", "sigs", "serial_number", "cc_eventlog"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip
_CHANGES = st.lists(st.tuples(st.integers(0, 4095), st.integers(1, 255)), min_size=1, max_size=8)


@given(data=st.binary(max_size=4200), version=st.integers(0, 3))
def test_any_bytes_are_a_report_or_refused(data: bytes, version: int) -> None:
    with contextlib.suppress(TouchstoneError):
        parse_report(data, version)


@given(data=st.binary(max_size=64), fill=st.integers(0, 255), size=st.sampled_from([CA_BYTES, CSV_BYTES]))
def test_any_bytes_are_a_certificate_or_refused(data: bytes, fill: int, size: int) -> None:
    filled = data.ljust(size, bytes([fill]))
    for parse in (parse_ca_certificate, parse_csv_certificate):
        with contextlib.suppress(TouchstoneError):
            parse(filled, "certificate")


@given(_JSON)
def test_any_json_is_evidence_or_refused(value: object) -> None:
    with contextlib.suppress(TouchstoneError):
        CsvCocoForm().evidence_of(value)


@pytest.mark.parametrize("version", [1, 2])
@given(changes=_CHANGES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_report_never_says_something_else(
    verifier: CsvVerifier, platform: CsvPlatform, version: int, changes: list[tuple[int, int]]
) -> None:
    """Refused, or what is signed is as it was (in version 1 up to the mask, which is not signed)."""
    report = bytearray(platform.report(version))
    before = bytes(report)
    for offset, value in changes:
        report[offset] ^= value
    evidence = msgspec.structs.replace(platform.evidence(version), report=b64url_encode(bytes(report)))
    contents(evidence)
    recognise(bytes(report))
    try:
        verifier.verify(evidence, Unbound(), None, NOW)
    except TouchstoneError:
        return
    size = 0xB4 if version == 1 else 0x400
    assert bytes(report[:size]) == before[:size]


@given(changes=st.lists(st.tuples(st.integers(0, 2915), st.integers(1, 255)), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_chain_is_refused_or_changed_where_nothing_is_signed(
    verifier: CsvVerifier, platform: CsvPlatform, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(platform.hsk_cek)
    for offset, value in changes:
        data[offset] ^= value
    evidence = msgspec.structs.replace(platform.evidence(), hsk_cek=b64url_encode(bytes(data)))
    try:
        identity = verifier.verify(evidence, Unbound(), None, NOW).identity
    except TouchstoneError:
        return
    assert identity == verifier.verify(platform.evidence(), Unbound(), None, NOW).identity
    assert data[:0x240] == platform.hsk[:0x240]
    assert data[CA_BYTES : CA_BYTES + 0x414] == platform.cek[:0x414]


@pytest.mark.parametrize("name", sorted(TARGETS))
@given(data=st.binary(max_size=300))
def test_the_fuzz_targets_take_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name](data)
