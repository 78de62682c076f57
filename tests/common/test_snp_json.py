"""SNP reports and certificates in the JSON form of Confidential Containers: exact in both directions."""

from __future__ import annotations

import copy
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import snp_certificates_json, snp_report_json
from common.errors import InputError, Malformed, TooLarge
from common.snp_certificate_table import encode_certificate_table


def report(version=3, family=0x19, model=1, **patches: bytes) -> bytes:
    """A report without reserved bytes set; ``patches`` are at_<hex offset>=bytes."""
    data = bytearray(1184)
    struct.pack_into("<I", data, 0, version)
    data[0x1A0:0x1E0] = bytes(range(1, 65))
    if version >= 3:
        data[0x188:0x18B] = bytes([family, model, 1])
    for place, value in patches.items():
        offset = int(place.removeprefix("at_"), 16)
        data[offset : offset + len(value)] = value
    return bytes(data)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
MILAN = report(at_38=bytes([4, 0, 0, 0, 0, 0, 24, 219]), at_2A0=b"\x07" * 144)
TURIN = report(5, 0x1A, at_38=bytes([1, 3, 2, 5, 0, 0, 0, 97]), at_1F8=b"\x01" * 16)


def test_every_real_report_comes_back_as_it_was(vectors):
    paths = sorted((vectors / "evidence").glob("snp*/*/report.bin"))
    assert len(paths) >= 10
    for path in paths:
        data = path.read_bytes()
        document = json.loads(json.dumps(snp_report_json.to_json(data)))
        assert snp_report_json.from_json(document) == data, path


def test_a_turin_report_has_its_own_tcb_layout(vectors):
    document = snp_report_json.to_json(
        (vectors / "evidence/snp/turin-vcek-v5-anolis/report.bin").read_bytes()
    )
    assert document["version"] == 5
    assert document["reported_tcb"]["fmc"] is not None
    assert document["launch_mit_vector"] is not None
    milan = snp_report_json.to_json(
        (vectors / "evidence/snp/milan-vcek-v2-trustee/report.bin").read_bytes()
    )
    assert milan["reported_tcb"]["fmc"] is None
    assert milan["cpuid_fam_id"] is None


@pytest.mark.parametrize("data", [MILAN, TURIN, report(2), report(4)])
def test_members_are_where_the_specification_has_them(data):
    document = snp_report_json.to_json(data)
    assert set(document) == {
        "version", "guest_svn", "policy", "family_id", "image_id", "vmpl", "sig_algo", "current_tcb",
        "plat_info", "key_info", "report_data", "measurement", "host_data", "id_key_digest",
        "author_key_digest", "report_id", "report_id_ma", "reported_tcb", "cpuid_fam_id", "cpuid_mod_id",
        "cpuid_step", "chip_id", "committed_tcb", "current", "committed", "launch_tcb", "launch_mit_vector",
        "current_mit_vector", "signature",
    }  # fmt: skip
    assert snp_report_json.from_json(document) == data


def test_tcb_components_by_processor():
    assert snp_report_json.to_json(MILAN)["current_tcb"] == {
        "fmc": None, "bootloader": 4, "tee": 0, "snp": 24, "microcode": 219,
    }  # fmt: skip
    assert snp_report_json.to_json(TURIN)["current_tcb"] == {
        "fmc": 1, "bootloader": 3, "tee": 2, "snp": 5, "microcode": 97,
    }  # fmt: skip


@pytest.mark.parametrize("size", [0, 1183, 1185])
def test_another_size_is_no_report(size):
    with pytest.raises(Malformed):
        snp_report_json.to_json(bytes(size))


@pytest.mark.parametrize("version", [0, 1, 6, 2**32 - 1])
def test_unknown_versions_are_refused_both_ways(version):
    data = bytearray(MILAN)
    struct.pack_into("<I", data, 0, version)
    with pytest.raises(Malformed):
        snp_report_json.to_json(bytes(data))
    with pytest.raises(Malformed):
        snp_report_json.from_json(snp_report_json.to_json(MILAN) | {"version": version})


@pytest.mark.parametrize("place", [0x4C, 0x3A, 0x18B, 0x1EB, 0x1EF, 0x1F8, 0x208, 0x29F, 0x330, 0x49F])
def test_reserved_bytes_that_json_cannot_hold_are_refused(place):
    data = bytearray(MILAN)
    data[place] = 1
    with pytest.raises(Malformed, match="reserved"):
        snp_report_json.to_json(bytes(data))


def test_optional_members_of_newer_crates_may_be_absent():
    document = snp_report_json.to_json(report(2))
    for name in ("cpuid_fam_id", "cpuid_mod_id", "cpuid_step", "launch_mit_vector", "current_mit_vector"):
        del document[name]
    for name in ("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb"):
        del document[name]["fmc"]
    assert snp_report_json.from_json(document) == report(2)


