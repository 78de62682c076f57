"""Signed CoRIMs: what an attacker, or a careless issuer, may try."""

from __future__ import annotations

import base64
import hashlib
import struct
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cbor2 import CBORTag
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance.errors import (
    ManifestMalformed,
    ManifestNotValid,
    SignerCertificateInvalid,
    SignerUntrusted,
    StatementSignatureInvalid,
    StatementUnsigned,
    TrustPolicyInvalid,
)
from provenance.manifests.corim.profiles import AMD_SNP, ARM_CCA_PLATFORM, ARM_CCA_REALM
from provenance.pipeline import Pipeline
from tests.provenance.manifests.material import (
    CLASS,
    DIGEST,
    KEY,
    NOW,
    OTHER,
    P256,
    P384,
    P521,
    Authority,
    admit,
    comid,
    corim,
    cotl,
    der,
    enc,
    facts,
    header,
    key_root,
    measurement,
    pem,
    policy,
    sign,
    spki,
    time,
)

HEX = DIGEST.hex()


def unverified(*documents: bytes, **changes: Any) -> dict[str, Any]:
    digests = [hashlib.sha256(item).hexdigest() for item in documents]
    return {"name": "open", "kind": "unverified", "formats": ["corim"], "digests": digests} | changes


@pytest.mark.parametrize("curve", [P256, P384, P521])
def test_a_signed_corim_is_admitted_with_its_signer_and_values(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    data = sign(key=key)
    admitted = admit(data, key_root(key))
    assert admitted.authentic.signers[0].identity == f"key:{spki(key).hex()}"
    assert not admitted.authentic.unverified
    statement = admitted.authentic.statement
    assert statement.subjects[0].digest == {"sha256": hashlib.sha256(corim()).hexdigest()}
    assert facts(data, key_root(key)) == [("text:kernel", "digest.sha-384", HEX)]


def test_ed25519_signs_too() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    assert facts(sign(key=key), key_root(key)) == [("text:kernel", "digest.sha-384", HEX)]
    assert facts(sign(key=key, k1=-19), key_root(key))


# --- signature ------------------------------------------------------------------------------------


def test_an_altered_payload_is_refused() -> None:
    data = bytearray(sign())
    data[data.index(DIGEST)] ^= 1
    with pytest.raises(StatementSignatureInvalid):
        admit(bytes(data))


def test_another_keys_signature_is_refused() -> None:
    with pytest.raises(SignerUntrusted):
        admit(sign(key=OTHER))


def test_a_key_id_of_another_key_is_refused() -> None:
    with pytest.raises(StatementSignatureInvalid):
        admit(sign(key=OTHER, k4=spki(KEY)))
    with pytest.raises(SignerUntrusted):
        admit(sign(k4=spki(OTHER)))


def test_a_key_id_is_what_the_policy_calls_the_key_or_its_digest() -> None:
    assert facts(sign(k4=b"maker-2026"), key_root(keyid="maker-2026"))
    assert facts(sign(k4=None))
    with pytest.raises(ManifestMalformed):
        admit(sign(k4=b""))


@pytest.mark.parametrize("number", [-35, -36, -37, -257, -8, -47, 5, 4, 0])
def test_an_algorithm_that_is_not_the_keys_is_refused(number: int) -> None:
    with pytest.raises(StatementSignatureInvalid):
        admit(sign(k1=number))


def test_a_hmac_under_the_public_key_is_refused() -> None:
    # HS256 is COSE algorithm 5: the classic confusion of a public key with a shared secret.
    import hmac

    content, head = corim(), enc(header(KEY, k1=5))
    mac = hmac.new(pem(KEY).encode(), enc(["Signature1", head, b"", content]), "sha256").digest()
    with pytest.raises(StatementSignatureInvalid):
        admit(enc(CBORTag(18, [head, {}, content, mac])))


@pytest.mark.parametrize("unprotected", [{1: -7}, {4: b"x"}, {33: b"x"}, {"alg": -7}])
def test_an_unprotected_header_is_refused(unprotected: dict[Any, Any]) -> None:
    with pytest.raises(ManifestMalformed, match="unprotected"):
        admit(sign(unprotected=unprotected))


def test_an_algorithm_in_the_unprotected_header_alone_is_refused() -> None:
    with pytest.raises(ManifestMalformed):
        admit(sign(k1=None, unprotected={1: -7}))
    with pytest.raises(ManifestMalformed, match="algorithm"):
        admit(sign(k1=None))


@pytest.mark.parametrize(
    "changes",
    [
        {"k2": [99]},
        {"k2": []},
        {"k3": "application/cbor"},
        {"k3": None},
        {"k3": 0},
        {"k258": -16},
        {"k99": 1},
        {"k1": "ES256"},
        {"k1": True},
        {"k4": "text"},
        {"k8": None},
        {"k8": {0: {0: "ACME"}}},
        {"k8": enc({})},
        {"k8": enc({0: {}})},
        {"k15": {2: "subject only"}},
        {"k15": []},
    ],
)
def test_a_header_that_is_not_understood_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ManifestMalformed):
        admit(sign(**changes))


