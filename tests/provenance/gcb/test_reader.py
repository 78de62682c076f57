"""Google Cloud Build documents: what is signed counts, and what is printed around it must agree."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.encoding import b64_encode
from common.errors import TouchstoneError
from provenance import keys
from provenance.errors import (
    EnvelopeMalformed,
    ImageSummaryMismatch,
    PayloadTypeWrong,
    PredicateUnexpected,
    SignerUntrusted,
    StatementIncomplete,
    StatementMalformed,
    StatementSignatureInvalid,
    StatementUnsigned,
    TextMismatch,
)
from provenance.pipeline import Pipeline
from tests.provenance.gcb.cloud_build import (
    COMMIT,
    DIGEST,
    EAST,
    IMAGE,
    NOW,
    PAYLOAD_TYPE,
    SIGNER,
    V1,
    WEST,
    WORKER,
    admit,
    described,
    keyid,
    occurrence,
    pem,
    policy,
    private,
    signature,
    statement_v01,
    statement_v1,
)

_SIGNED = statement_v01()
PAYLOAD = json.dumps(_SIGNED | {"slsaProvenance": _SIGNED["predicate"]}).encode()


def test_each_kind_of_key_admits_what_it_signs() -> None:
    for named, statement in ((EAST, statement_v01()), (SIGNER, statement_v01()), (WORKER, statement_v1())):
        admitted = admit(described(occurrence(statement, named=named)))
        (signer,) = admitted.authentic.signers
        assert (signer.kind, signer.identity, signer.root) == ("key", named, "cloud-build")
        assert signer.key == keys.from_pem("ecdsa-p256-sha256", pem(private(named))).spki_sha256
        assert admitted.source_revision == COMMIT
        assert admitted.authentic.signed_at == NOW
        assert admitted.authentic.log_time is None


# --- signatures --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "made_by"), [(EAST, WEST), (WEST, EAST), (SIGNER, EAST), (SIGNER, WORKER)]
)
def test_signature_of_another_key_or_region_is_refused(named: str, made_by: str) -> None:
    with pytest.raises(StatementSignatureInvalid):
        admit(described(occurrence(statement_v01(), signature(PAYLOAD, named, key=made_by))))


@pytest.mark.parametrize(
    "named",
    ["", "k", keyid("nowhere1"), keyid(""), EAST + "0", "/" + EAST, EAST.upper(), keyid("../test-east1")],
)
def test_signature_that_names_no_key_of_the_policy_is_refused(named: str) -> None:
    with pytest.raises(SignerUntrusted):
        admit(described(occurrence(statement_v01(), signature(PAYLOAD, EAST) | {"keyid": named})))


def test_regional_signature_of_the_encoding_instead_of_the_payload_is_refused() -> None:
    as_dsse = signature(PAYLOAD, SIGNER, key=EAST) | {"keyid": EAST}
    with pytest.raises(StatementSignatureInvalid):
        admit(described(occurrence(statement_v01(), as_dsse)))


def test_global_signature_of_the_payload_instead_of_the_encoding_is_refused() -> None:
    as_legacy = signature(PAYLOAD, EAST, key=SIGNER) | {"keyid": SIGNER}
    with pytest.raises(StatementSignatureInvalid):
        admit(described(occurrence(statement_v01(), as_legacy)))


def test_altered_payload_is_refused() -> None:
    found = occurrence(statement_v01(), signature(PAYLOAD, SIGNER))
    found["envelope"]["payload"] = b64_encode(PAYLOAD.replace(DIGEST.encode(), b"cd" * 32))
    with pytest.raises(StatementSignatureInvalid):
        admit(described(found))


def test_no_signature_is_unsigned() -> None:
    found = occurrence(statement_v01())
    found["envelope"]["signatures"] = []
    with pytest.raises(StatementUnsigned):
        admit(described(found))


@pytest.mark.parametrize("sig", ["", "====", "not base64", "AAAA", b64_encode(b"\x30\x00" * 20)])
def test_signature_that_is_none_is_refused(sig: str) -> None:
    with pytest.raises(StatementSignatureInvalid):
        admit(described(occurrence(statement_v01(), {"keyid": SIGNER, "sig": sig})))


def test_either_base64_alphabet_is_read_for_signatures_and_a_mixture_is_not() -> None:
    made = next(
        item
        for item in (signature(PAYLOAD, SIGNER) for _ in range(200))
        if "+" in item["sig"] and "/" in item["sig"]
    )
    url = made["sig"].replace("+", "-").replace("/", "_")
    assert admit(described(occurrence(statement_v01(), made | {"sig": url}))).builder
    with pytest.raises(StatementSignatureInvalid):
        admit(described(occurrence(statement_v01(), made | {"sig": made["sig"].replace("+", "-")})))


def test_a_later_signature_or_provenance_that_holds_is_found_and_is_one_signer() -> None:
    broken, good = signature(PAYLOAD, EAST, key=WEST), signature(PAYLOAD, EAST)
    stranger = signature(PAYLOAD, EAST) | {"keyid": keyid("nowhere1")}
    signed = occurrence(statement_v01(), broken, stranger, good, signature(PAYLOAD, SIGNER))
    assert [item.identity for item in admit(described(signed)).authentic.signers] == [EAST]
    unusable = occurrence(statement_v01(), broken)
    malformed = occurrence(statement_v01()) | {"envelope": {"payload": "?", "payloadType": PAYLOAD_TYPE}}
    assert admit(described(malformed, unusable, signed)).builder


def test_two_keys_of_google_are_not_two_signers() -> None:
    both = occurrence(statement_v01(), signature(PAYLOAD, EAST), signature(PAYLOAD, SIGNER))
    signers = [{"name": "a", "root": "cloud-build"}, {"name": "b", "root": "cloud-build"}]
    with pytest.raises(SignerUntrusted):
        admit(described(both), signers=signers, threshold=2)


@pytest.mark.parametrize("named", [EAST, SIGNER])
def test_payload_type_is_in_totos_even_where_it_is_not_signed(named: str) -> None:
    found = occurrence(statement_v01(), signature(PAYLOAD, named, payload_type="text/plain"))
    found["envelope"]["payloadType"] = "text/plain"
    with pytest.raises(PayloadTypeWrong):
        admit(described(found))


@pytest.mark.parametrize(
    ("named", "statement"), [(WORKER, statement_v01()), (SIGNER, statement_v1()), (EAST, statement_v1())]
)
def test_a_key_signs_its_own_predicate_type_only(named: str, statement: dict[str, Any]) -> None:
    with pytest.raises(PredicateUnexpected):
        admit(described(occurrence(statement, named=named)))


def test_age_cannot_be_bounded_because_nothing_is_logged() -> None:
    with pytest.raises(StatementIncomplete):
        admit(described(occurrence(statement_v01())), max_age_seconds=10**9)


# --- the payload -------------------------------------------------------------------------------


def signed_bytes(payload: bytes) -> dict[str, Any]:
    found = occurrence(statement_v01(), signature(payload, SIGNER))
    found["envelope"]["payload"] = b64_encode(payload)
    return described(found)


@pytest.mark.parametrize(
    "payload",
    [
        PAYLOAD.replace(b'"slsaProvenance": {', b'"slsaProvenance": {"x": 1, ', 1),
        PAYLOAD[:-1] + b', "_type": "https://in-toto.io/Statement/v1"}',
        PAYLOAD[:-1] + b', "more": 1}',
        PAYLOAD.replace(b'"sha256": "' + b"ab" * 32, b'"sha1": "' + b"ab" * 20),
        PAYLOAD.replace(b"ab" * 32, b"zz" * 32),
        b"[]",
        b"{}",
        b"not JSON",
    ],
)
def test_signed_payload_that_is_not_strict_is_refused(payload: bytes) -> None:
    assert payload != PAYLOAD
    with pytest.raises(StatementMalformed):
        admit(signed_bytes(payload))


# --- what is printed around it -----------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"subject": [{"name": f"https://{IMAGE}:v1", "digest": {"sha256": "cd" * 32}}]},
        {"subject": []},
        {"predicateType": V1},
        {"_type": "https://in-toto.io/Statement/v1"},
        {"slsaProvenance": {}},
        {"slsaProvenance": None},
        {"more": 1},
    ],
)
def test_readable_copy_that_differs_is_refused(change: dict[str, Any]) -> None:
    found = occurrence(statement_v01())
    found["build"]["intotoStatement"] |= change
    with pytest.raises(TextMismatch):
        admit(described(found))


@pytest.mark.parametrize(
    "path",
    [
        ("builder", "id"),
        ("recipe", "type"),
        ("recipe", "entryPoint"),
        ("recipe", "arguments", "@type"),
        ("recipe", "arguments", "steps", 0, "name"),
        ("recipe", "arguments", "substitutions", "TAG_NAME"),
        ("materials", 0, "uri"),
        ("materials", 0, "digest", "sha1"),
        ("metadata", "buildStartedOn"),
    ],
)
def test_every_part_of_the_readable_copy_is_compared(path: tuple[str | int, ...]) -> None:
    found = occurrence(statement_v01())
    target: Any = found["build"]["intotoStatement"]["slsaProvenance"]
    for part in path[:-1]:
        target = target[part]
    target[path[-1]] += "x"
    with pytest.raises(TextMismatch):
        admit(described(found))


def test_readable_copy_may_differ_where_the_service_prints_it_differently() -> None:
    found = occurrence(statement_v01())
    text = found["build"]["intotoStatement"]["slsaProvenance"]
    text["recipe"]["definedInMaterial"] = "-1"
    text["metadata"] |= {"buildInvocationId": "other", "completeness": {"arguments": False}}
    text["metadata"]["reproducible"] = False
    assert admit(described(found)).builder
    text["metadata"]["completeness"] = {"arguments": True}
    with pytest.raises(TextMismatch):
        admit(described(found))


def test_readable_copy_of_the_other_version_does_not_stand_in() -> None:
    found = occurrence(statement_v1(), named=WORKER)
    found["build"] = {"intotoStatement": found["build"]["inTotoSlsaProvenanceV1"]}
    with pytest.raises(TextMismatch):
        admit(described(found))
    with pytest.raises(TextMismatch):
        admit(described(occurrence(statement_v01()) | {"build": {}}))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "BUIL"},
        {"kind": "VULNERABILITY"},
        {"kind": ""},
        {"resourceUri": ""},
        {"resourceUri": f"https://{IMAGE}:v1"},
        {"resourceUri": f"https://{IMAGE}@sha256:{'cd' * 32}"},
        {"resourceUri": f"https://{IMAGE}@sha256:{DIGEST} "},
    ],
)
def test_occurrence_about_something_else_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ImageSummaryMismatch):
        admit(described(occurrence(statement_v01()) | change))


@pytest.mark.parametrize(
    "change",
    [
        {"digest": f"sha256:{'cd' * 32}"},
        {"digest": DIGEST},
        {"digest": ""},
        {"digest": f"sha256:{DIGEST}\n"},
        {"digest": f"sha1:{DIGEST}"},
        {"fully_qualified_digest": f"{IMAGE}@sha256:{'cd' * 32}"},
        {"fully_qualified_digest": IMAGE},
    ],
)
def test_tampered_image_summary_is_refused(change: dict[str, Any]) -> None:
    document = described(occurrence(statement_v01()))
    document["image_summary"] |= change
    with pytest.raises(ImageSummaryMismatch):
        admit(document)


def test_all_digests_swapped_together_are_refused_unless_signed() -> None:
    text = json.dumps(described(occurrence(statement_v01())))
    with pytest.raises(ImageSummaryMismatch):
        admit(json.loads(text.replace(DIGEST, "cd" * 32)))


@pytest.mark.parametrize(
    "document",
    [
        {"image_summary": {}},
        {"provenance_summary": {}},
        described(),
        described(provenance_summary={"provenance": {}}),
        described(provenance_summary=[]),
        described({"envelope": 1}),
        described({"envelope": {}}),
        described({"envelope": {"payload": "e30", "payloadType": PAYLOAD_TYPE}}),
        described({"envelope": {"payload": "e30=", "payloadType": "\u00e4"}}),
        described({"envelope": {"payload": "e30=", "payloadType": PAYLOAD_TYPE, "signatures": [{}] * 17}}),
        described(*[{}] * 65),
        described(image_summary=1),
    ],
)
def test_malformed_document_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(EnvelopeMalformed):
        admit(document)


def test_document_is_refused_where_no_root_of_its_kind_is_trusted() -> None:
    roots = [{"name": "public-good", "kind": "sigstore-public-good"}]
    signers = [{"name": "ci", "root": "public-good", "issuer": "https://issuer", "identity": "somebody"}]
    with pytest.raises(SignerUntrusted):
        admit(described(occurrence(statement_v01())), roots=roots, signers=signers)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_no_other_error_comes_out_of_a_mangled_document(data: st.DataObject) -> None:
    document: Any = copy.deepcopy(GOOD)
    target = document
    while True:
        keys = list(target) if isinstance(target, dict) else list(range(len(target)))
        key = data.draw(st.sampled_from(keys))
        inner = target[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            break
        target = inner
    target[key] = data.draw(JSON)
    try:
        admitted = PIPELINE.admit(json.dumps(document).encode(), NOW)
    except TouchstoneError:
        return
    # What is admitted is what was signed, whatever stands around it.
    assert admitted.authentic.statement.subjects[0].digest == {"sha256": DIGEST}


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_no_other_error_comes_out_of_a_mangled_signed_predicate(data: st.DataObject) -> None:
    statement, named = data.draw(st.sampled_from([(statement_v01(), SIGNER), (statement_v1(), WORKER)]))
    target: Any = statement["predicate"]
    while True:
        keys = list(target) if isinstance(target, dict) else list(range(len(target)))
        key = data.draw(st.sampled_from(keys))
        inner = target[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            break
        target = inner
    target[key] = data.draw(JSON)
    try:
        PIPELINE.admit(json.dumps(described(occurrence(statement, named=named))).encode(), NOW)
    except TouchstoneError:
        return


GOOD = described(occurrence(statement_v01()))
PIPELINE = Pipeline(policy())
