"""Measurement files: detached signatures, Sigstore bundles, payloads."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance.errors import (
    LogEntryInvalid,
    ManifestMalformed,
    SignerUntrusted,
    StatementError,
    StatementSignatureInvalid,
    StatementUnsigned,
    TrustPolicyInvalid,
)
from provenance.manifests.measurement_file.document import FORMAT
from provenance.pipeline import Pipeline
from testkit.authority import GITHUB_ISSUER, TestAuthority
from tests.provenance.builds import NOW as BUILT
from tests.provenance.manifests.material import KEY, OTHER, admit, facts, key_root, policy, spki

PAYLOAD = json.dumps({"snp_launch_measurement": ["ab" * 48, "cd" * 48], "smt": True, "svn": 3}).encode()
READ = [
    ("snp_launch_measurement", "value", "ab" * 48),
    ("snp_launch_measurement", "value", "cd" * 48),
    ("smt", "value", True),
    ("svn", "value", 3),
]
IDENTITY = "https://github.com/acme/cvm/.github/workflows/measure.yml@refs/tags/v1"


def b64(data: bytes) -> str:
    return b64encode(data).decode()


def file(content: bytes = PAYLOAD, key: Any = KEY, **members: Any) -> bytes:
    signature = {"sig": b64(key.sign(content, ec.ECDSA(hashes.SHA256())))}
    document = {"format": FORMAT, "payload": b64(content), "signature": signature} | members
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


def sigstore(authority: TestAuthority) -> dict[str, Any]:
    return {"name": "log", "kind": "sigstore", "trusted_root": authority.trusted_root()}


def admit_bundled(data: bytes, authority: TestAuthority, identity: str = IDENTITY) -> Any:
    entry = {"name": "ci", "root": "log", "issuer": GITHUB_ISSUER, "identity": identity}
    return Pipeline(policy(sigstore(authority), signers=[entry])).admit(data, BUILT)


def test_a_detached_signature_by_a_key_of_the_policy_is_admitted() -> None:
    assert facts(file()) == READ
    authentic = admit(file()).authentic
    assert authentic.signers[0].identity == f"key:{spki(KEY).hex()}"
    assert authentic.statement.subjects[0].digest["sha256"] == hashlib.sha256(PAYLOAD).hexdigest()


def test_a_signature_over_other_bytes_or_by_another_key_is_refused() -> None:
    with pytest.raises(StatementSignatureInvalid):
        admit(file(payload=b64(b'{"a":1}')))
    with pytest.raises(StatementSignatureInvalid):
        admit(file(key=OTHER))
    named = {"sig": json.loads(file())["signature"]["sig"], "keyid": spki(OTHER).hex()}
    with pytest.raises(SignerUntrusted):
        admit(file(signature=named))
    assert facts(file(signature=named | {"keyid": spki(KEY).hex()})) == READ


def test_a_key_for_another_format_does_not_count() -> None:
    with pytest.raises(SignerUntrusted):
        admit(file(), key_root(formats=["corim"]))
    for formats in ([], ["sample"]):
        with pytest.raises(TrustPolicyInvalid):
            policy(key_root(formats=formats))


def test_unsigned_needs_an_opt_in_for_that_very_document() -> None:
    data = file(signature=None)
    with pytest.raises(StatementUnsigned):
        admit(data)
    root = {"name": "open", "kind": "unverified", "formats": ["measurement-file"]}
    chosen = root | {"digests": [hashlib.sha256(data).hexdigest()]}
    assert admit(data, chosen).authentic.unverified
    with pytest.raises(StatementUnsigned):
        admit(data + b" ", chosen)
    for digests in ([], ["AB" * 32], ["ab"], ["ab" * 32, "ab" * 32]):
        with pytest.raises(TrustPolicyInvalid):
            policy(root | {"digests": digests})


def test_a_sigstore_bundle_over_the_payload_is_admitted_with_its_log_entry(
    authority: TestAuthority,
) -> None:
    bundle = json.loads(authority.sign_artifact(PAYLOAD, identity=IDENTITY, now=BUILT))
    data = file(signature=None, bundle=bundle)
    authentic = admit_bundled(data, authority).authentic
    assert authentic.signers[0].identity == IDENTITY
    assert authentic.log_index is not None
    assert authentic.signed_at == authentic.log_time
    with pytest.raises(SignerUntrusted):
        admit_bundled(data, authority, identity=IDENTITY + "0")
    with pytest.raises(StatementError):
        admit_bundled(file(b'{"a":1}', signature=None, bundle=bundle), authority)


def test_a_bundle_of_another_log_is_refused(authority: TestAuthority, stranger: TestAuthority) -> None:
    bundle = json.loads(stranger.sign_artifact(PAYLOAD, identity=IDENTITY, now=BUILT))
    with pytest.raises(LogEntryInvalid):
        admit_bundled(file(signature=None, bundle=bundle), authority)


def test_a_bundle_of_a_statement_signs_no_measurement_file(authority: TestAuthority) -> None:
    from tests.provenance.builds import sign

    data = file(signature=None, bundle=json.loads(sign(authority)))
    with pytest.raises(StatementError):
        admit_bundled(data, authority)


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": "not base64"},
        {"payload": b64(PAYLOAD) + "\n"},
        {"payload": None},
        {"extra": 1},
        {"signature": {"sig": "?"}},
        {"signature": {"sig": "AA==", "alg": "none"}},
        {"signature": "AA=="},
        {"bundle": {}},
    ],
)
def test_an_outer_document_that_is_not_exact_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ManifestMalformed):
        admit(file(**changes))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        b"nonsense",
        b'{"a":1,"a":2}',
        b'{"a":null}',
        b'{"a":1.5}',
        b'{"a":{}}',
        b'{"a":[]}',
        b'{"a":[[1]]}',
        b'{"a":""}',
        b'{"":1}',
        b'{"a":9007199254740993}',
        b'{"a":"line\\nbreak"}',
        b'{"schemaVersion":2,"measurements":{}}',
        b'{"schemaVersion":true,"measurements":{"a":{"algorithm":"sha256","value":"00"}}}',
        b'{"schemaVersion":1,"measurements":{}}',
        b'{"schemaVersion":1,"measurements":{"a":{"algorithm":"sha1","value":"' + b"0" * 40 + b'"}}}',
        b'{"schemaVersion":1,"measurements":{"a":{"algorithm":"sha384","value":"' + b"0" * 64 + b'"}}}',
        b'{"schemaVersion":1,"measurements":{"a":{"algorithm":"sha256","value":"' + b"Z" * 64 + b'"}}}',
        b'{"schemaVersion":1,"measurements":{"a":"00"}}',
    ],
)
def test_a_payload_that_is_not_strict_is_refused(payload: bytes) -> None:
    with pytest.raises(ManifestMalformed):
        admit(file(payload))


def test_a_release_manifest_gives_digests() -> None:
    payload = {"schemaVersion": 1, "measurements": {"kernel": {"algorithm": "sha384", "value": "0f" * 48}}}
    assert facts(file(json.dumps(payload).encode())) == [("kernel", "digest.sha-384", "0f" * 48)]


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=120) | st.text(max_size=60).map(str.encode))
def test_any_payload_gives_values_or_our_error(payload: bytes) -> None:
    try:
        admit(file(payload))
    except TouchstoneError:
        pass


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.sampled_from(["payload", "signature", "bundle", "x"]), JSON))
def test_any_outer_document_gives_values_or_our_error(members: dict[str, Any]) -> None:
    with pytest.raises(TouchstoneError):
        Pipeline(policy()).admit(
            json.dumps({"format": FORMAT} | members).encode(), datetime(2026, 1, 1, tzinfo=UTC)
        )