def test_a_duplicate_header_parameter_is_refused() -> None:
    head = enc(header(KEY))
    twice = b"\xa5" + head[1:] + b"\x01\x26"
    with pytest.raises(ManifestMalformed, match="twice"):
        admit(sign(protected=twice))


def test_signatures_of_another_length_are_refused() -> None:
    parts = [enc(header(KEY)), {}, corim(), b"\x01" * 64]
    for signature in (b"\x01" * 63, b"\x01" * 65, b"\x00" * 64, b"\xff" * 64, b"\x01" * 96):
        with pytest.raises(StatementSignatureInvalid):
            admit(enc(CBORTag(18, [*parts[:3], signature])))
    with pytest.raises(StatementUnsigned):
        admit(enc(CBORTag(18, [*parts[:3], b""])))


@pytest.mark.parametrize(
    "message",
    [
        [],
        [b"", {}, b""],
        [b"", {}, b"", b"s", b"more"],
        [enc(header(KEY)), {}, None, b"s"],
        [enc(header(KEY)), [], corim(), b"s"],
        ["x", {}, corim(), b"s"],
        [enc([1]), {}, corim(), b"s"],
        [b"", {}, corim(), b"s"],
    ],
)
def test_what_is_not_cose_sign1_is_refused(message: Any) -> None:
    with pytest.raises((ManifestMalformed, StatementUnsigned)):
        admit(enc(CBORTag(18, message)))


# --- certificates -----------------------------------------------------------------------------------


def test_a_certificate_chain_in_the_protected_header_signs() -> None:
    authority, key = Authority(), ec.generate_private_key(P256)
    leaf = authority.issue(key)
    data = sign(key=key, k33=[der(leaf)], k4=None)
    signer = admit(data, authority.root()).authentic.signers[0]
    assert (signer.kind, signer.identity) == ("certificate", "CN=signer")
    assert signer.serial == f"{leaf.serial_number:x}"
    with pytest.raises(SignerUntrusted):
        admit(data, authority.root(), identity="CN=somebody else")
    with pytest.raises(SignerUntrusted, match=r"X\.509"):
        admit(data)


def test_a_certificate_of_another_key_or_root_is_refused() -> None:
    authority, key = Authority(), ec.generate_private_key(P256)
    with pytest.raises(StatementSignatureInvalid):
        admit(sign(key=key, k33=[der(authority.issue(OTHER))]), authority.root())
    with pytest.raises(SignerCertificateInvalid):
        admit(sign(key=key, k33=[der(Authority().issue(key))]), authority.root())


def test_an_algorithm_other_than_the_certificates_is_refused() -> None:
    authority, key = Authority(), ec.generate_private_key(P384)
    chain = [der(authority.issue(key))]
    assert admit(sign(key=key, k33=chain), authority.root())
    with pytest.raises(StatementSignatureInvalid, match="algorithm"):
        admit(sign(key=key, k33=chain, k1=-7), authority.root())
    weak = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    head = enc(header(KEY, k33=[der(authority.issue(weak))], k1=-37))
    with pytest.raises(SignerCertificateInvalid, match="COSE"):
        admit(enc(CBORTag(18, [head, {}, corim(), b"s"])), authority.root())


@pytest.mark.parametrize("chain", [[], "x", [b"not DER"], [1], b"not DER", [b"x"] * 9])
def test_a_malformed_chain_is_refused(chain: Any) -> None:
    with pytest.raises((ManifestMalformed, SignerCertificateInvalid)):
        admit(sign(k33=chain), Authority().root())


