"""Our own predicate: strict to read, signed only when sound, and taken over exactly as stated."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidSetting, TouchstoneError
from provenance import dsse, keys
from provenance import statement as in_toto
from provenance.derivation import derive
from provenance.errors import (
    ExpiryInvalid,
    LaunchShapeInvalid,
    NotDerivable,
    PredicateUnexpected,
    StatementMalformed,
    StatementSignatureInvalid,
)
from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue
from provenance.predicates import reference as reference_predicate
from provenance.predicates import reference_statement
from tests.provenance.derivation import material

NOW = material.SIGNED_AT + timedelta(hours=1)
TAKE_OVER = DerivationRequest(rule="reference-values")
LIVE: dict[str, Any] = {
    "values": [{"name": "snp_launch_measurement", "value": "ab" * 48, "tee": "snp", "group": "r1"}],
    "derivedFrom": [{"attestation": "cd" * 32}],
    "rule": "snp-launch-digest/1",
    "inputs": {},
    "issuedAt": "2026-06-01T10:00:00Z",
}


def _derived(**changes: Any) -> tuple[AdmittedStatement, tuple[DerivedValue, ...]]:
    admitted, artifacts = material.build()
    launch = {"vcpus": [1, 2]} | changes.pop("launch", {})
    return admitted, derive(admitted, material.request(launch=launch, **changes), artifacts)


def _carried(predicate: dict[str, Any]) -> AdmittedStatement:
    return material.admitted(
        material.subject("build", b"build"),
        predicate_type="urn:touchstone:reference-values:v1",
        predicate=predicate,
    )


def _value(**changes: Any) -> dict[str, Any]:
    return {"values": [LIVE["values"][0] | changes]}


def _private_keys() -> list[tuple[str, Any]]:
    return [
        ("ecdsa-p256-sha256", ec.generate_private_key(ec.SECP256R1())),
        ("ecdsa-p384-sha384", ec.generate_private_key(ec.SECP384R1())),
        ("ed25519", ed25519.Ed25519PrivateKey.generate()),
    ]


# -- the predicate


@pytest.mark.parametrize(
    "change",
    [
        {"values": []},
        {"values": [LIVE["values"][0]] * 4097},
        {"values": {}},
        _value(name="a b"),
        _value(name=""),
        _value(group="../up"),
        _value(tee="riscv"),
        _value(tee="SNP"),
        _value(value="ab" * 47),
        _value(value="AB" * 48),
        _value(value=None),
        _value(value=1),
        _value(value=["ab" * 48]),
        _value(name="svn", value=1.5),
        _value(name="svn", value=1 << 60),
        _value(name="svn", value=""),
        _value(name="svn", value="a\nb"),
        _value(scalar="yes"),
        _value(expires="2027-06-01T00:00:00Z"),
        {"derivedFrom": []},
        {"derivedFrom": [{"builder": "x"}]},
        {"derivedFrom": [{"attestation": "cd"}]},
        {"derivedFrom": [{"attestation": "cd" * 32, "source_uri": "x"}]},
        {"derivedFrom": [{"attestation": "cd" * 32, "builder": ""}]},
        {"rule": ""},
        {"rule": None},
        {"inputs": []},
        {"issuedAt": "yesterday"},
        {"issuedAt": "2026-06-01"},
        {"expires": None},
        {"expires": "2026-06-01T10:00:00Z"},
        {"expires": "never"},
        {"notBefore": "2026-06-01T10:00:00Z"},
    ],
    ids=lambda change: str(change)[:60],
)
def test_a_predicate_out_of_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(PredicateUnexpected):
        derive(_carried(LIVE | change), TAKE_OVER, [])


@pytest.mark.parametrize("member", sorted(LIVE))
def test_every_member_but_expires_is_required(member: str) -> None:
    rest = {name: value for name, value in LIVE.items() if name != member}
    with pytest.raises(PredicateUnexpected):
        derive(_carried(rest), TAKE_OVER, [])


def test_another_predicate_is_not_taken_over() -> None:
    admitted, _ = material.build()
    with pytest.raises(PredicateUnexpected):
        derive(admitted, TAKE_OVER, [])


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*LIVE, "expires", "other"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["name", "value", "tee", "group", "attestation"]), inner)
            ),
            max_leaves=10,
        ),
    )
)
def test_predicates_of_any_shape_give_values_or_a_typed_error(changes: dict[str, Any]) -> None:
    try:
        values = derive(_carried(LIVE | changes), TAKE_OVER, [])
    except TouchstoneError:
        return
    assert values


# -- the rule reference-values


def test_values_are_taken_over_as_stated_with_their_sources() -> None:
    predicate = LIVE | {
        "values": [
            *LIVE["values"],
            {"name": "svn", "value": 3, "tee": "tpm", "group": "r2", "scalar": True},
        ],
        "inputs": {"firmware": "ee" * 32},
    }
    first, second = derive(_carried(predicate), TAKE_OVER, [])
    assert (first.value, first.group, first.rule) == ("ab" * 48, "r1", "reference-values/1")
    assert (second.name, second.value, second.tee, second.scalar) == ("svn", 3, "tpm", True)
    assert first.inputs == {
        "statedRule": "snp-launch-digest/1",
        "derivedFrom": [{"attestation": "cd" * 32}],
        "stated": {"firmware": "ee" * 32},
    }
    assert first.not_before == material.SIGNED_AT
    assert first.expires is None


def test_a_request_can_shorten_validity_but_not_lengthen_it() -> None:
    admitted = _carried(LIVE | {"expires": "2027-01-01T00:00:00Z"})
    for asked, got in (("2026-12-01T00:00:00Z", 2026), ("2028-01-01T00:00:00Z", 2027)):
        (value,) = derive(admitted, DerivationRequest(rule="reference-values", expires=asked), [])
        assert value.expires is not None
        assert value.expires.year == got


def test_values_that_had_expired_when_they_were_signed_are_refused() -> None:
    predicate = LIVE | {"issuedAt": "2026-05-01T00:00:00Z", "expires": "2026-05-02T00:00:00Z"}
    with pytest.raises(ExpiryInvalid):
        derive(_carried(predicate), TAKE_OVER, [])


def test_what_could_change_nothing_is_refused_not_ignored() -> None:
    admitted = _carried(LIVE)
    with pytest.raises(LaunchShapeInvalid):
        derive(admitted, DerivationRequest(rule="reference-values", launch={"vcpus": 1}), [])
    with pytest.raises(NotDerivable):
        derive(admitted, TAKE_OVER, [Artifact("kernel", "build", b"build")])
    with pytest.raises(NotDerivable):
        derive(admitted, DerivationRequest(rule="reference-values", subjects={"a": "build"}), [])


def test_the_requests_group_replaces_the_stated_ones() -> None:
    request = DerivationRequest(rule="reference-values", group="site-a")
    assert [value.group for value in derive(_carried(LIVE), request, [])] == ["site-a"]


# -- building and signing


def test_what_was_derived_survives_the_carriage() -> None:
    admitted, values = _derived(group="r7", expires="2027-06-01T00:00:00Z")
    statement = in_toto.parse(
        reference_statement.build([reference_statement.source_of(admitted)], values, now=NOW)
    )
    assert {subject.name for subject in statement.subjects} == {
        f"attestation/{material.ATTESTATION}",
        "firmware",
        "kernel",
        "initrd",
        "cmdline",
    }
    carried = material.admitted(
        *statement.subjects, predicate_type=statement.predicate_type, predicate=statement.predicate
    )
    received = derive(carried, TAKE_OVER, [])
    kept = ("name", "value", "tee", "group", "expires", "scalar")
    assert [[getattr(v, k) for k in kept] for v in received] == [
        [getattr(v, k) for k in kept] for v in values
    ]
    assert [value.inputs["stated"] for value in received] == [value.inputs for value in values]
    assert received[0].inputs["derivedFrom"] == [
        {
            "attestation": material.ATTESTATION,
            "builder": "https://builder.example/v1",
            "sourceUri": "https://source.example/repo",
            "sourceRevision": "ef" * 20,
        }
    ]


def test_the_statement_is_the_same_bytes_each_time() -> None:
    admitted, values = _derived()
    first = reference_statement.build([reference_statement.source_of(admitted)], values, now=NOW)
    assert first == reference_statement.build([reference_statement.source_of(admitted)], values, now=NOW)
    assert json.loads(first)["predicate"]["issuedAt"] == "2026-06-01T13:00:00Z"
    assert "expires" not in json.loads(first)["predicate"]


def test_values_of_two_rules_or_of_none_are_not_one_statement() -> None:
    admitted, values = _derived()
    stated = derive(_carried(LIVE), TAKE_OVER, [])
    for some in ((), (*values, *stated)):
        with pytest.raises(NotDerivable):
            reference_statement.build([reference_statement.source_of(admitted)], some, now=NOW)
    with pytest.raises(NotDerivable):
        reference_statement.build([], values, now=NOW)


def test_a_statement_that_would_have_expired_at_its_issue_is_not_built() -> None:
    admitted, values = _derived(expires="2026-06-01T12:30:00Z")
    with pytest.raises(PredicateUnexpected):
        reference_statement.build([reference_statement.source_of(admitted)], values, now=NOW)


@pytest.mark.parametrize("index", range(3))
def test_a_signed_statement_verifies_with_its_key_and_no_other(index: int) -> None:
    admitted, values = _derived()
    statement = reference_statement.build([reference_statement.source_of(admitted)], values, now=NOW)
    algorithm, private = _private_keys()[index]
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    public = keys.from_pem(algorithm, pem.decode())
    envelope = dsse.parse(dsse.load_json(reference_statement.sign(statement, private)))
    trusted, names = {public.spki_sha256: public}, {public.spki_sha256: public.spki_sha256}
    assert dsse.verify_with_keys(envelope, trusted, names) == (public.spki_sha256,)
    assert (envelope.payload, envelope.payload_type) == (statement, in_toto.PAYLOAD_TYPE)
    assert [item.keyid for item in envelope.signatures] == [public.spki_sha256]
    assert reference_predicate.parse(in_toto.parse(envelope.payload)).rule == "snp-launch-digest/1"
    other_algorithm, other_private = _private_keys()[index]
    other_pem = other_private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    other = keys.from_pem(other_algorithm, other_pem.decode())
    with pytest.raises(StatementSignatureInvalid):
        dsse.verify_with_keys(envelope, {other.spki_sha256: other}, {public.spki_sha256: other.spki_sha256})


@pytest.mark.parametrize(
    "private",
    [
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        b"key",
    ],
    ids=["P-521", "RSA", "bytes"],
)
def test_other_keys_do_not_sign(private: object) -> None:
    admitted, values = _derived()
    with pytest.raises(InvalidSetting):
        reference_statement.sign(
            reference_statement.build([reference_statement.source_of(admitted)], values, now=NOW), private
        )


def test_nothing_but_a_reference_value_statement_is_signed() -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    with pytest.raises(StatementMalformed):
        reference_statement.sign(b"{}", private)
    foreign = {
        "_type": in_toto.STATEMENT_V1,
        "subject": [{"name": "a", "digest": {"sha256": "00" * 32}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": LIVE,
    }
    with pytest.raises(PredicateUnexpected):
        reference_statement.sign(json.dumps(foreign).encode(), private)
