"""Verification summaries: only the named verifier, for the named resource, at the level or above."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance import dsse_signing, trust
from provenance.errors import (
    PredicateUnexpected,
    ResourceUnexpected,
    SignerUntrusted,
    StatementMalformed,
    TrustPolicyInvalid,
    TrustRefused,
    VerificationNotPassed,
    VerifiedLevelTooLow,
    VerifierUntrusted,
)
from provenance.pipeline import Pipeline
from provenance.predicates import vsa

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
VERIFIER = "https://example.com/verifier"
RESOURCE = "oci://registry.example.com/acme/cvm"
DIGEST = {"sha256": "ab" * 32}


@cache
def key(name: str) -> ed25519.Ed25519PrivateKey:
    del name  # one key per name and test process
    return ed25519.Ed25519PrivateKey.generate()


def summary(**changes: Any) -> dict[str, Any]:
    stated = {
        "verifier": {"id": VERIFIER, "version": {"tool": "1"}},
        "timeVerified": "2026-01-01T00:00:00.123456789Z",
        "resourceUri": RESOURCE,
        "policy": {"uri": "https://example.com/policy", "digest": {"sha256": "0" * 64}},
        "inputAttestations": [{"uri": "https://example.com/a", "digest": {"sha256": "1" * 64}}],
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_2", "ACME_GOLD"],
        "dependencyLevels": {"SLSA_BUILD_LEVEL_1": 3},
        "slsaVersion": "1.1",
    } | changes
    return {name: value for name, value in stated.items() if value is not ...}


def old_summary(**changes: Any) -> dict[str, Any]:
    return {
        "verifier": {"id": VERIFIER},
        "time_verified": "2026-01-01T00:00:00Z",
        "resource_uri": RESOURCE,
        "policy": {"uri": "https://example.com/policy"},
        "verification_result": "PASSED",
        "policy_level": "SLSA_LEVEL_3",
        "dependency_levels": {},
    } | changes


def signed(
    predicate: dict[str, Any], *, by: str = "verifier", kind: str = vsa.VSA_V1, digest: Any = None
) -> bytes:
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "_", "digest": DIGEST if digest is None else digest}],
        "predicateType": kind,
        "predicate": predicate,
    }
    return dsse_signing.sign("application/vnd.in-toto+json", json.dumps(statement).encode(), key(by))


def expected(**changes: Any) -> dict[str, Any]:
    entry = {"verifiers": [VERIFIER], "resources": [RESOURCE], "levels": ["SLSA_BUILD_LEVEL_2"]}
    return entry | changes


def policy(*entries: dict[str, Any], **changes: Any) -> trust.TrustPolicy:
    def public(name: str) -> str:
        found = key(name).public_key()
        return found.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    names = ("verifier", "other")
    document = {
        "version": 1,
        "name": "vsa",
        "predicate_types": list(vsa.VSA_TYPES),
        "roots": [
            {"name": name, "kind": "public-key", "algorithm": "ed25519", "key": public(name)}
            for name in names
        ],
        "signers": [{"name": name, "root": name} for name in names],
        "vsas": list(entries) or [expected()],
    }
    return trust.parse(json.dumps(document | changes).encode())


def admit(envelope: bytes, *entries: dict[str, Any], **changes: Any) -> Any:
    return Pipeline(policy(*entries, **changes)).admit(envelope, NOW)


def test_summary_that_fits_is_admitted_with_a_record_of_every_check() -> None:
    admitted = admit(signed(summary()))
    names = {check.name for check in admitted.checks}
    assert {"vsa.result", "vsa.verifier", "vsa.resource", "vsa.levels", "vsa.subjects", "vsa.time"} <= names


def test_members_that_are_not_read_are_ignored_and_optional_ones_may_be_absent() -> None:
    optional = {"inputAttestations": ..., "dependencyLevels": ..., "slsaVersion": ...}
    assert admit(signed(summary(**optional, **{"https://example.com/x": 1})))


# --- abuse -------------------------------------------------------------------------------------


@pytest.mark.parametrize("result", ["FAILED", "passed", "PASSED ", "", "WARN"])
def test_result_other_than_passed_is_refused(result: str) -> None:
    with pytest.raises((VerificationNotPassed, PredicateUnexpected)):
        admit(signed(summary(verificationResult=result)))


def test_failed_has_its_code_wherever_it_stands() -> None:
    for changes in ({"verificationResult": "FAILED"}, {"verifiedLevels": ["SLSA_BUILD_LEVEL_3", "FAILED"]}):
        with pytest.raises(VerificationNotPassed):
            admit(signed(summary(**changes)))


@pytest.mark.parametrize(
    "verifier",
    [VERIFIER + "2", VERIFIER + "/x", VERIFIER[:-1], VERIFIER.upper(), "https://evil", VERIFIER + "\n"],
)
def test_verifier_id_is_exact(verifier: str) -> None:
    with pytest.raises(VerifierUntrusted):
        admit(signed(summary(verifier={"id": verifier})))


def test_verifier_and_signer_are_a_pair() -> None:
    entry = expected(signers=["verifier"])
    assert admit(signed(summary()), entry)
    with pytest.raises(VerifierUntrusted):
        admit(signed(summary(), by="other"), entry)
    with pytest.raises(SignerUntrusted):
        admit(signed(summary(), by="stranger"), entry)


@pytest.mark.parametrize(
    "resource",
    [RESOURCE + "2", RESOURCE + "/x", RESOURCE[:-1], RESOURCE + "@sha256:0", "oci://evil/acme/cvm"],
)
def test_resource_is_no_prefix(resource: str) -> None:
    with pytest.raises(ResourceUnexpected):
        admit(signed(summary(resourceUri=resource)))


def test_star_in_a_resource_does_not_cross_a_slash() -> None:
    entry = expected(resources=["oci://registry.example.com/acme/*"])
    assert admit(signed(summary()), entry)
    with pytest.raises(ResourceUnexpected):
        admit(signed(summary(resourceUri="oci://registry.example.com/acme/evil/cvm")), entry)


@pytest.mark.parametrize(
    ("stated", "wanted", "reached"),
    [
        (["SLSA_BUILD_LEVEL_2"], ["SLSA_BUILD_LEVEL_1"], True),
        (["SLSA_BUILD_LEVEL_3"], ["SLSA_BUILD_LEVEL_2"], True),
        (["SLSA_BUILD_LEVEL_1", "SLSA_BUILD_LEVEL_3"], ["SLSA_BUILD_LEVEL_2"], True),
        (["SLSA_SOURCE_LEVEL_3", "SLSA_BUILD_LEVEL_2"], ["SLSA_SOURCE_LEVEL_2"], True),
        (["ACME_GOLD"], ["ACME_GOLD"], True),
        (["SLSA_BUILD_LEVEL_1"], ["SLSA_BUILD_LEVEL_2"], False),
        (["SLSA_BUILD_LEVEL_0"], ["SLSA_BUILD_LEVEL_1"], False),
        (["SLSA_SOURCE_LEVEL_3"], ["SLSA_BUILD_LEVEL_1"], False),
        (["SLSA_MOON_LEVEL_9"], ["SLSA_BUILD_LEVEL_1"], False),
        (["SLSA_LEVEL_4"], ["SLSA_BUILD_LEVEL_1"], False),
        (["SLSA_BUILD_LEVEL_22"], ["SLSA_BUILD_LEVEL_2"], False),
        (["SLSA_BUILD_LEVEL_2 "], ["SLSA_BUILD_LEVEL_2"], False),
        (["SLSA_BUILD_LEVEL_\u0663"], ["SLSA_BUILD_LEVEL_2"], False),
        (["SLSA_BUILD_LEVEL_UNEVALUATED"], ["SLSA_BUILD_LEVEL_0"], False),
        (["slsa_build_level_3"], ["SLSA_BUILD_LEVEL_2"], False),
        (["ACME_GOLD_PLUS"], ["ACME_GOLD"], False),
        (["SLSA_BUILD_LEVEL_3"], ["SLSA_BUILD_LEVEL_2", "ACME_GOLD"], False),
        ([], ["SLSA_BUILD_LEVEL_0"], False),
    ],
)
def test_levels_are_ordered_within_a_known_track_only(
    stated: list[str], wanted: list[str], reached: bool
) -> None:
    envelope, entry = signed(summary(verifiedLevels=stated)), expected(levels=wanted)
    if reached:
        assert admit(envelope, entry)
    else:
        with pytest.raises(VerifiedLevelTooLow):
            admit(envelope, entry)


def test_two_entries_do_not_complete_each_other() -> None:
    strict = expected(levels=["SLSA_BUILD_LEVEL_3"])
    other_resource = expected(
        resources=["oci://registry.example.com/acme/dev"], levels=["SLSA_BUILD_LEVEL_1"]
    )
    assert admit(signed(summary(verifiedLevels=["SLSA_BUILD_LEVEL_3"])), strict, other_resource)
    with pytest.raises(VerifiedLevelTooLow):
        admit(signed(summary()), strict, other_resource)


def test_identifier_instead_of_a_digest_counts_only_where_it_is_named() -> None:
    envelope = signed(summary(), digest={"gce_image_id": "8970095005306000053"})
    assert admit(envelope, expected(identifiers=["gce_image_id"]))
    for identifiers in ([], ["other_id"]):
        with pytest.raises(StatementMalformed):
            admit(envelope, expected(identifiers=identifiers))


@pytest.mark.parametrize(
    "digest", [{}, {"sha1": "ab" * 20}, {"md5": "ab" * 16}, {"sha256": "zz"}, {"id": 1}]
)
def test_weak_and_malformed_digests_are_refused_whatever_is_named(digest: dict[str, Any]) -> None:
    with pytest.raises(StatementMalformed):
        admit(signed(summary(), digest=digest), expected(identifiers=["sha1", "md5", "id"]))


def test_identifiers_are_for_summaries_alone() -> None:
    kind = "https://slsa.dev/provenance/v1"
    with pytest.raises(StatementMalformed):
        admit(signed({}, kind=kind, digest={"gce_image_id": "1"}), predicate_types=[kind, vsa.VSA_V1])


def test_time_of_verification_is_bounded() -> None:
    def at(moment: datetime) -> bytes:
        return signed(summary(timeVerified=moment.isoformat().replace("+00:00", "Z")))

    entry = expected(max_age_seconds=3600)
    assert admit(at(NOW - timedelta(seconds=3600)), entry)
    for late in (NOW - timedelta(seconds=3601), NOW + timedelta(minutes=11)):
        with pytest.raises(TrustRefused):
            admit(at(late), entry)


# --- shape -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"verifier": ...},
        {"verifier": {}},
        {"verifier": {"id": ""}},
        {"verifier": VERIFIER},
        {"timeVerified": ...},
        {"timeVerified": "yesterday"},
        {"timeVerified": "2026-01-01"},
        {"timeVerified": 1},
        {"resourceUri": ...},
        {"resourceUri": ""},
        {"policy": ...},
        {"policy": {}},
        {"verificationResult": ...},
        {"verifiedLevels": ...},
        {"verifiedLevels": "SLSA_BUILD_LEVEL_3"},
        {"verifiedLevels": [3]},
        {"verifiedLevels": ["SLSA_BUILD_LEVEL_2"] * 5000},
        {"inputAttestations": [{"uri": "https://example.com/a"}]},
        {"inputAttestations": [{"digest": {"sha256": 1}}]},
        {"dependencyLevels": {"SLSA_BUILD_LEVEL_1": -1}},
        {"dependencyLevels": {"SLSA_BUILD_LEVEL_1": "3"}},
    ],
)
def test_summary_that_is_not_of_the_schema_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PredicateUnexpected):
        admit(signed(summary(**changes)))


def test_version_02_has_its_own_members_and_ladder() -> None:
    entry = expected(levels=["SLSA_LEVEL_2"])
    assert admit(signed(old_summary(), kind=vsa.VSA_V02), entry)
    with pytest.raises(VerifiedLevelTooLow):
        admit(signed(old_summary(policy_level="SLSA_LEVEL_1"), kind=vsa.VSA_V02), entry)
    with pytest.raises(VerifiedLevelTooLow):
        admit(signed(old_summary(), kind=vsa.VSA_V02), expected())
    for predicate, kind in ((summary(), vsa.VSA_V02), (old_summary(), vsa.VSA_V1)):
        with pytest.raises(PredicateUnexpected):
            admit(signed(predicate, kind=kind))


@pytest.mark.parametrize(
    "changes",
    [
        {"vsas": []},
        {"vsas": [expected(verifiers=[])]},
        {"vsas": [expected(resources=[])]},
        {"vsas": [expected(levels=[])]},
        {"vsas": [expected(verifiers=["https://example.com/*"])]},
        {"vsas": [expected(verifiers=[""])]},
        {"vsas": [expected(resources=["*"])]},
        {"vsas": [expected(resources=["*://*/*"])]},
        {"vsas": [expected(levels=["SLSA_MOON_LEVEL_1"])]},
        {"vsas": [expected(levels=["SLSA_BUILD_LEVEL_X"])]},
        {"vsas": [expected(levels=["FAILED"])]},
        {"vsas": [expected(levels=[""])]},
        {"vsas": [expected(signers=["nobody"])]},
        {"vsas": [expected(max_age_seconds=0)]},
        {"vsas": [expected(more=1)]},
    ],
)
def test_policy_that_expects_nothing_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(TrustPolicyInvalid):
        policy(**changes)


PIPELINE = Pipeline(policy())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(sorted(summary())), JSON)
def test_only_our_errors_come_out_and_no_member_raises_a_level(member: str, value: Any) -> None:
    stated = summary(verifiedLevels=["SLSA_BUILD_LEVEL_1"]) | {member: value}
    with pytest.raises(TouchstoneError):
        PIPELINE.admit(signed(stated), NOW)
