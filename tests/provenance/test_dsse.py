"""DSSE with raw keys: abuse case 34."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.encoding import b64_encode
from common.errors import TouchstoneError
from provenance import dsse
from provenance.errors import (
    BuilderUntrusted,
    EnvelopeMalformed,
    PayloadTypeWrong,
    SignerUntrusted,
    StatementIncomplete,
    StatementSignatureInvalid,
    StatementUnsigned,
    TrustPolicyInvalid,
)
from provenance.pipeline import Pipeline
from testkit.authority import TestKey, sign_dsse
from tests.provenance.builds import NOW, policy, statement

ALICE, BOB, MALLORY = TestKey(), TestKey("ed25519"), TestKey("ecdsa-p384-sha384")


def admit(envelope: bytes, **changes: Any) -> Any:
    defaults: dict[str, Any] = {
        "roots": [ALICE.root("alice", keyid="alice-2026"), BOB.root("bob")],
        "signers": [{"name": "alice", "root": "alice"}, {"name": "bob", "root": "bob"}],
    }
    return Pipeline(policy(None, **(defaults | changes))).admit(envelope, NOW)


@pytest.mark.parametrize("keyid", ["", "alice-2026", ALICE.spki_sha256], ids=["none", "named", "digest"])
def test_a_trusted_key_admits(keyid: str) -> None:
    admitted = admit(sign_dsse(statement(), [(ALICE, keyid)]))
    signer = admitted.authentic.signers[0]
    assert (signer.kind, signer.identity, signer.root) == ("key", f"key:{ALICE.spki_sha256}", "alice")
    assert admitted.source_uri == "https://github.com/acme/cvm"
    assert admitted.authentic.log_time is None


def test_swapped_payload_type_does_not_verify() -> None:
    document = json.loads(sign_dsse(statement(), [(ALICE, "")]))
    document["payloadType"] = "text/plain"
    with pytest.raises(StatementSignatureInvalid):
        admit(json.dumps(document).encode())


def test_foreign_payload_type_is_refused_though_it_verifies() -> None:
    with pytest.raises(PayloadTypeWrong):
        admit(sign_dsse(statement(), [(ALICE, "")], payload_type="application/json"))


def test_two_signatures_of_one_key_are_one_signer() -> None:
    twice = sign_dsse(statement(), [(ALICE, ""), (ALICE, "alice-2026")])
    assert len(admit(twice).authentic.signers) == 1
    with pytest.raises(SignerUntrusted):
        admit(twice, threshold=2)


def test_two_keys_meet_a_threshold_of_two() -> None:
    assert len(admit(sign_dsse(statement(), [(ALICE, ""), (BOB, "")]), threshold=2).authentic.signers) == 2


def test_one_key_under_two_names_is_refused_in_the_policy() -> None:
    with pytest.raises(TrustPolicyInvalid):
        admit(b"{}", roots=[ALICE.root("alice"), ALICE.root("bob")])


def test_keyid_of_another_key_is_refused() -> None:
    with pytest.raises(StatementSignatureInvalid):
        admit(sign_dsse(statement(), [(BOB, "alice-2026")]))
    with pytest.raises(StatementSignatureInvalid):
        # A good signature does not excuse one that lies about its key.
        admit(sign_dsse(statement(), [(ALICE, "alice-2026"), (MALLORY, BOB.spki_sha256)]))


def test_key_that_the_policy_does_not_name_is_refused() -> None:
    with pytest.raises(SignerUntrusted):
        admit(sign_dsse(statement(), [(MALLORY, "mallory")]))
    with pytest.raises(StatementSignatureInvalid):
        admit(sign_dsse(statement(), [(MALLORY, "")]))


def test_unknown_party_beside_a_trusted_one_is_ignored() -> None:
    admitted = admit(sign_dsse(statement(), [(MALLORY, "mallory"), (ALICE, "alice-2026")]))
    assert [signer.root for signer in admitted.authentic.signers] == ["alice"]


def test_key_outside_its_window_does_not_count() -> None:
    late = ALICE.root("alice", not_after="2026-01-01T00:00:00Z")
    with pytest.raises(StatementSignatureInvalid):
        admit(
            sign_dsse(statement(), [(ALICE, "")]),
            roots=[late, BOB.root("bob")],
        )


def test_algorithm_is_the_one_the_policy_names() -> None:
    with pytest.raises(TrustPolicyInvalid):
        admit(b"{}", roots=[ALICE.root("alice") | {"algorithm": "ecdsa-p384-sha384"}, BOB.root("bob")])


def test_unsigned_envelopes_are_refused() -> None:
    document = json.loads(sign_dsse(statement(), [(ALICE, "")]))
    for signatures in ([], [{"sig": ""}]):
        with pytest.raises(StatementUnsigned):
            admit(json.dumps(document | {"signatures": signatures}).encode())


def test_age_cannot_be_met_without_a_logged_time() -> None:
    with pytest.raises(StatementIncomplete):
        admit(sign_dsse(statement(), [(ALICE, "")]), max_age_seconds=3600)


def test_builder_may_be_reserved_to_signers() -> None:
    envelope = sign_dsse(statement(), [(ALICE, "")])
    builder = {"id": "https://github.com/acme/cvm/.github/workflows/build.yml"}
    admit(envelope, builders=[builder | {"signers": ["alice"]}])
    with pytest.raises(BuilderUntrusted):
        admit(envelope, builders=[builder | {"signers": ["bob"]}])


def test_pae_counts_bytes_and_is_unambiguous() -> None:
    # DSSE protocol.md's example.
    envelope = dsse.DsseEnvelope("http://example.com/HelloWorld", b"hello world", ())
    assert envelope.pae == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert dsse.DsseEnvelope("a", b"1 b", ()).pae != dsse.DsseEnvelope("a 1", b"b", ()).pae


@pytest.mark.parametrize(
    "change",
    [
        {"payload": "e30"},
        {"payload": "e3=="},
        {"payload": "e30\n="},
        {"payload": 7},
        {"payloadType": None},
        {"payloadType": "\u0430pplication/vnd.in-toto+json"},
        {"signatures": "x"},
        {"signatures": [{"sig": "AA==", "extra": 1}]},
        {"signatures": [{"sig": "AA==", "keyid": 7}]},
        {"signatures": [{"keyid": "x"}]},
        {"signatures": [{"sig": "AA=="}] * 17},
        {"unknown": 1},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_malformed_envelope_is_refused(change: dict[str, Any]) -> None:
    document = json.loads(sign_dsse(statement(), [(ALICE, "")]))
    with pytest.raises(EnvelopeMalformed):
        admit(json.dumps(document | change).encode())


def test_duplicate_members_and_several_envelopes_are_refused() -> None:
    envelope = sign_dsse(statement(), [(ALICE, "")])
    with pytest.raises(EnvelopeMalformed):
        admit(envelope[:-1] + b',"payload":"' + b64_encode(b"{}").encode() + b'"}')
    with pytest.raises(EnvelopeMalformed):
        admit(envelope + b"\n" + envelope)


@given(position=st.integers(0, 4000), value=st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_no_changed_byte_changes_what_is_admitted(position: int, value: int) -> None:
    envelope = bytearray(sign_dsse(statement(), [(ALICE, "alice-2026")]))
    envelope[position % len(envelope)] = value
    try:
        admitted = admit(bytes(envelope))
    except TouchstoneError:
        return
    assert admitted.authentic.statement.subjects[0].digest == {"sha256": "ab" * 32}
