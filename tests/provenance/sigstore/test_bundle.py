"""Sigstore bundles: abuse case 36, the formats, and agreement with sigstore itself."""

from __future__ import annotations

import gzip
import json
import logging
import socket
from datetime import timedelta
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sigstore.errors import Error as SigstoreError
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity
from sigstore_models.trustroot import v1 as trustroot_v1

from common.checks import Verdict
from common.errors import TouchstoneError
from provenance.errors import (
    EnvelopeMalformed,
    LogEntryInvalid,
    PayloadTypeWrong,
    SignerCertificateInvalid,
    SignerUntrusted,
    StatementIncomplete,
    StatementSignatureInvalid,
    SubjectMismatch,
    TrustPolicyInvalid,
)
from provenance.pipeline import Pipeline
from provenance.sigstore import bundle_format, trust_root
from provenance.sigstore.reader import SigstoreReader
from testkit.authority import GITHUB_ISSUER, SigningOptions, TestAuthority, TestKey
from tests.provenance.builds import IDENTITY, NOW, admit, policy, sign, statement

V01 = bundle_format.V01
V02 = bundle_format.V02


def reference(authority: TestAuthority) -> Verifier:
    inner = trustroot_v1.TrustedRoot.from_json(authority.trusted_root_json())
    return Verifier(trusted_root=TrustedRoot(inner))


def edited(envelope: bytes, *path: Any, value: Any) -> bytes:
    document = json.loads(envelope)
    place = document
    for name in path[:-1]:
        place = place[name]
    if value is None:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = value
    return json.dumps(document).encode()


ENTRY = ("verificationMaterial", "tlogEntries", 0)


def test_signer_time_and_log_come_from_what_was_verified(authority: TestAuthority) -> None:
    authentic = Pipeline(policy(authority)).authenticate(sign(authority), NOW)
    signer = authentic.signers[0]
    assert (signer.kind, signer.identity, signer.issuer) == ("certificate", IDENTITY, GITHUB_ISSUER)
    assert signer.claims["runner_environment"] == "github-hosted"
    assert authentic.signed_at == authentic.log_time == NOW + timedelta(seconds=5)
    assert authentic.log_index is not None
    assert all(check.verdict is Verdict.PASS for check in authentic.checks)


def test_unmodified_sigstore_accepts_the_authority(authority: TestAuthority) -> None:
    who = Identity(identity=IDENTITY, issuer=GITHUB_ISSUER)
    for _ in range(5):  # trees of different shapes
        kind, payload = reference(authority).verify_dsse(Bundle.from_json(sign(authority)), who)
        assert (kind, payload) == ("application/vnd.in-toto+json", statement())
    artifact = authority.sign_artifact(b"image", identity=IDENTITY, now=NOW)
    reference(authority).verify_artifact(b"image", Bundle.from_json(artifact), who)


@pytest.mark.parametrize("media_type", [V01, V02])
def test_older_bundles_with_an_intoto_entry_are_accepted(authority: TestAuthority, media_type: str) -> None:
    options = SigningOptions(media_type=media_type, log_kind="intoto")
    assert admit(authority, sign(authority, options=options)).builder == IDENTITY


def test_log_entry_about_another_payload_is_refused(authority: TestAuthority) -> None:
    for kind, media_type in (("dsse", bundle_format.V03), ("intoto", V02)):
        options = SigningOptions(logged_payload=b"{}", log_kind=kind, media_type=media_type)
        with pytest.raises(LogEntryInvalid, match="digest"):
            admit(authority, sign(authority, options=options))


