"""Signed trust policies: who counts, how often, and what is never parsed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidSetting, TouchstoneError
from provenance import keys, trust
from provenance.errors import TrustPolicyInvalid, TrustPolicySignatureInvalid, TrustPolicyUnsigned
from provenance.trust import signed
from testkit.authority import TestKey, sign_dsse

ED, EC = ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
STRANGER = ed25519.Ed25519PrivateKey.generate()
SIGNER = TestKey()
DOCUMENT: dict[str, Any] = {
    "version": 1,
    "name": "releases",
    "serial": 4,
    "expires": "2027-01-01T00:00:00Z",
    "roots": [SIGNER.root("k")],
    "signers": [{"name": "k", "root": "k"}],
    "predicate_types": ["https://slsa.dev/provenance/v1"],
}


def public(*private: Any, threshold: int = 1) -> signed.PolicyKeys:
    pems = [
        item.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        for item in private
    ]
    return signed.PolicyKeys(tuple(map(keys.from_public_pem, pems)), threshold)


def document(**changes: Any) -> bytes:
    merged = DOCUMENT | changes
    return json.dumps({name: value for name, value in merged.items() if value is not None}).encode()


ENVELOPE = signed.sign(document(), ED)
TWICE = signed.sign(ENVELOPE, EC)


def test_policy_that_a_pinned_key_signed_is_taken() -> None:
    found = signed.verify(ENVELOPE, public(ED, EC))
    assert (found.policy.name, found.policy.document.serial) == ("releases", 4)
    assert found.signers == (public(ED).keys[0].spki_sha256,)
    assert found.policy.digest == trust.parse(document()).digest


def test_threshold_counts_distinct_keys() -> None:
    assert len(signed.verify(TWICE, public(ED, EC, threshold=2)).signers) == 2
    with pytest.raises(TrustPolicySignatureInvalid, match="1 of"):
        signed.verify(ENVELOPE, public(ED, EC, threshold=2))
    repeated = json.loads(ENVELOPE)
    repeated["signatures"] *= 3
    del repeated["signatures"][2]["keyid"]
    with pytest.raises(TrustPolicySignatureInvalid, match="1 of"):
        signed.verify(json.dumps(repeated).encode(), public(ED, EC, threshold=2))


def test_signing_again_with_one_key_is_one_signature() -> None:
    assert len(json.loads(signed.sign(TWICE, ED))["signatures"]) == 2


def test_strangers_signature_adds_nothing() -> None:
    with pytest.raises(TrustPolicySignatureInvalid):
        signed.verify(ENVELOPE, public(STRANGER))
    mixed = signed.sign(ENVELOPE, STRANGER)
    assert len(signed.verify(mixed, public(ED, EC)).signers) == 1
    with pytest.raises(TrustPolicySignatureInvalid):
        signed.verify(mixed, public(ED, EC, threshold=2))


@pytest.mark.parametrize("position", range(0, len(ENVELOPE), 37))
def test_changed_envelope_is_refused(position: int) -> None:
    changed = bytearray(ENVELOPE)
    changed[position] = ord("A") if changed[position] != ord("A") else ord("B")
    with pytest.raises(TouchstoneError):
        signed.verify(bytes(changed), public(ED))


def test_signature_over_another_payload_is_refused() -> None:
    other = json.loads(signed.sign(document(serial=9), ED))
    swapped = json.loads(ENVELOPE) | {"payload": other["payload"]}
    with pytest.raises(TrustPolicySignatureInvalid):
        signed.verify(json.dumps(swapped).encode(), public(ED))


def test_statement_signed_by_a_policy_key_is_no_policy() -> None:
    key = TestKey()
    pinned = signed.PolicyKeys((keys.from_pem(key.algorithm, key.public_pem),))
    in_toto = sign_dsse(document(), [(key, key.spki_sha256)])
    with pytest.raises(TrustPolicyInvalid, match="payloadType"):
        signed.verify(in_toto, pinned)
    # The same signature under our payload type does not verify: the type is signed too.
    renamed = json.loads(in_toto) | {"payloadType": signed.PAYLOAD_TYPE}
    with pytest.raises(TrustPolicySignatureInvalid):
        signed.verify(json.dumps(renamed).encode(), pinned)


@pytest.mark.parametrize("data", [document(), b"", b"[]", b"\xff", b'{"a":1,"a":2}'])
def test_what_is_not_signed_is_unsigned(data: bytes) -> None:
    with pytest.raises(TrustPolicyUnsigned):
        signed.verify(data, public(ED))


@pytest.mark.parametrize(
    "changes", [{"serial": None}, {"expires": None}, {"serial": 0}, {"version": 2}, {"roots": []}]
)
def test_nothing_but_a_whole_policy_with_serial_and_end_is_signed_or_taken(changes: dict[str, Any]) -> None:
    with pytest.raises(TrustPolicyInvalid):
        signed.sign(document(**changes), ED)
    key = TestKey()
    by_hand = sign_dsse(document(**changes), [(key, key.spki_sha256)], payload_type=signed.PAYLOAD_TYPE)
    with pytest.raises(TrustPolicyInvalid):
        signed.verify(by_hand, signed.PolicyKeys((keys.from_pem(key.algorithm, key.public_pem),)))


def test_pinned_keys_are_distinct_and_enough() -> None:
    for pinned in (public(ED, ED), public(ED, threshold=2), public(ED, threshold=0), public()):
        with pytest.raises(TrustPolicyInvalid):
            signed.verify(ENVELOPE, pinned)


def test_key_that_may_not_sign_is_refused() -> None:
    for key in (ec.generate_private_key(ec.SECP521R1()), rsa.generate_private_key(65537, 2048), "x"):
        with pytest.raises(InvalidSetting):
            signed.sign(document(), key)


def test_file_is_read_signed_or_not(tmp_path: Path) -> None:
    (tmp_path / "plain.json").write_bytes(document())
    (tmp_path / "signed.json").write_bytes(ENVELOPE)
    assert signed.load_file(tmp_path / "plain.json").signers == ()
    assert signed.load_file(tmp_path / "signed.json").policy.name == "releases"
    assert signed.load_file(tmp_path / "signed.json", public(ED)).signers
    with pytest.raises(TrustPolicyUnsigned):
        signed.load_file(tmp_path / "plain.json", public(ED))
    with pytest.raises(TrustPolicySignatureInvalid):
        signed.load_file(tmp_path / "signed.json", public(STRANGER))


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=6),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["payload", "payloadType", "signatures", "sig", "keyid"]), inner, max_size=3
            )
        ),
        max_leaves=6,
    ).map(lambda value: json.dumps(value).encode())
)
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_refused_with_our_error(data: bytes) -> None:
    with pytest.raises(TouchstoneError):
        signed.verify(data, public(ED))