# --- validity ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [-1, 40])
def test_outside_its_validity_a_corim_is_refused(days: int) -> None:
    period = {0: time(NOW), 1: time(NOW + timedelta(days=30))}
    moment = NOW + timedelta(days=days)
    assert facts(sign(corim(k4=period)))
    with pytest.raises(ManifestNotValid):
        admit(sign(corim(k4=period)), now=moment)
    with pytest.raises(ManifestNotValid):
        admit(sign(k8=enc({0: {0: "ACME"}, 1: period})), now=moment)
    claims = {1: "ACME", 5: int(NOW.timestamp()), 4: int((NOW + timedelta(days=30)).timestamp())}
    assert facts(sign(k8=None, k15=claims))
    with pytest.raises(ManifestNotValid):
        admit(sign(k8=None, k15=claims), now=moment)


def test_a_key_counts_in_its_window_only() -> None:
    root = key_root(not_after=(NOW - timedelta(days=1)).isoformat())
    with pytest.raises(SignerUntrusted):
        admit(sign(), root)


@pytest.mark.parametrize(
    "period", [{}, {0: time(NOW)}, {1: 5.0}, {1: -1}, {1: "2030"}, {1: CBORTag(1, 1 << 60)}, []]
)
def test_a_malformed_validity_is_refused(period: Any) -> None:
    with pytest.raises(ManifestMalformed):
        admit(sign(corim(k4=period)))


# --- content ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        enc({0: "x", 1: [comid()]}),
        enc(CBORTag(501, [])),
        enc(CBORTag(501, {0: "x"})),
        enc(CBORTag(501, {0: "x", 1: []})),
        enc(CBORTag(501, {0: "", 1: [comid()]})),
        enc(CBORTag(501, {0: b"short", 1: [comid()]})),
        corim(k99=1),
        corim(CBORTag(507, b"")),
        corim(b"no tag"),
        corim(CBORTag(506, b"")),
        corim(CBORTag(506, enc({1: {0: "x"}}))),
        corim(comid(k9=1)),
        corim(comid(triples={})),
        corim(comid(triples={0: []})),
        corim(comid(triples={0: [[CLASS]]})),
        corim(comid(triples={0: [[{}, [measurement()]]]})),
        corim(comid(triples={0: [[{0: {}}, [measurement()]]]})),
        corim(comid(triples={0: [[{0: {9: 1}}, [measurement()]]]})),
        corim(comid(triples={0: [[CLASS, []]]})),
        corim(comid(triples={99: []})),
        corim(comid({0: "k"})),
        corim(comid({0: "k", 1: {}})),
        corim(comid({0: -1, 1: {1: 1}})),
        corim(comid({0: "k", 1: {1: 1}, 2: [CBORTag(554, "key")]})),
        corim(comid({0: "k", 1: {99: 1}})),
        corim(comid({0: "k", 1: {-70001: True}})),
        corim(comid({0: "k", 1: {1: -1}})),
        corim(comid({0: "k", 1: {1: True}})),
        corim(comid({0: "k", 1: {1: CBORTag(560, b"x")}})),
        corim(comid({0: "k", 1: {2: []}})),
        corim(comid({0: "k", 1: {2: [[7]]}})),
        corim(comid({0: "k", 1: {2: [[7, DIGEST[:47]]]}})),
        corim(comid({0: "k", 1: {2: [[7, DIGEST], [7, DIGEST[::-1]]]}})),
        corim(comid({0: "k", 1: {2: [["md5", b"x" * 16]]}})),
        corim(comid({0: "k", 1: {2: [[[7], DIGEST]]}})),
        corim(comid({0: "k", 1: {3: {}}})),
        corim(comid({0: "k", 1: {3: {99: True}}})),
        corim(comid({0: "k", 1: {3: {3: 1}}})),
        corim(comid({0: "k", 1: {4: b"untagged"}})),
        corim(comid({0: "k", 1: {4: CBORTag(563, [b"abc", b"ab"])}})),
        corim(comid({0: "k", 1: {5: b"mask"}})),
        corim(comid({0: "k", 1: {6: b"12345"}})),
        corim(comid({0: "k", 1: {13: [CBORTag(554, "-----BEGIN")]}})),
        corim(comid({0: "k", 1: {15: CBORTag(564, [1])}})),
        corim(comid({0: "k\nname", 1: {1: 1}})),
        corim(comid({0: CBORTag(111, b"\x80\x01"), 1: {1: 1}})),
        corim(comid({0: CBORTag(111, b"\x2b\x86"), 1: {1: 1}})),
        corim(comid({0: CBORTag(37, b"x"), 1: {1: 1}})),
        corim(comid(tag_id=5)),
        corim(comid(version=-1)),
    ],
)
def test_a_corim_that_cannot_be_read_whole_is_refused(content: bytes) -> None:
    with pytest.raises(ManifestMalformed):
        admit(sign(content))