def test_log_entry_of_another_signature_is_refused(authority: TestAuthority) -> None:
    mine, other = json.loads(sign(authority)), json.loads(sign(authority))
    mine["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]
    with pytest.raises(LogEntryInvalid, match="signature or verifier"):
        admit(authority, json.dumps(mine).encode())


def test_entry_in_another_log_is_refused(authority: TestAuthority, stranger: TestAuthority) -> None:
    with pytest.raises(LogEntryInvalid, match=r"log\.known|no root"):
        admit(authority, sign(authority, log=stranger.log))


def test_entry_that_names_our_log_and_is_signed_by_another_is_refused(
    authority: TestAuthority, stranger: TestAuthority
) -> None:
    logid = {"keyId": authority.trusted_root()["tlogs"][0]["logId"]["keyId"]}
    envelope = edited(sign(authority, log=stranger.log), *ENTRY, "logId", value=logid)
    with pytest.raises(LogEntryInvalid):
        admit(authority, envelope)


def test_checkpoint_of_another_log_is_refused(authority: TestAuthority, stranger: TestAuthority) -> None:
    foreign = json.loads(sign(stranger))["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    envelope = edited(sign(authority), *ENTRY, "inclusionProof", "checkpoint", value=foreign["checkpoint"])
    with pytest.raises(LogEntryInvalid):
        admit(authority, envelope)


def test_bundle_without_inclusion_proof_is_refused(authority: TestAuthority) -> None:
    with pytest.raises(LogEntryInvalid):
        admit(authority, sign(authority, options=SigningOptions(proof=False)))
    old = sign(authority, options=SigningOptions(proof=False, media_type=V01))
    with pytest.raises(StatementIncomplete):
        admit(authority, old)


def test_old_bundle_with_a_promise_alone_needs_the_policys_word(authority: TestAuthority) -> None:
    roots = [
        {
            "name": "ours",
            "kind": "sigstore",
            "trusted_root": authority.trusted_root(),
            "legacy_bundles": True,
        }
    ]
    options = SigningOptions(proof=False, media_type=V01, include_root=True)
    admitted = admit(authority, sign(authority, options=options), roots=roots)
    assert "log.promise" in {check.name for check in admitted.checks}
    forged = edited(sign(authority, options=options), *ENTRY, "integratedTime", value="1767322999")
    with pytest.raises(LogEntryInvalid):
        admit(authority, forged, roots=roots)
    newer = SigningOptions(proof=False, media_type=V02)
    with pytest.raises(LogEntryInvalid):
        admit(authority, sign(authority, options=newer), roots=roots)


def test_root_certificate_in_the_bundle_is_refused(authority: TestAuthority) -> None:
    for media_type in (V01, V02):
        with pytest.raises(EnvelopeMalformed, match="root certificate"):
            admit(
                authority,
                sign(authority, options=SigningOptions(media_type=media_type, include_root=True)),
            )


def test_bundle_without_log_entry_is_incomplete_not_tampered(authority: TestAuthority) -> None:
    envelope = edited(sign(authority), "verificationMaterial", "tlogEntries", value=[])
    with pytest.raises(StatementIncomplete):
        admit(authority, envelope)


def test_two_log_entries_are_refused(authority: TestAuthority) -> None:
    document = json.loads(sign(authority))
    document["verificationMaterial"]["tlogEntries"] *= 2
    with pytest.raises(LogEntryInvalid):
        admit(authority, json.dumps(document).encode())


def test_bundle_without_any_verified_time_is_refused(authority: TestAuthority) -> None:
    with pytest.raises(LogEntryInvalid, match=r"log\.time"):
        admit(authority, sign(authority, options=SigningOptions(promise=False)))


@pytest.mark.parametrize("logged_after", [timedelta(minutes=11), timedelta(seconds=-5)])
def test_signature_outside_the_certificates_life_is_refused(
    authority: TestAuthority, logged_after: timedelta
) -> None:
    with pytest.raises(SignerCertificateInvalid):
        admit(authority, sign(authority, options=SigningOptions(logged_after=logged_after)))


def test_integrated_time_is_covered_by_the_promise(authority: TestAuthority) -> None:
    envelope = edited(sign(authority), *ENTRY, "integratedTime", value=str(int(NOW.timestamp()) + 6))
    with pytest.raises(LogEntryInvalid):
        admit(authority, envelope)


def test_signature_from_the_future_is_refused_and_now_is_not_cached(authority: TestAuthority) -> None:
    pipeline = Pipeline(policy(authority))
    envelope = sign(authority)
    pipeline.admit(envelope, NOW)
    with pytest.raises(LogEntryInvalid, match="future"):
        pipeline.admit(envelope, NOW - timedelta(hours=1))
    pipeline.admit(envelope, NOW - timedelta(minutes=9))


def test_certificate_of_another_authority_is_refused(
    authority: TestAuthority, stranger: TestAuthority
) -> None:
    with pytest.raises(SignerCertificateInvalid):
        admit(authority, sign(stranger, log=authority.log))


def test_certificate_without_code_signing_is_refused(authority: TestAuthority) -> None:
    with pytest.raises(SignerCertificateInvalid, match=r"certificate\.usage"):
        admit(authority, sign(authority, options=SigningOptions(code_signing=False)))


def test_sct_of_an_unknown_log_is_refused(authority: TestAuthority, stranger: TestAuthority) -> None:
    root = authority.trusted_root() | {"ctlogs": stranger.trusted_root()["ctlogs"]}
    with pytest.raises(SignerCertificateInvalid, match="SCT"):
        admit(
            authority,
            sign(authority),
            roots=[{"name": "ours", "kind": "sigstore", "trusted_root": root}],
        )


@pytest.mark.parametrize(
    ("member", "code"),
    [
        ("tlogs", "statement.log"),
        ("ctlogs", "statement.certificate"),
        ("certificateAuthorities", "statement.certificate"),
    ],
)
@pytest.mark.parametrize("window", [{"start": "2026-01-03T00:00:00Z"}, {"end": "2026-01-02T00:00:00Z"}])
def test_key_outside_its_window_in_the_root_is_refused(
    authority: TestAuthority, member: str, code: str, window: dict[str, str]
) -> None:
    root = authority.trusted_root()
    item = root[member][0]
    if "publicKey" in item:
        item["publicKey"]["validFor"] = window
    else:
        item["validFor"] = window
    with pytest.raises(TouchstoneError) as caught:
        admit(
            authority,
            sign(authority),
            roots=[{"name": "ours", "kind": "sigstore", "trusted_root": root}],
        )
    assert caught.value.code == code


def test_window_ends_are_included(authority: TestAuthority) -> None:
    root = authority.trusted_root()
    moment = (NOW + timedelta(seconds=5)).isoformat()
    root["tlogs"][0]["publicKey"]["validFor"] = {"start": moment, "end": moment}
    roots = [{"name": "ours", "kind": "sigstore", "trusted_root": root}]
    assert admit(authority, sign(authority), roots=roots).builder == IDENTITY


def test_changed_payload_is_a_bad_signature(authority: TestAuthority) -> None:
    mine, other = json.loads(sign(authority)), json.loads(sign(authority, statement(ref="refs/tags/v9")))
    mine["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"]
    with pytest.raises(StatementSignatureInvalid) as caught:
        admit(authority, json.dumps(mine).encode())
    assert caught.value.checks[-1].name == "bundle.signature"
    assert caught.value.checks[-1].verdict is Verdict.FAIL


def test_wrong_payload_type_is_refused_before_the_payload_is_read(authority: TestAuthority) -> None:
    with pytest.raises(PayloadTypeWrong):
        admit(authority, sign(authority, b"not json", options=SigningOptions(payload_type="text/plain")))


def test_artifact_signature_is_no_statement(authority: TestAuthority) -> None:
    bundle = authority.sign_artifact(b"image", identity=IDENTITY, now=NOW)
    with pytest.raises(EnvelopeMalformed):
        admit(authority, bundle)
    reader = SigstoreReader(policy(authority))
    signer = reader.authenticate_artifact(json.loads(bundle), b"image", NOW)
    assert signer.identity == IDENTITY
    with pytest.raises(SubjectMismatch):
        reader.authenticate_artifact(json.loads(bundle), b"other", NOW)
    without_hint = json.loads(edited(bundle, "messageSignature", "messageDigest", value=None))
    with pytest.raises(StatementSignatureInvalid):
        reader.authenticate_artifact(without_hint, b"other", NOW)


def test_key_bundle_without_a_key_in_the_policy_is_refused(authority: TestAuthority) -> None:
    envelope = edited(sign(authority), "verificationMaterial", "certificate", value=None)
    envelope = edited(envelope, "verificationMaterial", "publicKey", value={"hint": "x"})
    with pytest.raises(SignerUntrusted):
        admit(authority, envelope)
    key = TestKey()
    roots = [
        {"name": "ours", "kind": "sigstore", "trusted_root": authority.trusted_root()},
        key.root("key", log="ours"),
    ]
    with pytest.raises(StatementSignatureInvalid):
        admit(authority, envelope, roots=roots)


def test_key_bundle_is_logged_and_timed_like_any_other(authority: TestAuthority) -> None:
    key = TestKey("ecdsa-p384-sha384")
    changes: dict[str, Any] = {
        "roots": [
            {"name": "ours", "kind": "sigstore", "trusted_root": authority.trusted_root()},
            key.root("key", log="ours"),
        ],
        "signers": [{"name": "release", "root": "key"}],
        "max_age_seconds": 3600,
    }
    envelope = authority.sign_statement_with_key(statement(), key, now=NOW)
    admitted = admit(authority, envelope, **changes)
    assert admitted.authentic.signers[0].identity == f"key:{key.spki_sha256}"
    assert admitted.authentic.log_time == NOW
    with pytest.raises(StatementSignatureInvalid):
        admit(authority, authority.sign_statement_with_key(statement(), TestKey(), now=NOW), **changes)
    with pytest.raises(SignerUntrusted):
        # The root of that key does not vouch for certificates, and the policy names no other signer.
        admit(authority, sign(authority), **changes)
    expired = key.root("key", log="ours", not_after="2026-01-02T00:00:00Z")
    with pytest.raises(SignerUntrusted):
        admit(authority, envelope, **(changes | {"roots": [changes["roots"][0], expired]}))


def test_nothing_is_decompressed_and_size_is_bounded(authority: TestAuthority) -> None:
    for data in (gzip.compress(sign(authority)), b" " * (9 << 20) + sign(authority)):
        with pytest.raises(EnvelopeMalformed):
            admit(authority, data)


def test_one_of_two_roots_vouches(authority: TestAuthority, stranger: TestAuthority) -> None:
    roots = [
        {"name": "theirs", "kind": "sigstore", "trusted_root": stranger.trusted_root()},
        {"name": "ours", "kind": "sigstore", "trusted_root": authority.trusted_root()},
    ]
    assert admit(authority, sign(authority), roots=roots).authentic.signers[0].root == "ours"
    # The stranger can prove our identity in its own root; the policy names it in ours only.
    with pytest.raises(SignerUntrusted):
        admit(authority, sign(stranger), roots=roots)


def test_public_good_root_is_the_pinned_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(trust_root.public_good().logs) == 2
    monkeypatch.setattr(trust_root, "PUBLIC_GOOD_SHA256", "00" * 32)
    trust_root.public_good.cache_clear()
    with pytest.raises(TrustPolicyInvalid):
        trust_root.public_good()
    trust_root.public_good.cache_clear()


def test_nothing_is_fetched_and_nothing_is_logged(
    authority: TestAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        pytest.fail("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    # caplog would attach itself below the root logger, to the very logger that is cut off.
    records: list[logging.LogRecord] = []
    handler, root = logging.Handler(), logging.getLogger()
    monkeypatch.setattr(handler, "emit", records.append)
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr(root, "level", logging.DEBUG)
    admit(authority, sign(authority))
    with pytest.raises(TouchstoneError):
        admit(authority, sign(authority, options=SigningOptions(logged_after=timedelta(hours=1))))
    assert not records


@given(position=st.integers(0, 1 << 16), value=st.sampled_from(b'0A+z"{},:[1\x00\xff'))
@settings(max_examples=120, deadline=None)
def test_what_we_accept_sigstore_accepts(authority: TestAuthority, position: int, value: int) -> None:
    envelope = bytearray(_FUZZED.setdefault(id(authority), sign(authority)))
    envelope[position % len(envelope)] = value
    try:
        admit(authority, bytes(envelope))
    except TouchstoneError:
        return
    try:
        who = Identity(identity=IDENTITY, issuer=GITHUB_ISSUER)
        reference(authority).verify_dsse(Bundle.from_json(bytes(envelope)), who)
    except SigstoreError:
        pytest.fail("accepted what sigstore refuses")


_FUZZED: dict[int, bytes] = {}

_json = st.recursive(
    st.none() | st.integers() | st.sampled_from(["", "0", "-1", "AA==", V01, V02, bundle_format.V03]),
    lambda children: (
        st.lists(children, max_size=2)
        | st.dictionaries(
            st.sampled_from(["rawBytes", "hint", "keyId", "kind", "sig"]), children, max_size=2
        )
    ),
    max_leaves=5,
)


@given(data=st.data(), value=_json)
@settings(max_examples=150, deadline=None)
def test_any_value_in_any_place_raises_our_error(
    authority: TestAuthority, data: st.DataObject, value: Any
) -> None:
    document = json.loads(_FUZZED.setdefault(id(authority), sign(authority)))
    place = document
    while True:
        names = sorted(place) if isinstance(place, dict) else range(len(place))
        name = data.draw(st.sampled_from(list(names)))
        if not isinstance(place[name], (dict, list)) or not place[name] or data.draw(st.booleans()):
            break
        place = place[name]
    place[name] = value
    try:
        admit(authority, json.dumps(document).encode())
    except TouchstoneError:
        return
