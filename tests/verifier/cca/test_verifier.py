"""The CCA verifier on tokens of a test platform: what affirms, and each rule broken alone."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from common import cbor
from common.encoding import b64_decode
from common.errors import InvalidSetting, Malformed, TooLarge, TouchstoneError
from testkit.cca_platform import CcaPlatform, collection, document
from testkit.cose import sign1
from tests.verifier.snp.conftest import failed
from verifier.cca import CcaSettings, CcaVerifier
from verifier.cca.evidence import CcaEvidence
from verifier.errors import (
    AttestationKeyUntrusted,
    EndorsementMissing,
    InitDataMismatch,
    ReportDataMismatch,
    SignatureInvalid,
    UnsupportedEvidence,
)
from verifier.model import (
    Expectation,
    InitDataClaim,
    ReportDataBinding,
    RuntimeDataBinding,
    SessionBinding,
    Unbound,
    VerifiedEvidence,
)
from wire.evidence import SampleEvidence

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CHALLENGE = bytes(range(64))
BOUND = ReportDataBinding(CHALLENGE)
PLATFORM = CcaPlatform()
LEGACY = CcaPlatform(legacy=True)
STRANGER = CcaPlatform()  # the same ids, other keys


def verify(
    evidence: CcaEvidence,
    platform: CcaPlatform = PLATFORM,
    *,
    expected: Expectation = BOUND,
    init_data: InitDataClaim | None = None,
    **settings: Any,
) -> VerifiedEvidence:
    verifier = CcaVerifier(CcaSettings(**settings), platform.endorsements())
    return verifier.verify(evidence, expected, init_data, NOW)


@pytest.mark.parametrize("rak_hash", ["sha-256", "sha-384", "sha-512"])
@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
@pytest.mark.parametrize("legacy", [True, False])
def test_tokens_of_both_forms_affirm(legacy: bool, curve: ec.EllipticCurve, rak_hash: str) -> None:
    platform = CcaPlatform(legacy=legacy, curve=curve, rak_hash=rak_hash)
    verified = verify(platform.evidence(CHALLENGE), platform)
    assert (verified.floors, failed(verified), verified.bound) == ({}, [], "report-data")
    assert verified.identity == f"cca-instance:{platform.instance_id.hex()}"
    assert verified.not_after is None
    assert verified.claims["report_data"] == CHALLENGE.hex()


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_a_realms_key_of_another_curve_is_read_in_a_cose_key(curve: ec.EllipticCurve) -> None:
    platform = CcaPlatform(realm_curve=curve)
    assert verify(platform.evidence(CHALLENGE), platform).floors == {}


def test_claims_have_cocos_names_and_ours() -> None:
    verified = verify(PLATFORM.evidence(CHALLENGE))
    cca = verified.claims["cca"]
    assert b64_decode(cca["realm"]["cca-realm-challenge"]) == CHALLENGE
    assert b64_decode(cca["realm"]["cca-realm-initial-measurement"]).hex() == cca["rim"]
    assert b64_decode(cca["platform"]["cca-platform-instance-id"]).hex() == cca["instance_id"]
    assert cca["platform"]["cca-platform-lifecycle"] == cca["lifecycle"] == 0x3003
    assert cca["lifecycle_state"] == "secured"
    first, _, third = cca["sw_components"]
    assert (first["type"], first["version"], third["type"]) == ("RMM", "1.0", "")
    assert first["signer_id"] == hashlib.sha256(b"signer").hexdigest()
    theirs = cca["platform"]["cca-platform-sw-components"]
    assert theirs[0]["measurement-type"] == "RMM"
    assert "measurement-type" not in theirs[2]
    assert cca["config"] == "cfcfcfcf"
    assert verified.claims["common"] == {
        "measurement": cca["rim"],
        "registers": {str(index): "00" * 64 for index in range(4)},
        "launch_data": "00" * 64,
        "debug": False,
    }
    assert "init_data" not in verified.claims


def test_every_check_says_what_and_why() -> None:
    checks = verify(PLATFORM.evidence(CHALLENGE)).checks
    assert [check.name for check in checks] == [
        "cca.platform.key",
        "cca.platform.signature",
        "cca.realm.signature",
        "cca.platform.profile",
        "cca.realm.profile",
        "cca.realm.key",
        "cca.realm.challenge",
        "cca.platform.lifecycle",
    ]
    assert all(check.source for check in checks)


class TestKeys:
    def test_no_key_is_known(self) -> None:
        with pytest.raises(EndorsementMissing) as caught:
            verify(PLATFORM.evidence(CHALLENGE), CcaPlatform(b"another"))
        assert caught.value.checks[-1].name == "cca.platform.key"

    def test_another_key_of_the_same_platform(self) -> None:
        with pytest.raises(SignatureInvalid):
            verify(STRANGER.evidence(CHALLENGE))

    def test_the_header_names_another_algorithm(self) -> None:
        platform = cbor.encode(PLATFORM.platform_claims())
        realm = sign1(cbor.encode(PLATFORM.realm_claims(CHALLENGE)), PLATFORM.rak)
        for header in ({1: -7}, {}, {1: -37}):
            with pytest.raises(SignatureInvalid, match="algorithm"):
                verify(document(collection(sign1(platform, PLATFORM.cpak, header=header), realm)))

    def test_a_header_cannot_choose_the_keys_algorithm(self) -> None:
        """A P-256 signature with a true header, where the endorsed key is of P-384."""
        other = CcaPlatform(curve=ec.SECP256R1())
        with pytest.raises(SignatureInvalid, match="algorithm"):
            verify(other.evidence(CHALLENGE))

    def test_the_realm_is_signed_by_another_key(self) -> None:
        platform = sign1(cbor.encode(PLATFORM.platform_claims()), PLATFORM.cpak)
        realm = sign1(cbor.encode(PLATFORM.realm_claims(CHALLENGE)), STRANGER.rak)
        with pytest.raises(SignatureInvalid):
            verify(document(collection(platform, realm)))

    @pytest.mark.parametrize("honest", [PLATFORM, LEGACY])
    def test_a_realm_of_another_platform_is_not_vouched_for(self, honest: CcaPlatform) -> None:
        """The RAK swap: a genuine platform token beside a realm token that somebody else made."""
        attacker = CcaPlatform(legacy=honest.legacy)
        platform = sign1(cbor.encode(honest.platform_claims()), honest.cpak)
        realm = sign1(cbor.encode(attacker.realm_claims(CHALLENGE)), attacker.rak)
        with pytest.raises(AttestationKeyUntrusted):
            verify(document(collection(platform, realm)), honest)

    def test_the_hash_is_of_the_key_as_encoded(self) -> None:
        """The point instead of the COSE_Key that holds it is another encoding, and another digest."""
        point = CcaPlatform(legacy=True)
        point.rak, point.rak_hash = PLATFORM.rak, PLATFORM.rak_hash
        digest = hashlib.sha256(point.rak_claim).digest()
        with pytest.raises(AttestationKeyUntrusted):
            verify(PLATFORM.evidence(CHALLENGE, platform={"claim_10": digest}))

    @pytest.mark.parametrize("name", ["md5", "sha-1", "sha-224", "SHA-256", "sha256", "shake128"])
    def test_a_weak_or_unknown_hash(self, name: str) -> None:
        with pytest.raises(UnsupportedEvidence):
            verify(PLATFORM.evidence(CHALLENGE, realm={"claim_44240": name}))

    def test_another_hash_than_the_named(self) -> None:
        with pytest.raises(AttestationKeyUntrusted):
            verify(PLATFORM.evidence(CHALLENGE, realm={"claim_44240": "sha-384"}))

    def test_a_realms_key_that_is_no_point(self) -> None:
        broken = b"\x04" + bytes(96)
        with pytest.raises(SignatureInvalid, match="point"):
            verify(LEGACY.evidence(CHALLENGE, realm={"claim_44237": broken}), LEGACY)


class TestProfiles:
    @pytest.mark.parametrize(
        "profile", ["tag:arm.com,2024:cca_platform#2.0.0", "http://arm.com/psa/2.0.0", "x"]
    )
    def test_unknown_platform_profiles(self, profile: str) -> None:
        with pytest.raises(UnsupportedEvidence):
            verify(PLATFORM.evidence(CHALLENGE, platform={"claim_265": profile}))

    @pytest.mark.parametrize("profile", ["tag:arm.com,2024:realm#2.0.0", "x"])
    def test_unknown_realm_profiles(self, profile: str) -> None:
        with pytest.raises(UnsupportedEvidence):
            verify(PLATFORM.evidence(CHALLENGE, realm={"claim_265": profile}))

    def test_legacy_tokens_may_be_refused(self) -> None:
        with pytest.raises(UnsupportedEvidence):
            verify(LEGACY.evidence(CHALLENGE), LEGACY, legacy=False)
        assert verify(PLATFORM.evidence(CHALLENGE), legacy=False).floors == {}
        mixed = CcaPlatform(legacy=True)
        new_profile = {"claim_265": "tag:arm.com,2023:cca_platform#1.0.0"}
        with pytest.raises(UnsupportedEvidence):
            verify(mixed.evidence(CHALLENGE, platform=new_profile), mixed, legacy=False)
        assert verify(mixed.evidence(CHALLENGE, platform=new_profile), mixed).floors == {}


class TestBinding:
    """Abuse case 14: every byte of the challenge, and no other length."""

    def test_nothing_expected_affirms_nobody(self) -> None:
        verified = verify(PLATFORM.evidence(CHALLENGE), expected=Unbound())
        assert (verified.bound, verified.floors) == ("unbound", {"instance-identity": 97})
        assert [check.verdict for check in verified.checks if check.name == "cca.realm.challenge"] == [
            "not-evaluated"
        ]

    @pytest.mark.parametrize(
        "wanted", [bytes(64), CHALLENGE[:32] + bytes(32), CHALLENGE[:-1] + b"\xff", b"\xff" + CHALLENGE[1:]]
    )
    def test_other_bytes(self, wanted: bytes) -> None:
        with pytest.raises(ReportDataMismatch):
            verify(PLATFORM.evidence(CHALLENGE), expected=ReportDataBinding(wanted))

    @pytest.mark.parametrize("wanted", [b"", CHALLENGE[:63], CHALLENGE + b"\0", CHALLENGE[:32]])
    def test_an_expectation_of_another_length_is_refused(self, wanted: bytes) -> None:
        with pytest.raises(Malformed, match="not 64"):
            verify(PLATFORM.evidence(CHALLENGE), expected=ReportDataBinding(wanted))

    def test_an_all_zero_challenge_does_not_meet_another(self) -> None:
        with pytest.raises(ReportDataMismatch):
            verify(PLATFORM.evidence(bytes(64)))

    def test_runtime_data_is_fitted(self) -> None:
        digest = hashlib.sha384(b"runtime").digest()
        evidence = PLATFORM.evidence(digest + bytes(16))
        verified = verify(evidence, expected=RuntimeDataBinding(digest, "nonce", {"kty": "EC"}))
        assert (verified.bound, verified.tee_pubkey) == ("session", {"kty": "EC"})

    def test_a_session_is_bound_to_its_key_and_audience(self) -> None:
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}
        session = SessionBinding(nonce=bytes(32), tee_pubkey=jwk, audience="us")
        with pytest.raises(ReportDataMismatch) as caught:
            verify(PLATFORM.evidence(CHALLENGE), expected=session)
        wanted = bytes.fromhex(caught.value.checks[-1].expected)
        assert verify(PLATFORM.evidence(wanted), expected=session).bound == "session"
        for other in (
            SessionBinding(nonce=bytes(32), tee_pubkey=jwk, audience="them"),
            SessionBinding(nonce=bytes(31) + b"\1", tee_pubkey=jwk, audience="us"),
            SessionBinding(nonce=bytes(32), tee_pubkey=jwk | {"x": "B" * 43}, audience="us"),
        ):
            with pytest.raises(ReportDataMismatch):
                verify(PLATFORM.evidence(wanted), expected=other)


class TestInitData:
    """Abuse case 30: what stands in the claims is what the realm was created with."""

    DIGEST = hashlib.sha512(b"init").digest()

    def test_bound(self) -> None:
        evidence = PLATFORM.evidence(CHALLENGE, realm={"claim_44235": self.DIGEST})
        verified = verify(evidence, init_data=InitDataClaim(self.DIGEST, b"init"))
        assert (verified.init_data, verified.claims["init_data"]) == ("bound", self.DIGEST.hex())

    @pytest.mark.parametrize("fitted", [True, False])
    def test_another_is_refused(self, fitted: bool) -> None:
        evidence = PLATFORM.evidence(CHALLENGE, realm={"claim_44235": self.DIGEST})
        other = InitDataClaim(hashlib.sha512(b"other").digest(), b"other", fitted)
        with pytest.raises(InitDataMismatch):
            verify(evidence, init_data=other)

    def test_a_shorter_digest_is_padded_only_where_it_is_fitted(self) -> None:
        digest = hashlib.sha256(b"init").digest()
        evidence = PLATFORM.evidence(CHALLENGE, realm={"claim_44235": digest + bytes(32)})
        assert verify(evidence, init_data=InitDataClaim(digest, b"init", fitted=True)).init_data == "bound"
        with pytest.raises(InitDataMismatch):
            verify(evidence, init_data=InitDataClaim(digest, b"init"))

    def test_absent_is_not_claimed(self) -> None:
        evidence = PLATFORM.evidence(CHALLENGE, realm={"claim_44235": self.DIGEST})
        verified = verify(evidence)
        assert verified.init_data == "absent"
        assert "init_data" not in verified.claims


class TestLifecycle:
    """Abuse case 12: the states in which firmware can be debugged set floors that no policy can lift."""

    @pytest.mark.parametrize("lifecycle", [0x3000, 0x3003, 0x30FF])
    def test_secured(self, lifecycle: int) -> None:
        verified = verify(PLATFORM.evidence(CHALLENGE, platform={"claim_2395": lifecycle}))
        assert (verified.floors, verified.claims["common"]["debug"]) == ({}, False)

    @pytest.mark.parametrize("lifecycle", [0x4000, 0x40FF, 0x5000, 0x50FF])
    def test_debug(self, lifecycle: int) -> None:
        verified = verify(PLATFORM.evidence(CHALLENGE, platform={"claim_2395": lifecycle}))
        assert verified.floors == {"hardware": 96, "configuration": 96, "runtime-opaque": 96}
        assert verified.claims["common"]["debug"] is True
        assert [(c.name, c.code) for c in verified.checks if c.verdict == "fail"] == [
            ("cca.platform.lifecycle", "evidence.debug")
        ]

    @pytest.mark.parametrize(
        ("lifecycle", "state"),
        [
            (0, "unknown"),
            (0x2FFF, "unknown"),
            (0x1000, "assembly-and-test"),
            (0x2000, "provisioning"),
            (0x3100, "unknown"),
            (0x6000, "decommissioned"),
            (0xFFFF, "unknown"),
        ],
    )
    def test_others(self, lifecycle: int, state: str) -> None:
        verified = verify(PLATFORM.evidence(CHALLENGE, platform={"claim_2395": lifecycle}))
        assert verified.floors == {"hardware": 96, "configuration": 96}
        assert verified.claims["cca"]["lifecycle_state"] == state
        assert [c.code for c in verified.checks if c.verdict == "fail"] == ["evidence.policy"]


def test_an_implementation_that_is_not_accepted_is_not_recognised() -> None:
    evidence = PLATFORM.evidence(CHALLENGE)
    assert verify(evidence, implementation_ids=frozenset({PLATFORM.implementation_id})).floors == {}
    other = verify(evidence, implementation_ids=frozenset({bytes(32)}))
    assert (other.floors, failed(other)) == ({"hardware": 97}, ["cca.platform.implementation"])
    with pytest.raises(InvalidSetting):
        CcaSettings(implementation_ids=frozenset({b"short"}))


def test_claims_that_are_not_read_are_named() -> None:
    verified = verify(
        PLATFORM.evidence(CHALLENGE, platform={"claim_2403": b"x"}, realm={"claim_44243": "y"})
    )
    assert verified.claims["cca"]["unknown_claims"] == ["2403", "44243"]
    assert [c.observed for c in verified.checks if c.verdict == "warning"] == [["2403", "44243"]]


def test_every_bit_counts() -> None:
    """Whatever bit of a token is turned, it is refused: nothing in it is without meaning."""
    platform = CcaPlatform(legacy=True, curve=ec.SECP256R1())
    token = platform.token(CHALLENGE)
    verifier = CcaVerifier(CcaSettings(), platform.endorsements())
    for index in range(len(token)):
        changed = token[:index] + bytes([token[index] ^ (1 << index % 8)]) + token[index + 1 :]
        with pytest.raises(TouchstoneError):
            verifier.verify(document(changed), BOUND, None, NOW)


def test_documents_of_another_kind_or_size() -> None:
    verifier = CcaVerifier(CcaSettings(), PLATFORM.endorsements())
    for evidence, error in (
        (SampleEvidence(svn="1"), Malformed),
        (CcaEvidence(token="=="), Malformed),
        (CcaEvidence(token=""), Malformed),
        (CcaEvidence(token="A" * 100_000), TooLarge),
    ):
        with pytest.raises(error):
            verifier.verify(evidence, BOUND, None, NOW)
    assert verifier.tee == "cca"