def test_a_tag_id_twice_is_refused() -> None:
    with pytest.raises(ManifestMalformed, match="twice"):
        admit(sign(corim(comid(), comid(version=1))))
    with pytest.raises(ManifestMalformed, match="twice"):
        admit(sign(corim(comid(), cotl(("x", 0), tag_id="tag-1"))))


def test_weak_digests_alone_are_refused_and_beside_a_strong_one_left_out() -> None:
    with pytest.raises(ManifestMalformed, match="weak"):
        admit(sign(corim(comid(measurement(digests=[[6, b"1234"]])))))
    strong = measurement(digests=[[6, b"1234"], [7, DIGEST], [1, b"s" * 32]])
    assert facts(sign(corim(comid(strong)))) == [
        ("text:kernel", "digest.sha-384", HEX),
        ("text:kernel", "digest.sha-256", (b"s" * 32).hex()),
    ]


def test_every_value_that_is_read_keeps_its_meaning() -> None:
    claims = [
        measurement(1, svn=3),
        measurement(2, svn=CBORTag(553, 4)),
        measurement(3, svn=CBORTag(552, 2**64 - 1)),
        measurement(4, version={0: "1.2", 1: 16384}),
        measurement(5, flags={3: False, 1: True}),
        measurement(6, raw=CBORTag(560, b"\x01\x02")),
        {0: 7, 1: {4: CBORTag(563, [b"\xff\x02", b"\x0f\xff"])}},
        {0: 8, 1: {4: CBORTag(560, b"\xff\x02"), 5: b"\xff\xff"}},
        {0: 9, 1: {14: {"r0": [[7, DIGEST]], 1: [[7, DIGEST]]}}},
        {0: 10, 1: {15: 5}},
        {0: 11, 1: {15: CBORTag(564, [1, None])}},
        {0: CBORTag(37, bytes(16)), 1: {11: "BL", 13: [CBORTag(560, b"\xaa")]}},
        {1: {8: "serial"}},
    ]
    assert facts(sign(corim(comid(*claims)))) == [
        ("uint:1", "svn", 3),
        ("uint:2", "min-svn", 4),
        ("uint:3", "svn", str(2**64 - 1)),
        ("uint:4", "version", "1.2"),
        ("uint:5", "flag.is-secure", True),
        ("uint:5", "flag.is-debug", False),
        ("uint:6", "raw-value", "0102"),
        ("uint:7", "masked-value", "0f02/0fff"),
        ("uint:8", "raw-value", "ff02"),
        ("uint:9", "register.1.digest.sha-384", HEX),
        ("uint:9", "register.r0.digest.sha-384", HEX),
        ("uint:10", "integer", 5),
        ("uint:11", "min-integer", 1),
        (f"uuid:{'0' * 8}-0000-0000-0000-{'0' * 12}/BL", "name", "BL"),
        (f"uuid:{'0' * 8}-0000-0000-0000-{'0' * 12}/BL", "key-id", "aa"),
        ("none", "serial-number", "serial"),
    ]


def test_endorsed_values_are_marked_and_other_triples_are_named() -> None:
    triples = {
        0: [[CLASS, [measurement()]]],
        1: [[CLASS, [measurement("certified", flags={1: True})]]],
        10: [[[], []]],
    }
    predicate = admit(sign(corim(comid(triples=triples)))).authentic.statement.predicate
    assert [item.get("endorsed", False) for item in predicate["facts"]] == [False, True]
    assert list(predicate["unsupported"]) == ["conditional-endorsement-triples"]


# --- profiles ---------------------------------------------------------------------------------------


def test_a_profile_must_be_one_that_the_root_accepts() -> None:
    content = corim(k3=CBORTag(32, "https://example.test/profile"))
    with pytest.raises(ManifestMalformed, match="profile"):
        admit(sign(content))
    assert facts(sign(content), key_root(profiles=["https://example.test/profile"]))


