"""Cosign's layers as envelopes, verified by the one verifier; cosign signatures as statements."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import strict_json
from common.encoding import b64_encode
from common.errors import TouchstoneError
from provenance.errors import (
    EnvelopeMalformed,
    LogEntryInvalid,
    PredicateUnexpected,
    SignerUntrusted,
    StatementIncomplete,
    StatementMalformed,
    StatementSignatureInvalid,
    StatementUnsigned,
)
from provenance.oci import cosign, signature
from provenance.pipeline import Pipeline
from testkit.authority import TestAuthority, TestKey, sign_dsse
from tests.provenance.builds import IDENTITY, NOW, policy
from tests.provenance.oci.layers import (
    OLD,
    OLD_INTOTO,
    attestation_of,
    old_attestation,
    old_signature,
    payload_of,
    signature_document,
)

IMAGE = "sha256:" + "cd" * 32


def pipeline(authority: TestAuthority, *, legacy: bool = True, **changes: Any) -> Pipeline:
    root = {
        "name": "ours",
        "kind": "sigstore",
        "trusted_root": authority.trusted_root(),
        "legacy_bundles": legacy,
    }
    types = ["https://slsa.dev/provenance/v1", signature.PREDICATE_TYPE]
    return Pipeline(policy(None, **({"roots": [root], "predicate_types": types} | changes)))


def key_pipeline(key: TestKey) -> Pipeline:
    signers = [{"name": "release", "root": "key"}]
    return Pipeline(
        policy(
            None,
            roots=[key.root("key")],
            signers=signers,
            builders=[],
            sources=[],
            predicate_types=[signature.PREDICATE_TYPE],
        )
    )


@pytest.mark.parametrize("options", [OLD, OLD_INTOTO])
def test_an_old_attestation_layer_is_admitted_where_the_root_takes_old_bundles(
    authority: TestAuthority, options: Any
) -> None:
    layer = old_attestation(authority, attestation_of(IMAGE), options)
    envelope = cosign.envelope_of_dsse_layer(*layer)
    admitted = pipeline(authority).admit(envelope, NOW)
    assert admitted.authentic.signers[0].identity == IDENTITY
    assert admitted.authentic.log_time is not None
    assert cosign.envelope_of_dsse_layer(*layer) == envelope  # its digest is stable


def test_an_old_attestation_layer_is_incomplete_where_the_root_does_not(authority: TestAuthority) -> None:
    envelope = cosign.envelope_of_dsse_layer(*old_attestation(authority, attestation_of(IMAGE)))
    with pytest.raises(StatementIncomplete):
        pipeline(authority, legacy=False).admit(envelope, NOW)


def test_another_payload_under_the_same_log_entry_is_refused(authority: TestAuthority) -> None:
    data, marks = old_attestation(authority, attestation_of(IMAGE))
    document = json.loads(data) | {"payload": b64_encode(attestation_of("sha256:" + "ee" * 32))}
    envelope = cosign.envelope_of_dsse_layer(json.dumps(document).encode(), marks)
    with pytest.raises(StatementSignatureInvalid):
        pipeline(authority).admit(envelope, NOW)


def test_a_log_bundle_of_another_signature_is_refused(authority: TestAuthority) -> None:
    data, marks = old_attestation(authority, attestation_of(IMAGE))
    _, other = old_attestation(authority, attestation_of(IMAGE))
    mixed = marks | {"dev.sigstore.cosign/bundle": other["dev.sigstore.cosign/bundle"]}
    with pytest.raises(LogEntryInvalid):
        pipeline(authority).admit(cosign.envelope_of_dsse_layer(data, mixed), NOW)


def test_a_changed_log_time_breaks_the_promise(authority: TestAuthority) -> None:
    data, marks = old_attestation(authority, attestation_of(IMAGE))
    log = json.loads(marks["dev.sigstore.cosign/bundle"])
    log["Payload"]["integratedTime"] += 1
    changed = marks | {"dev.sigstore.cosign/bundle": json.dumps(log)}
    with pytest.raises(LogEntryInvalid):
        pipeline(authority).admit(cosign.envelope_of_dsse_layer(data, changed), NOW)


def test_a_certificate_without_a_log_entry_is_incomplete_not_forged(authority: TestAuthority) -> None:
    data, marks = old_attestation(authority, attestation_of(IMAGE))
    del marks["dev.sigstore.cosign/bundle"]
    with pytest.raises(StatementIncomplete):
        pipeline(authority).admit(cosign.envelope_of_dsse_layer(data, marks), NOW)
    payload, marks = old_signature(authority, payload_of(IMAGE))
    del marks["dev.sigstore.cosign/bundle"]
    with pytest.raises(StatementIncomplete):
        pipeline(authority).admit(signature.document_of_layer(payload, marks), NOW)


def test_an_envelope_without_annotations_stays_as_it_is() -> None:
    data = sign_dsse(attestation_of(IMAGE), [(TestKey(), "")])
    assert cosign.envelope_of_dsse_layer(data, {"dev.sigstore.cosign/certificate": ""}) == data


def test_a_signature_becomes_a_statement_about_the_manifest_digest(authority: TestAuthority) -> None:
    document = signature_document(authority, payload_of(IMAGE))
    authentic = pipeline(authority).authenticate(document, NOW)
    assert authentic.attestation == hashlib.sha256(document).hexdigest()
    assert authentic.statement.subjects[0].digest == {"sha256": "cd" * 32}
    assert authentic.statement.predicate_type == "urn:touchstone:cosign-signature:v1"
    assert authentic.statement.predicate["optional"] == {}
    assert authentic.signers[0].identity == IDENTITY


def test_a_signature_counts_only_where_the_policy_names_its_predicate_type(
    authority: TestAuthority,
) -> None:
    document = signature_document(authority, payload_of(IMAGE))
    with pytest.raises(PredicateUnexpected):
        pipeline(authority, predicate_types=["https://slsa.dev/provenance/v1"]).admit(document, NOW)


def test_a_signature_over_another_payload_is_refused(authority: TestAuthority) -> None:
    document = strict_json.loads(signature_document(authority, payload_of(IMAGE)))
    document["payload"] = b64_encode(payload_of("sha256:" + "ee" * 32))
    with pytest.raises(StatementSignatureInvalid):
        pipeline(authority).authenticate(strict_json.canonical(document), NOW)


def test_a_signature_of_a_stranger_is_not_authentic(
    authority: TestAuthority, stranger: TestAuthority
) -> None:
    with pytest.raises(LogEntryInvalid):
        pipeline(authority).authenticate(signature_document(stranger, payload_of(IMAGE)), NOW)


def test_a_signature_by_a_key_is_verified_by_the_policys_key_alone() -> None:
    key, other = TestKey(), TestKey()
    payload = payload_of(IMAGE)
    marks = {"dev.cosignproject.cosign/signature": b64_encode(key.sign(payload))}
    document = signature.document_of_layer(payload, marks)
    admitted = key_pipeline(key).admit(document, NOW)
    assert admitted.authentic.signers[0].identity == f"key:{key.spki_sha256}"
    assert admitted.authentic.log_time is None
    with pytest.raises(StatementSignatureInvalid):
        key_pipeline(other).admit(document, NOW)


def test_a_key_signature_means_nothing_to_a_policy_without_keys(authority: TestAuthority) -> None:
    payload = payload_of(IMAGE)
    marks = {"dev.cosignproject.cosign/signature": b64_encode(TestKey().sign(payload))}
    with pytest.raises(SignerUntrusted):
        pipeline(authority).authenticate(signature.document_of_layer(payload, marks), NOW)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        payload_of("sha256:" + "CD" * 32),
        payload_of("sha512:" + "cd" * 64),
        payload_of(IMAGE, type="atomic container signature"),
        payload_of(IMAGE, image={"docker-manifest-digest": IMAGE, "other": IMAGE}),
        payload_of(IMAGE, extra=1),
        payload_of(IMAGE, identity={"docker-reference": 7}),
        payload_of(IMAGE, identity={"docker-reference": "a\nb"}),
        payload_of(IMAGE).replace(b'"optional": null', b'"optional": [1]'),
        payload_of(IMAGE).replace(b'"type"', b'"image": {}, "type"'),
    ],
)
def test_a_payload_of_another_shape_is_refused_although_it_is_signed(payload: bytes) -> None:
    key = TestKey()
    marks = {"dev.cosignproject.cosign/signature": b64_encode(key.sign(payload))}
    document = signature.document_of_layer(payload, marks)
    with pytest.raises(StatementMalformed):
        key_pipeline(key).authenticate(document, NOW)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"signature": ""}, StatementUnsigned),
        ({"signature": 1}, EnvelopeMalformed),
        ({"payload": "=="}, EnvelopeMalformed),
        ({"bundle": {}}, EnvelopeMalformed),
        ({"extra": 1}, EnvelopeMalformed),
        ({"certificate": "x"}, EnvelopeMalformed),
    ],
)
def test_a_signature_document_of_another_shape_is_refused(changes: dict[str, Any], error: type) -> None:
    key = TestKey()
    good = {
        "format": signature.FORMAT,
        "payload": b64_encode(payload_of(IMAGE)),
        "signature": b64_encode(key.sign(payload_of(IMAGE))),
    }
    with pytest.raises(error):
        key_pipeline(key).authenticate(strict_json.canonical(good | changes), NOW)


def test_text_that_is_not_unicode_is_refused_in_our_terms() -> None:
    lone = {"dev.cosignproject.cosign/signature": "AAAA", "dev.sigstore.cosign/certificate": "\ud800"}
    with pytest.raises(EnvelopeMalformed):
        signature.document_of_layer(payload_of(IMAGE), lone)
    data = sign_dsse(attestation_of(IMAGE), [(TestKey(), "k")]).replace(b'"k"', b'"\\ud800"')
    with pytest.raises(EnvelopeMalformed):
        cosign.envelope_of_dsse_layer(data, {"dev.sigstore.cosign/certificate": "x"})


MARK = st.sampled_from(
    [
        "dev.cosignproject.cosign/signature",
        "dev.sigstore.cosign/certificate",
        "dev.sigstore.cosign/bundle",
        "dev.sigstore.cosign/rfc3161timestamp",
    ]
)
VALUE = st.text(max_size=6) | st.sampled_from(
    [
        "{}",
        '{"Payload":{}}',
        '{"Payload":{"body":"e30=","integratedTime":1,"logIndex":1,"logID":"' + "ab" * 32 + '"}}',
        '{"Payload":{"body":"e30=","integratedTime":true}}',
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "AAAA",
        "\ud800",
    ]
)


@settings(deadline=None, max_examples=200)
@given(
    st.binary(max_size=40)
    | st.sampled_from(
        [sign_dsse(b"{}", [(TestKey(), "")]), payload_of(IMAGE), b'{"payload":1}', b'{"format":1}']
    ),
    st.dictionaries(MARK, VALUE, max_size=4),
)
def test_foreign_layers_give_an_envelope_or_our_error(data: bytes, marks: dict[str, str]) -> None:
    for convert in (
        cosign.envelope_of_dsse_layer,
        signature.document_of_layer,
        lambda data, _: signature.parse_payload(data),
        lambda data, _: signature.parse_document({"format": signature.FORMAT, "payload": data.hex()}),
    ):
        try:
            convert(data, marks)
        except TouchstoneError:
            continue
