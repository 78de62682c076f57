"""The Nitro verifier on documents of a test authority: what affirms, and each rule broken alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from common import cbor
from common.errors import InvalidSetting, Malformed, TooLarge, TouchstoneError
from testkit.cose import sign1
from testkit.nitro_enclave import ABSENT, NOW, PROFILES, NitroAuthority, Profile, endless, register, wrapped
from tests.verifier.snp.conftest import failed
from verifier import vendor_roots
from verifier.errors import (
    CertificateExpired,
    CertificateInvalid,
    CertificateNotYetValid,
    InitDataMismatch,
    ReportDataMismatch,
    RootUntrusted,
    SignatureInvalid,
)
from verifier.model import (
    Expectation,
    InitDataClaim,
    ReportDataBinding,
    SessionBinding,
    Unbound,
    VerifiedEvidence,
)
from verifier.nitro import NitroSettings, NitroVerifier
from verifier.nitro.chain import ROOT_FILE
from verifier.nitro.evidence import NitroEvidence
from wire.evidence import SampleEvidence

USER_DATA = bytes(range(64))
BOUND = ReportDataBinding(USER_DATA)
AUTHORITY = NitroAuthority()
STRANGER = NitroAuthority()


def verify(
    evidence: NitroEvidence | None = None,
    authority: NitroAuthority = AUTHORITY,
    *,
    expected: Expectation = BOUND,
    init_data: InitDataClaim | None = None,
    now: datetime = NOW,
    **settings: Any,
) -> VerifiedEvidence:
    if evidence is None:
        evidence = authority.evidence(user_data=USER_DATA)
    verifier = NitroVerifier(NitroSettings(**settings), extra_anchors=(authority.root,))
    return verifier.verify(evidence, expected, init_data, now)


def test_a_document_affirms() -> None:
    verified = verify()
    assert (verified.floors, failed(verified), verified.bound) == ({}, [], "report-data")
    assert verified.identity == "nitro-module:i-0-enc0"
    assert verified.not_after == NOW + timedelta(hours=2)
    assert len(verified.endorsements) == 5
    nitro = verified.claims["nitro"]
    assert nitro["pcr0"] == nitro["pcrs"]["0"] == register(0).hex()
    assert nitro["pcr15"] == "00" * 48
    assert nitro["user_data"] == verified.claims["report_data"] == USER_DATA.hex()
    assert "nonce" not in nitro
    assert "public_key" not in nitro
    assert (nitro["debug"], nitro["digest"], nitro["unknown_members"]) == (False, "SHA384", [])
    common = verified.claims["common"]
    assert (common["measurement"], common["debug"]) == (register(0).hex(), False)
    assert common["signer"] == register(8).hex()
    assert all(check.source for check in verified.checks)


class TestChain:
    def test_aws_root_is_trusted_without_being_named(self) -> None:
        root = vendor_roots.load(ROOT_FILE)
        digest = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"
        assert root.fingerprint(hashes.SHA256()).hex() == digest

    def test_another_root_with_the_same_names(self) -> None:
        with pytest.raises(RootUntrusted) as caught:
            verify(STRANGER.evidence(user_data=USER_DATA))
        assert caught.value.checks[-1].name == "nitro.chain.root"
        unknown = NitroVerifier(NitroSettings())
        with pytest.raises(RootUntrusted):
            unknown.verify(AUTHORITY.evidence(user_data=USER_DATA), BOUND, None, NOW)

    def test_the_root_beside_a_chain_of_another(self) -> None:
        mixed = AUTHORITY.members()["cabundle"][:1] + STRANGER.members()["cabundle"][1:]
        document = STRANGER.evidence(user_data=USER_DATA, cabundle=mixed)
        with pytest.raises(CertificateInvalid, match="issued"):
            verify(document)

    def test_a_bundle_without_its_root_or_with_a_gap_or_turned_round(self) -> None:
        bundle = AUTHORITY.members()["cabundle"]
        for changed, error in (
            (bundle[1:], RootUntrusted),
            (bundle[::-1], RootUntrusted),
            (bundle[:2] + bundle[3:], CertificateInvalid),
            (bundle[:1] + bundle[2:0:-1] + bundle[3:], CertificateInvalid),
            (bundle[:1], CertificateInvalid),
            ([*bundle, bundle[-1]], CertificateInvalid),
        ):
            with pytest.raises(error):
                verify(AUTHORITY.evidence(user_data=USER_DATA, cabundle=changed))

    def test_a_leaf_of_another_enclave(self) -> None:
        leaf = STRANGER.certificates[-1].public_bytes(Encoding.DER)
        with pytest.raises(CertificateInvalid):
            verify(
                STRANGER.evidence(
                    user_data=USER_DATA, certificate=leaf, cabundle=AUTHORITY.members()["cabundle"]
                )
            )

    def test_a_leaf_directly_below_the_root(self) -> None:
        short = NitroAuthority([PROFILES[0], PROFILES[-1]])
        assert verify(authority=short).floors == {}

    @pytest.mark.parametrize(
        ("index", "change"),
        [
            (1, {"ca": False, "path_length": None}),
            (3, {"ca": False, "path_length": None}),
            (4, {"ca": True}),
            (2, {"path_length": 0}),
            (1, {"path_length": 1}),
            (1, {"usage": frozenset({"digital_signature"})}),
            (4, {"usage": frozenset({"key_cert_sign"})}),
            (1, {"curve": ec.SECP256R1()}),
            (4, {"curve": ec.SECP521R1()}),
            (3, {"hash": hashes.SHA256()}),
            (2, {"critical": True}),
            (4, {"critical": True}),
        ],
    )
    def test_every_rule_of_the_profile(self, index: int, change: dict[str, Any]) -> None:
        profiles: list[Profile] = list(PROFILES)
        profiles[index] = replace(profiles[index], **change)
        with pytest.raises(CertificateInvalid):
            verify(authority=NitroAuthority(profiles))

    def test_a_certificate_that_cannot_be_parsed(self) -> None:
        bundle = AUTHORITY.members()["cabundle"]
        for change in (
            {"certificate": b"x"},
            {"certificate": AUTHORITY.members()["certificate"] + b"\0"},
            {"cabundle": [bundle[0], b"\x30\x00", *bundle[2:]]},
        ):
            with pytest.raises(Malformed):
                verify(AUTHORITY.evidence(user_data=USER_DATA, **change))

    @pytest.mark.parametrize(
        ("now", "error"),
        [
            (NOW + timedelta(hours=3), CertificateExpired),
            (NOW + timedelta(days=30), CertificateExpired),
            (NOW - timedelta(hours=2), CertificateNotYetValid),
        ],
    )
    def test_dates(self, now: datetime, error: type[TouchstoneError]) -> None:
        with pytest.raises(error):
            verify(now=now)

    @pytest.mark.parametrize("index", range(5))
    def test_the_dates_of_every_certificate_count(self, index: int) -> None:
        expired, future = list(PROFILES), list(PROFILES)
        expired[index] = replace(expired[index], life=timedelta(minutes=30))
        future[index] = replace(future[index], start=timedelta(minutes=-5))
        with pytest.raises(CertificateExpired):
            verify(authority=NitroAuthority(expired))
        with pytest.raises(CertificateNotYetValid):
            verify(authority=NitroAuthority(future))


class TestSignature:
    def test_another_key_of_the_same_authority(self) -> None:
        payload = endless(AUTHORITY.members(user_data=USER_DATA))
        with pytest.raises(SignatureInvalid):
            verify(wrapped(sign1(payload, STRANGER.keys[-1], tagged=False)))

    @pytest.mark.parametrize("header", [{}, {1: -7}, {1: -36}])
    def test_another_algorithm(self, header: dict[int, int]) -> None:
        payload = endless(AUTHORITY.members(user_data=USER_DATA))
        with pytest.raises(SignatureInvalid, match="algorithm"):
            verify(wrapped(sign1(payload, AUTHORITY.keys[-1], header=header)))

    def test_a_foreign_document_is_called_foreign_before_it_is_called_old(self) -> None:
        payload = endless(AUTHORITY.members(user_data=USER_DATA))
        with pytest.raises(SignatureInvalid):
            verify(wrapped(sign1(payload, STRANGER.keys[-1])), now=NOW + timedelta(days=1))

    def test_every_bit_counts(self) -> None:
        document = AUTHORITY.document(user_data=USER_DATA)
        verifier = NitroVerifier(NitroSettings(), extra_anchors=(AUTHORITY.root,))
        for index in range(0, len(document), 3):
            changed = document[:index] + bytes([document[index] ^ (1 << index % 8)]) + document[index + 1 :]
            with pytest.raises(TouchstoneError):
                verifier.verify(wrapped(changed), BOUND, None, NOW)


class TestBinding:
    """Abuse case 14: every byte of user_data, and no other length."""

    @pytest.mark.parametrize(
        "user_data",
        [
            ABSENT,
            None,
            b"",
            bytes(64),
            USER_DATA[:32],
            USER_DATA[:63],
            USER_DATA + b"\0",
            USER_DATA[:-1] + b"x",
        ],
    )
    def test_other_user_data(self, user_data: object) -> None:
        with pytest.raises(ReportDataMismatch):
            verify(AUTHORITY.evidence(user_data=user_data))

    def test_the_binding_is_not_looked_for_elsewhere(self) -> None:
        with pytest.raises(ReportDataMismatch):
            verify(AUTHORITY.evidence(user_data=None, nonce=USER_DATA, public_key=USER_DATA))

    @pytest.mark.parametrize("wanted", [b"", USER_DATA[:63], USER_DATA + b"\0"])
    def test_an_expectation_of_another_length_is_refused(self, wanted: bytes) -> None:
        with pytest.raises(Malformed, match="not 64"):
            verify(expected=ReportDataBinding(wanted))

    def test_nothing_expected_affirms_nobody(self) -> None:
        verified = verify(AUTHORITY.evidence(user_data=None), expected=Unbound())
        assert (verified.bound, verified.floors) == ("unbound", {"instance-identity": 97})
        assert verified.claims["report_data"] == ""

    def test_a_session_is_bound_to_its_audience(self) -> None:
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}
        session = SessionBinding(nonce=bytes(32), tee_pubkey=jwk, audience="us")
        with pytest.raises(ReportDataMismatch) as caught:
            verify(expected=session)
        wanted = bytes.fromhex(caught.value.checks[-1].expected)
        evidence = AUTHORITY.evidence(user_data=wanted)
        assert verify(evidence, expected=session).tee_pubkey == jwk
        with pytest.raises(ReportDataMismatch):
            verify(evidence, expected=SessionBinding(nonce=bytes(32), tee_pubkey=jwk, audience="them"))


class TestInitData:
    """Abuse case 30: a document binds none, so that none is claimed."""

    def test_it_is_left_out_with_a_floor(self) -> None:
        verified = verify(init_data=InitDataClaim(bytes(32), b"init"))
        assert (verified.init_data, verified.floors) == ("unsupported", {"configuration": 36})
        assert "init_data" not in verified.claims
        assert [check.name for check in verified.checks if check.verdict == "warning"] == [
            "nitro.init_data"
        ]

    def test_a_sender_that_says_it_is_bound_is_refused(self) -> None:
        with pytest.raises(InitDataMismatch):
            verify(init_data=InitDataClaim(bytes(32), b"init", fitted=True))


class TestDebug:
    """Abuse case 12: an enclave in debug mode sets floors that no policy can lift."""

    @pytest.mark.parametrize("index", [0, 1, 2])
    @pytest.mark.parametrize("value", [bytes(48), None])
    def test_a_launch_register_that_is_zero_or_absent(self, index: int, value: bytes | None) -> None:
        pcrs = {number: register(number) for number in range(16)} | {index: value}
        pcrs = {number: kept for number, kept in pcrs.items() if kept is not None}
        verified = verify(AUTHORITY.evidence(user_data=USER_DATA, pcrs=pcrs))
        assert verified.floors == {"configuration": 96, "executables": 96, "runtime-opaque": 96}
        assert [(c.name, c.code) for c in verified.checks if c.verdict == "fail"] == [
            ("nitro.debug", "evidence.debug")
        ]
        assert verified.claims["nitro"]["debug"] is verified.claims["common"]["debug"] is True

    def test_debug_is_worse_than_init_data_that_is_not_bound(self) -> None:
        pcrs = dict.fromkeys(range(16), bytes(48))
        evidence = AUTHORITY.evidence(user_data=USER_DATA, pcrs=pcrs)
        verified = verify(evidence, init_data=InitDataClaim(bytes(32), b"init"))
        assert verified.floors["configuration"] == 96


class TestAge:
    @pytest.mark.parametrize(
        ("minutes", "settings", "ok"),
        [
            (0, {}, True),
            (10, {}, True),
            (11, {}, False),
            (110, {"max_age": None}, True),
            (11, {"max_age": timedelta(minutes=11)}, True),
            (-1, {}, True),
            (-2, {}, False),
            (-2, {"max_ahead": timedelta(minutes=2)}, True),
            (-2, {"max_age": None}, False),
        ],
    )
    def test_a_document_is_neither_old_nor_of_the_future(
        self, minutes: int, settings: dict[str, Any], ok: bool
    ) -> None:
        verified = verify(now=NOW + timedelta(minutes=minutes), **settings)
        assert failed(verified) == ([] if ok else ["nitro.timestamp"])
        assert verified.floors == ({} if ok else {"instance-identity": 97})

    def test_settings_that_no_document_could_meet(self) -> None:
        for settings in ({"max_age": timedelta(0)}, {"max_ahead": timedelta(seconds=-1)}):
            with pytest.raises(InvalidSetting):
                NitroSettings(**settings)


def test_members_that_are_not_read_are_named() -> None:
    verified = verify(AUTHORITY.evidence(user_data=USER_DATA, more=1))
    assert verified.claims["nitro"]["unknown_members"] == ["more"]
    assert [check.observed for check in verified.checks if check.verdict == "warning"] == [["more"]]


def test_documents_of_another_kind_or_size() -> None:
    verifier = NitroVerifier(NitroSettings())
    assert verifier.tee == "nitro"
    for evidence, error in (
        (SampleEvidence(svn="1"), Malformed),
        (NitroEvidence(document="=="), Malformed),
        (NitroEvidence(document=""), Malformed),
        (NitroEvidence(document="A" * 100_000), TooLarge),
        (wrapped(cbor.encode([b"", {}, b"", b""])), Malformed),
    ):
        with pytest.raises(error):
            verifier.verify(evidence, BOUND, None, NOW)