def profiled(profile: str, environment: Any, *claims: Any) -> list[tuple[str, str, Any]]:
    content = corim(comid(triples={0: [[environment, list(claims)]]}), k3=CBORTag(32, profile))
    return facts(sign(content), key_root(profiles=[profile]))


ID = {0: {0: CBORTag(560, bytes(32))}}
SIGNER = [CBORTag(560, b"signer")]
COMPONENT = {0: "cca.software-component", 1: {2: [[7, DIGEST]], 11: "BL", 13: SIGNER}}
CONFIGURATION = {0: "cca.platform-config", 1: {4: CBORTag(560, b"x"), 5: b"\xff"}}
RIM, RPV = measurement("cca.rim"), measurement("cca.rpv", raw=CBORTag(560, b"x"))


def test_known_profiles_read_what_they_describe() -> None:
    assert profiled(AMD_SNP, CLASS, measurement(641))
    assert profiled(ARM_CCA_PLATFORM, ID, COMPONENT, CONFIGURATION)
    assert profiled(ARM_CCA_REALM, ID, RIM, measurement("cca.rem0"), RPV)


@pytest.mark.parametrize(
    ("profile", "environment", "claims"),
    [
        (AMD_SNP, CLASS, [measurement("text")]),
        (AMD_SNP, CLASS, [measurement(None)]),
        (ARM_CCA_PLATFORM, CLASS, [COMPONENT]),
        (ARM_CCA_PLATFORM, {0: {0: CBORTag(560, bytes(31))}}, [COMPONENT]),
        (ARM_CCA_PLATFORM, ID | {1: CBORTag(560, b"x")}, [COMPONENT]),
        (ARM_CCA_PLATFORM, {1: CBORTag(560, b"x")}, [COMPONENT]),
        (ARM_CCA_PLATFORM, ID, [measurement(None)]),
        (ARM_CCA_PLATFORM, ID, [measurement("cca.other")]),
        (ARM_CCA_PLATFORM, ID, [measurement("cca.software-component")]),
        (ARM_CCA_PLATFORM, ID, [{0: "cca.software-component", 1: {11: "BL", 13: SIGNER}}]),
        (ARM_CCA_PLATFORM, ID, [measurement("cca.platform-config")]),
        (ARM_CCA_REALM, CLASS, [RIM]),
        (ARM_CCA_REALM, ID, [RPV]),
        (ARM_CCA_REALM, ID, [RIM, measurement("cca.rpv")]),
        (ARM_CCA_REALM, ID, [RIM, measurement("cca.rem0", svn=1)]),
        (ARM_CCA_REALM, ID, [RIM, measurement("cca.rem4")]),
    ],
)
def test_a_known_profile_is_held_to_its_rules(profile: str, environment: Any, claims: list[Any]) -> None:
    with pytest.raises(ManifestMalformed, match="breaks its profile"):
        profiled(profile, environment, *claims)


# --- activation -------------------------------------------------------------------------------------


def test_only_comids_of_a_valid_tag_list_are_active() -> None:
    root = key_root(activation=True)
    one, two = comid(measurement("one")), comid(measurement("two"), tag_id="tag-2", version=3)
    data = sign(corim(one, two, cotl(("tag-2", 3))))
    assert [key for key, _, _ in facts(data, root)] == ["text:two"]
    assert [key for key, _, _ in facts(data)] == ["text:one", "text:two"]
    for tags in (
        [one, two],
        [one, two, cotl(("tag-2", 2))],
        [one, cotl(("tag-1", 0), end=NOW - timedelta(days=1))],
    ):
        with pytest.raises(ManifestNotValid):
            admit(sign(corim(*tags)), root)


def test_a_tag_list_of_another_signed_corim_activates_if_the_root_carries_it() -> None:
    carried = base64.b64encode(sign(corim(cotl(("tag-1", 0))))).decode()
    assert facts(sign(), key_root(activation=True, tag_lists=[carried]))
    forged = base64.b64encode(sign(corim(cotl(("tag-1", 0))), key=OTHER)).decode()
    with pytest.raises(TrustPolicyInvalid):
        admit(sign(), key_root(activation=True, tag_lists=[forged]))
    with pytest.raises(TrustPolicyInvalid):
        policy(key_root(tag_lists=[carried]))