@pytest.mark.parametrize(
    ("data", "path", "value"),
    [
        (MILAN, ("cpuid_fam_id",), None),
        (report(2), ("cpuid_fam_id",), 0),
        (report(4), ("launch_mit_vector",), 0),
        (TURIN, ("reported_tcb", "fmc"), None),
        (MILAN, ("reported_tcb", "fmc"), 0),
        (MILAN, ("reported_tcb", "snp"), 256),
        (MILAN, ("reported_tcb", "tee"), -1),
        (MILAN, ("reported_tcb", "other"), 1),
        (MILAN, ("reported_tcb",), [0] * 8),
        (MILAN, ("policy",), 2**64),
        (MILAN, ("policy",), "1"),
        (MILAN, ("policy",), 1.0),
        (MILAN, ("vmpl",), True),
        (MILAN, ("report_data",), [0] * 63),
        (MILAN, ("report_data",), [0] * 63 + [256]),
        (MILAN, ("report_data",), [0] * 63 + [True]),
        (MILAN, ("report_data",), "00" * 64),
        (MILAN, ("signature", "r"), [0] * 71),
        (MILAN, ("signature", "_reserved"), [0] * 368),
        (MILAN, ("current", "build"), None),
        (MILAN, ("unknown",), 1),
    ],
)
def test_a_document_that_is_not_exactly_a_report_is_refused(data, path, value):
    document = copy.deepcopy(snp_report_json.to_json(data))
    target = document
    for name in path[:-1]:
        target = target[name]
    target[path[-1]] = value
    with pytest.raises(Malformed):
        snp_report_json.from_json(document)


@pytest.mark.parametrize("name", ["version", "signature", "chip_id", "launch_tcb", "committed"])
def test_a_missing_member_is_named(name):
    document = snp_report_json.to_json(MILAN)
    del document[name]
    with pytest.raises(Malformed, match=name):
        snp_report_json.from_json(document)


@pytest.mark.parametrize("value", [None, [], "x", 5])
def test_other_types_are_no_report(value):
    with pytest.raises(Malformed):
        snp_report_json.from_json(value)


@given(_JSON)
def test_anything_else_raises_a_typed_error(value):
    for read in (snp_report_json.from_json, snp_certificates_json.from_json):
        try:
            read(value)
        except InputError:
            continue


@given(st.binary(min_size=1184, max_size=1184))
def test_arbitrary_reports_come_back_or_are_refused(data):
    try:
        document = snp_report_json.to_json(data)
    except Malformed:
        return
    assert snp_report_json.from_json(document) == data


class TestCertificates:
    def test_a_table_comes_as_entries(self):
        table = encode_certificate_table({"VCEK": b"leaf", "ASK": b"issuer", "ARK": b"root"})
        document = snp_certificates_json.to_json(table)
        assert document[0] == {"cert_type": "VCEK", "data": list(b"leaf")}
        assert snp_certificates_json.from_json(document) == {
            "VCEK": b"leaf",
            "ASK": b"issuer",
            "ARK": b"root",
        }

    @pytest.mark.parametrize("table", [b"", bytes(24), bytes(4096)])
    def test_an_empty_table_is_null(self, table):
        assert snp_certificates_json.to_json(table) is None

    def test_null_is_no_certificate(self):
        assert snp_certificates_json.from_json(None) == {}

    def test_other_types_and_empty_entries_are_left_out(self):
        other = {"cert_type": {"OTHER": "3f1b7d3e-0000-4000-8000-000000000000"}, "data": [1]}
        empty = {"cert_type": "Empty", "data": []}
        assert snp_certificates_json.from_json([other, empty, other]) == {}

    @pytest.mark.parametrize(
        "value",
        [
            {},
            "x",
            [1],
            [{"cert_type": "VCEK"}],
            [{"cert_type": "VCEK", "data": [1], "more": 1}],
            [{"cert_type": "vcek", "data": [1]}],
            [{"cert_type": {"OTHER": 1}, "data": [1]}],
            [{"cert_type": "VCEK", "data": [256]}],
            [{"cert_type": "VCEK", "data": "AA=="}],
            [{"cert_type": "VCEK", "data": [1]}, {"cert_type": "VCEK", "data": [2]}],
        ],
    )
    def test_other_forms_are_refused(self, value):
        with pytest.raises(Malformed):
            snp_certificates_json.from_json(value)

    def test_counts_and_sizes_are_bounded(self):
        with pytest.raises(TooLarge):
            snp_certificates_json.from_json([{"cert_type": "Empty", "data": []}] * 33)
        with pytest.raises(TooLarge):
            snp_certificates_json.from_json([{"cert_type": "VCEK", "data": [0] * 65537}])


def test_a_version_5_report_of_an_older_crate_has_no_mitigation_vectors():
    document = snp_report_json.to_json(report(5))
    del document["launch_mit_vector"]
    document["current_mit_vector"] = None
    assert snp_report_json.from_json(document) == report(5)
