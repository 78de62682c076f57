"""Parts of the conformance runner that read foreign bytes, and its rule for agreement."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import Malformed, TouchstoneError
from service.conformance.case_files import CaseFiles, UnknownOperation, lenient_base64
from service.conformance.protobuf import bytes_of, fields_of, int_of
from service.conformance.tpm import run_case
from testkit.swtpm import event_record, spec_id_record
from verifier.tpm.public import spki_of
from verifier.tpm.spki import public_of_spki, spki_of_pem


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_message_parses_or_raises_a_typed_error(data):
    try:
        fields_of(data)
    except TouchstoneError:
        pass


@pytest.mark.parametrize("data", [b"\x0a\x05abc", b"\x08", b"\x08" + b"\xff" * 11, b"\x0d\x00\x00\x00\x00"])
def test_a_message_cut_short_or_of_another_type_is_malformed(data):
    with pytest.raises(Malformed):
        fields_of(data)


def test_fields_are_read_in_order():
    fields = fields_of(b"\x08\x96\x01\x12\x02hi\x12\x01!")
    assert int_of(fields, 1) == 150
    assert bytes_of(fields, 2) == [b"hi", b"!"]
    assert int_of(fields, 9) == 0


@pytest.mark.parametrize("text", ["_-8=", "/+8", "_-8", "/+8="])
def test_base64_is_read_in_all_four_forms(text):
    assert lenient_base64(text) == b"\xff\xef"


DIGESTS = {"sha256": b"\x01" * 32}


def case(tmp_path, expect, mutation=None):
    (tmp_path / "log").write_bytes(spec_id_record(["sha256"]) + event_record(0, 4, DIGESTS, b"x"))
    claims = {"pcrs_replayed": {"sha256": {"1": "00" * 32}}}
    return {
        "id": "x",
        "tee": "eventlog-tcg",
        "files": {"eventlog": "log"},
        "expect": {"claims": claims} | expect,
        "mutation": mutation,
    }


def test_a_refusal_for_another_reason_than_the_manifests_disagrees(tmp_path):
    truncate = {"op": "truncate", "file": "eventlog", "length": 40}
    for error, agree in (("parse_error", True), ("eventlog_mismatch", False)):
        outcome = run_case(case(tmp_path, {"result": "fail", "error": error}, truncate), tmp_path)
        assert (outcome.got, outcome.code, outcome.agree) == ("fail", "input.malformed", agree)


def test_a_pass_where_the_manifest_says_fail_disagrees(tmp_path):
    outcome = run_case(case(tmp_path, {"result": "fail", "error": "parse_error"}), tmp_path)
    assert (outcome.got, outcome.agree) == ("pass", False)


def test_an_unknown_mutation_is_not_passed_over(tmp_path):
    with pytest.raises(UnknownOperation):
        CaseFiles(case(tmp_path, {}, {"op": "rotate", "file": "eventlog"}), tmp_path)


def test_an_unknown_mutation_is_unsupported_and_no_agreement(tmp_path):
    mutated = case(tmp_path, {"result": "fail"}, {"op": "rotate", "file": "eventlog"})
    outcome = run_case(mutated, tmp_path)
    assert (outcome.got, outcome.agree) == ("unsupported", None)


def test_a_case_that_cannot_be_read_disagrees(tmp_path):
    mutated = case(tmp_path, {"result": "fail", "error": "parse_error"})
    mutated["expect"]["claims"] = None
    assert run_case(mutated, tmp_path).agree is False


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"op": "flip_bit", "offset": 0, "bit": 1}, b'\x79"a": "6162"}'),
        ({"op": "set_bytes", "offset": 1, "hex": "7878"}, b'{xx": "6162"}'),
        ({"op": "append_bytes", "hex": "00"}, b'{"a": "6162"}\x00'),
        ({"op": "truncate", "length": 2}, b'{"'),
        ({"op": "delete_range", "start": 1, "end": 12}, b"{}"),
        ({"op": "json_set", "path": ["a"], "value": 1}, b'{"a": 1}'),
        ({"op": "json_flip_bit", "path": ["a"], "encoding": "hex", "byte": 1, "bit": 0}, b'{"a": "6163"}'),
    ],
)
def test_every_operation_changes_what_it_says(tmp_path, operation, expected):
    (tmp_path / "f").write_text(json.dumps({"a": "6162"}))
    mutated = {"id": "x", "files": {"f": "f"}, "mutation": operation | {"file": "f"}}
    assert CaseFiles(mutated, tmp_path).read("f") == expected


@pytest.mark.parametrize("bits", [2049, 2052])
def test_a_key_whose_size_is_no_number_of_bytes_is_read(bits):
    numbers = rsa.RSAPublicNumbers(65537, (1 << (bits - 1)) | 1)
    assert public_of_spki(spki_of(numbers.public_key())).key.key_size == bits


def test_a_key_on_a_curve_that_is_not_known_is_malformed():
    spki = spki_of(ec.generate_private_key(ec.SECP256R1()).public_key())
    unknown = spki.replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030163"))
    assert unknown != spki
    with pytest.raises(Malformed):
        public_of_spki(unknown)
    body = base64.encodebytes(unknown)
    with pytest.raises(Malformed):
        spki_of_pem(b"-----BEGIN PUBLIC KEY-----\n" + body + b"-----END PUBLIC KEY-----\n")