# --- unsigned ---------------------------------------------------------------------------------------


def test_an_unsigned_corim_needs_an_opt_in_for_that_very_document() -> None:
    data = corim()
    for roots in ((), (unverified(b"another"),), (unverified(data, formats=["swid"]),)):
        with pytest.raises(StatementUnsigned):
            admit(data, *roots)
    authentic = admit(data, unverified(data)).authentic
    assert authentic.unverified
    assert authentic.signers == ()


def test_an_opt_in_without_a_signer_entry_or_with_a_threshold_admits_nothing() -> None:
    data = corim()
    roots = [key_root(), unverified(data)]
    entry = [{"name": "maker", "root": "maker"}]
    with pytest.raises(SignerUntrusted):
        admit(data, *roots, signers=entry)
    with pytest.raises(SignerUntrusted):
        admit(data, *roots, threshold=2)


def test_a_bad_signature_is_not_unsigned() -> None:
    data = bytearray(sign())
    data[-1] ^= 1
    with pytest.raises(StatementSignatureInvalid):
        admit(bytes(data), key_root(), unverified(b"another"))
    assert admit(bytes(data), unverified(bytes(data))).authentic.unverified


def test_unverified_needs_the_policys_word_even_if_a_reader_says_so() -> None:
    pipeline = Pipeline(policy(unverified(corim())))
    authentic = pipeline.authenticate(corim(), NOW)
    from provenance.trust import admission

    with pytest.raises(SignerUntrusted):
        admission.admit(authentic, policy(), None, NOW)


# --- anything ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_an_altered_corim_gives_values_or_our_error(data: st.DataObject) -> None:
    original = sign()
    position = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original)
    changed[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    if bytes(changed) == original:
        return
    try:
        authentic = Pipeline(policy()).admit(bytes(changed), NOW).authentic
    except TouchstoneError:
        return
    # Tags of older drafts around the message are not signed and change nothing of what is.
    assert authentic.statement.subjects[0].digest["sha256"] == hashlib.sha256(corim()).hexdigest()


def test_outer_tags_of_older_drafts_are_taken_off_once_and_in_their_order() -> None:
    data = sign()
    for head in (b"\xd9\x01\xf4", b"\xd9\x01\xf6", b"\xd9\x01\xf4\xd9\x01\xf6"):
        assert facts(head + data) == facts(data)
    for head in (b"\xd9\x01\xf4" * 2, b"\xd9\x01\xf6\xd9\x01\xf4"):
        with pytest.raises(StatementUnsigned):
            admit(head + data)


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=60), st.sampled_from([b"\xd2\x84", b"\xd9\x01\xf5", b"\xd9\x01\xf4", b""]))
def test_any_unverified_bytes_give_values_or_our_error(tail: bytes, head: bytes) -> None:
    content = head + tail
    try:
        admit(content, unverified(content))
    except TouchstoneError:
        pass


@pytest.mark.parametrize(
    ("case", "accepted"),
    [
        ("sevsnp-valid", True),
        ("cca-platform-valid", True),
        ("cca-platform-bad-no-class", False),
        ("sevsnp-bad-refval-key", False),
    ],
)
def test_real_corims_are_judged_as_their_project_does(vectors: Path, case: str, accepted: bool) -> None:
    data = (vectors / "evidence" / "corim" / case / "corim.cbor").read_bytes()
    root = unverified(data, profiles=[AMD_SNP, ARM_CCA_PLATFORM])
    if not accepted:
        with pytest.raises(ManifestMalformed):
            admit(data, root)
        return
    found = facts(data, root)
    assert found
    if case == "sevsnp-valid":
        # The report's MEASUREMENT, as comid.json beside the CoRIM states it.
        measured = (
            "7699e6ac12ccdfd1dfac70e649ce1f046cb2afbb003438f4"
            "cdddfe2ccbe182fa5ffbe8dcdb930454324e10c52c788980"
        )
        assert ("uint:641", "digest.sha-384", measured) in found
        # mkey 6 is the current TCB of the report, as comid.json beside the CoRIM states it.
        assert ("uint:6", "svn", str(struct.unpack("<Q", bytes.fromhex("030000000000 0ed3"))[0])) in found
    # Signed by us, the same bytes read the same.
    assert facts(sign(data), key_root(profiles=[AMD_SNP, ARM_CCA_PLATFORM])) == found
