"""HCL reports: bytes to typed values, and every way of being none."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.encoding import b64url_encode
from common.errors import DuplicateKey, InputError, Malformed, TooLarge
from testkit.azure_vtpm import TDX, AzureVm, hcl_report, jwk
from tests.fuzz.targets.azure import TARGETS
from verifier.azure.hcl import ReportType, parse_hcl
from verifier.azure.runtime_claims import parse_runtime_claims
from verifier.errors import UnsupportedEvidence

CLAIMS = b'{"keys":[]}'
SNP_REPORT = b"\x05" * 1184
TD_REPORT = b"\x81" * 1024


def test_an_snp_report_is_read():
    report = parse_hcl(hcl_report(SNP_REPORT, CLAIMS))
    assert (report.type, report.hardware_report, report.runtime_claims) == (
        ReportType.SNP,
        SNP_REPORT,
        CLAIMS,
    )
    assert report.expected_report_data() == hashlib.sha256(CLAIMS).digest() + bytes(32)


def test_a_td_report_is_read_without_the_rest_of_its_area():
    assert parse_hcl(hcl_report(TD_REPORT, CLAIMS, TDX)).hardware_report == TD_REPORT


@pytest.mark.parametrize(
    ("hash_type", "name", "size"), [(1, "sha256", 32), (2, "sha384", 48), (3, "sha512", 64)]
)
def test_each_hash_is_followed_by_zeros(hash_type, name, size):
    report = parse_hcl(hcl_report(SNP_REPORT, CLAIMS, hash_type=hash_type))
    assert report.hash_name == name
    expected = report.expected_report_data()
    assert expected[:size] == hashlib.new(name, CLAIMS).digest()
    assert expected[size:] == bytes(64 - size)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("data_version", [1, 2])
def test_both_versions_of_header_and_data(version, data_version):
    data = hcl_report(SNP_REPORT, CLAIMS, version=version, data_version=data_version)
    assert parse_hcl(data).runtime_claims == CLAIMS


@pytest.mark.parametrize("padding", [b"", bytes(1), bytes(1000)])
def test_zeros_may_follow(padding):
    assert parse_hcl(hcl_report(SNP_REPORT, CLAIMS, padding=padding)).runtime_claims == CLAIMS


@pytest.mark.parametrize(
    "change",
    [
        {"signature": b"HCLB"},
        {"report_size": 0},
        {"report_size": 2600},
        {"data_size": 0},
        {"data_size": 0xFFFFFFFF},
        {"claims_size": 0},
        {"claims_size": len(CLAIMS) - 1},
        {"claims_size": len(CLAIMS) + 1},
        {"claims_size": 0xFFFFFFFF},
        {"padding": b"\x01"},
        {"padding": bytes(8) + b"\x01"},
    ],
)
def test_what_contradicts_itself_is_malformed(change):
    with pytest.raises(Malformed):
        parse_hcl(hcl_report(SNP_REPORT, CLAIMS, **change))


@pytest.mark.parametrize("hash_type", [0, 4, 9, 0xFFFFFFFF])
def test_24_unknown_hash_types_are_refused(hash_type):
    with pytest.raises(UnsupportedEvidence, match="hash type"):
        parse_hcl(hcl_report(SNP_REPORT, CLAIMS, hash_type=hash_type))


@pytest.mark.parametrize("kind", [0, 1, 3, 5, 0xFFFFFFFF])
def test_unknown_report_types_are_refused(kind):
    with pytest.raises(UnsupportedEvidence, match="report type"):
        parse_hcl(hcl_report(SNP_REPORT, CLAIMS, kind))


@pytest.mark.parametrize(
    "change", [{"version": 0}, {"version": 3}, {"data_version": 0}, {"data_version": 3}]
)
def test_unknown_versions_are_refused(change):
    with pytest.raises(UnsupportedEvidence, match="version"):
        parse_hcl(hcl_report(SNP_REPORT, CLAIMS, **change))


def test_bytes_after_a_td_report_are_refused():
    with pytest.raises(Malformed, match="hardware report"):
        parse_hcl(hcl_report(TD_REPORT + b"\x01", CLAIMS, TDX))


def test_a_report_that_is_cut_at_any_byte_is_refused():
    data = hcl_report(SNP_REPORT, CLAIMS, padding=b"")
    for size in range(len(data)):
        with pytest.raises(InputError):
            parse_hcl(data[:size])


def test_a_report_over_64_kib_is_refused():
    with pytest.raises(TooLarge):
        parse_hcl(bytes((64 << 10) + 1))


# Runtime claims


@pytest.fixture(scope="module")
def vm():
    return AzureVm()


def test_claims_are_read(vm):
    claims = parse_runtime_claims(vm.claims(user_data=b"\x07" * 64))
    assert claims.ak.key.public_numbers() == vm.ak.public_key().public_numbers()
    assert claims.vm_configuration["secure-boot"] is True
    assert claims.user_data == b"\x07" * 64


def test_25_two_attestation_keys_are_refused(vm):
    first = vm.keys()[0]
    with pytest.raises(Malformed, match="2 keys HCLAkPub"):
        parse_runtime_claims(vm.claims(keys=[first, first]))
    other = jwk(vm.ek.public_key(), "HCLAkPub", "sign")
    with pytest.raises(Malformed, match="2 keys HCLAkPub"):
        parse_runtime_claims(vm.claims(keys=[first, other]))


def test_25_no_attestation_key_is_refused(vm):
    for keys in ([], [vm.keys()[1]], None, {}, "x", [None], [1]):
        with pytest.raises(Malformed):
            parse_runtime_claims(vm.claims(keys=keys))


@pytest.mark.parametrize("member", ["keys", "vm-configuration", "user-data"])
def test_25_duplicate_members_are_refused(vm, member):
    text = vm.claims()
    doubled = text[:-1] + b',"' + member.encode() + b'":[]}'
    with pytest.raises(DuplicateKey):
        parse_runtime_claims(doubled)
    inner = text.replace(b'"kid":"HCLAkPub"', b'"kid":"HCLAkPub","kid":"HCLEkPub"')
    with pytest.raises(DuplicateKey):
        parse_runtime_claims(inner)


@pytest.mark.parametrize("bits", [1024, 1536, 2040])
def test_small_keys_are_refused(vm, bits):
    small = {**vm.keys()[0], "n": b64url_encode(b"\xff" * (bits // 8))}
    with pytest.raises(UnsupportedEvidence, match="bits"):
        parse_runtime_claims(vm.claims(keys=[small]))


@pytest.mark.parametrize(
    "change",
    [
        {"e": "Aw"},
        {"kty": "EC"},
        {"kty": None},
        {"key_ops": ["encrypt"]},
        {"key_ops": "sign"},
        {"n": None},
        {"n": 5},
        {"n": "A" * 100_000},
        {"n": "??"},
        {"e": "AAAA"},
        {"e": "AQ"},
        {"e": None},
    ],
)
def test_keys_that_are_none_are_refused(vm, change):
    with pytest.raises((InputError, UnsupportedEvidence)):
        parse_runtime_claims(vm.claims(keys=[{**vm.keys()[0], **change}]))


@pytest.mark.parametrize(
    "configuration",
    [
        [],
        "x",
        None,
        {"secure-boot": "true"},
        {"console-enabled": 0},
        {"tpm-enabled": None},
        {"vmUniqueId": 1},
    ],
)
def test_configurations_of_other_types_are_refused(vm, configuration):
    with pytest.raises(Malformed):
        parse_runtime_claims(vm.claims(**{"vm-configuration": configuration}))


@pytest.mark.parametrize("user_data", ["0", "xx", 1, ["00"], "00" * 2000, "00\n"])
def test_user_data_that_are_none_are_refused(vm, user_data):
    with pytest.raises(Malformed):
        parse_runtime_claims(vm.claims(**{"user-data": user_data}))


def test_a_key_whose_size_is_no_number_of_bytes_is_read(vm):
    odd = {**vm.keys()[0], "n": b64url_encode(b"\x01" + b"\xff" * 256)}
    assert parse_runtime_claims(vm.claims(keys=[odd])).ak.key.key_size == 2049


def test_claims_without_user_data(vm):
    assert parse_runtime_claims(vm.claims(**{"user-data": ""})).user_data is None


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 10_000])
def test_claims_that_are_no_object_are_refused(data):
    with pytest.raises(InputError):
        parse_runtime_claims(data)


@pytest.mark.parametrize("target", TARGETS)
@given(data=st.binary(max_size=400))
@settings(max_examples=100, deadline=None)
def test_hostile_bytes_raise_typed_errors_alone(target, data):
    TARGETS[target](data)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_changed_report_is_refused_or_read(data):
    report = bytearray(hcl_report(SNP_REPORT, CLAIMS))
    for _ in range(data.draw(st.integers(1, 4))):
        report[data.draw(st.integers(0, len(report) - 1))] = data.draw(st.integers(0, 255))
    TARGETS["azure-hcl"](bytes(report[: data.draw(st.integers(0, len(report)))]))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["keys", "kid", "kty", "n", "e", "key_ops", "vm-configuration", "user-data"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(value=json_values)
@settings(max_examples=150, deadline=None)
def test_made_claims_raise_typed_errors_alone(value):
    TARGETS["azure-claims"](msgspec.json.encode(value))
