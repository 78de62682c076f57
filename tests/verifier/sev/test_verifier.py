"""Reports of a test platform, and everything that can be wrong with them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.checks import Verdict
from common.encoding import b64url_encode
from common.errors import InvalidSetting, Malformed, TooLarge, TouchstoneError
from testkit.sev_platform import OCA, POLICY, SevAuthority, SevPlatform
from tests.verifier.sev.conftest import DIGEST, EXPECTED, NONCE, evidence_of, verifier_of
from verifier.errors import (
    CertificateInvalid,
    PolicyViolation,
    ReportDataMismatch,
    SignatureInvalid,
    UnsupportedEvidence,
)
from verifier.model import (
    InitDataClaim,
    ReportDataBinding,
    RuntimeDataBinding,
    SessionBinding,
    Unbound,
    VerifiedEvidence,
)
from verifier.sev.certificate import parse_sev_certificate
from verifier.sev.products import Product
from verifier.sev.report import POLICY_ES, POLICY_NODBG, POLICY_NOKS, POLICY_NOSEND, parse_report
from verifier.sev.settings import SevSettings
from verifier.sev.tee import TEE
from verifier.sev.verifier import SevVerifier
from verifier.tee import Inspection, Surroundings
from wire.evidence import SampleEvidence

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LEGACY = {"instance-identity": 0, "hardware": 32}


def verify(
    platform: SevPlatform, report: bytes | None = None, *, expected: Any = EXPECTED, **changes: Any
) -> VerifiedEvidence:
    init_data = changes.pop("init_data", None)
    evidence = changes.pop("evidence", None) or evidence_of(platform, report)
    return verifier_of(platform.authority, **changes).verify(evidence, expected, init_data, NOW)


def test_a_report_holds_and_is_never_more_than_legacy(platform: SevPlatform) -> None:
    verified = verify(platform)
    claims = verified.claims["sev"]
    assert (claims["product"], claims["launch_digest"], claims["policy"]) == ("Rome", DIGEST.hex(), POLICY)
    assert [claims[name] for name in claims if name.startswith("policy_") and "api" not in name] == [
        False, False, True, False, False, False,
    ]  # fmt: skip
    assert (claims["pek_api_major"], claims["pek_api_minor"]) == (0, 22)
    assert verified.claims["report_data"] == claims["nonce"] == NONCE.hex()
    assert verified.claims["common"]["debug"] is False
    assert verified.floors == LEGACY
    assert (verified.bound, verified.tee_pubkey, verified.not_after) == ("report-data", None, None)
    assert len(verified.endorsements) == 6
    assert all(check.verdict is not Verdict.FAIL for check in verified.checks)


def test_amds_own_roots_are_the_default(platform: SevPlatform) -> None:
    with pytest.raises(CertificateInvalid):
        SevVerifier(SevSettings()).verify(evidence_of(platform), EXPECTED, None, NOW)


def test_the_product_decides_which_root(platform: SevPlatform) -> None:
    other = msgspec.structs.replace(evidence_of(platform), product=Product.NAPLES)
    with pytest.raises(CertificateInvalid):
        verify(platform, evidence=other)
    with pytest.raises(PolicyViolation):
        verify(platform, products=frozenset({Product.MILAN}))


@pytest.mark.parametrize("position", [0, 15, 16, 47, 48, 51, 0x40, 0xCF])
def test_every_byte_of_a_report_is_signed(platform: SevPlatform, position: int) -> None:
    report = bytearray(platform.report(DIGEST, nonce=NONCE))
    report[position] ^= 1
    with pytest.raises((SignatureInvalid, Malformed)):
        verify(platform, bytes(report))


def test_a_report_of_another_platform(platform: SevPlatform, authority: SevAuthority) -> None:
    with pytest.raises(SignatureInvalid):
        verify(platform, SevPlatform(authority).report(DIGEST, nonce=NONCE))


@pytest.mark.parametrize(
    ("position", "value", "error"),
    [(0x34, 0x01, UnsupportedEvidence), (0x38, 3, UnsupportedEvidence), (0x3C, 1, Malformed)],
)
def test_fields_outside_the_signature(
    platform: SevPlatform, position: int, value: int, error: type[TouchstoneError]
) -> None:
    report = bytearray(platform.report(DIGEST))
    report[position] = value
    with pytest.raises(error):
        parse_report(bytes(report))


def test_an_algorithm_that_is_not_the_keys(platform: SevPlatform) -> None:
    report = bytearray(platform.report(DIGEST, nonce=NONCE))
    report[0x39] = 1  # ECDSA with SHA-384
    with pytest.raises(SignatureInvalid):
        verify(platform, bytes(report))


def test_a_report_by_a_key_of_another_usage(platform: SevPlatform) -> None:
    with pytest.raises(UnsupportedEvidence):
        verify(platform, platform.report(DIGEST, usage=OCA))


def test_lengths(platform: SevPlatform) -> None:
    report = platform.report(DIGEST)
    for size in range(len(report)):
        with pytest.raises(Malformed):
            parse_report(report[:size])
    with pytest.raises(Malformed):
        parse_report(report + b"\0")
    with pytest.raises(TooLarge):
        verify(platform, evidence=msgspec.structs.replace(evidence_of(platform), cek="A" * 5000))


def test_the_nonce_is_all_of_it(platform: SevPlatform) -> None:
    with pytest.raises(ReportDataMismatch):
        verify(platform, expected=ReportDataBinding(bytes(16)))
    with pytest.raises(Malformed):
        verify(platform, expected=ReportDataBinding(NONCE + bytes(48)))
    assert verify(platform, expected=RuntimeDataBinding(data=NONCE)).bound == "report-data"


@pytest.mark.parametrize(
    "expected",
    [
        SessionBinding(nonce=bytes(32), tee_pubkey={"kty": "EC"}, audience="a"),
        RuntimeDataBinding(data=NONCE, nonce="n", tee_pubkey={"kty": "EC"}),
    ],
)
def test_no_key_of_a_guest_is_ever_bound(platform: SevPlatform, expected: Any) -> None:
    with pytest.raises(UnsupportedEvidence, match="bound to no key"):
        verify(platform, expected=expected)


def test_without_an_expectation(platform: SevPlatform) -> None:
    verified = verify(platform, expected=Unbound())
    assert (verified.bound, verified.floors["instance-identity"]) == ("unbound", 97)


def test_init_data_is_not_bound(platform: SevPlatform) -> None:
    """Abuse case 30."""
    verified = verify(platform, init_data=InitDataClaim(digest=DIGEST, data=b""))
    assert (verified.init_data, verified.floors["configuration"]) == ("unsupported", 36)
    assert "init_data" not in verified.claims


def test_debug_is_a_floor_that_no_setting_lifts(platform: SevPlatform) -> None:
    report = platform.report(DIGEST, POLICY & ~POLICY_NODBG, NONCE)
    verified = verify(platform, report, policy_required=0)
    assert verified.floors == LEGACY | {"configuration": 96, "runtime-opaque": 96}
    assert verified.claims["common"]["debug"] is True
    assert [check.code for check in verified.checks if check.verdict is Verdict.FAIL] == ["evidence.debug"]


@pytest.mark.parametrize("bit", [POLICY_NOKS, POLICY_ES, POLICY_NOSEND])
def test_what_a_policy_must_demand(platform: SevPlatform, bit: int) -> None:
    report = platform.report(DIGEST, POLICY & ~bit, NONCE)
    assert verify(platform, report).floors == LEGACY | {"configuration": 96}
    assert verify(platform, report, policy_required=POLICY & ~bit).floors == LEGACY


def test_reserved_bits_and_the_lowest_api(platform: SevPlatform) -> None:
    assert verify(platform, platform.report(DIGEST, POLICY | 1 << 7, NONCE)).floors["configuration"] == 96
    report = platform.report(DIGEST, POLICY | 22 << 24 | 1 << 16, NONCE)
    assert verify(platform, report, minimum_api=(1, 22)).floors == LEGACY
    assert verify(platform, report, minimum_api=(1, 23)).floors == LEGACY | {"configuration": 96}


def test_owners_and_chips(platform: SevPlatform) -> None:
    owner = parse_sev_certificate(platform.oca).key_digest
    chip = parse_sev_certificate(platform.cek).key_digest
    known = verify(platform, owners=frozenset({owner}), chips=frozenset({chip}))
    assert known.floors == LEGACY
    for changes in ({"owners": frozenset({chip})}, {"chips": frozenset({owner})}):
        assert verify(platform, **changes).floors == LEGACY | {"instance-identity": 97}


def test_the_pdh_is_verified_where_it_is_sent(platform: SevPlatform, authority: SevAuthority) -> None:
    assert verify(platform, evidence=evidence_of(platform, pdh=None)).tee == "sev"
    with pytest.raises(CertificateInvalid):
        verify(platform, evidence=evidence_of(platform, pdh=SevPlatform(authority).pdh))


def test_evidence_of_another_tee(platform: SevPlatform) -> None:
    with pytest.raises(Malformed):
        verify(platform, evidence=SampleEvidence("1"))


def test_settings_that_cannot_be() -> None:
    with pytest.raises(InvalidSetting):
        SevSettings(policy_required=1 << 6)


class TestRecord:
    def test_a_configured_verifier(self, platform: SevPlatform, tmp_path: Any) -> None:
        surroundings = Surroundings(collateral=tmp_path)
        section = TEE.section(enabled=True, owners=("00" * 32,))
        with pytest.raises(CertificateInvalid):
            TEE.build(section, surroundings).verify(evidence_of(platform), EXPECTED, None, NOW)
        with pytest.raises(InvalidSetting):
            TEE.build(TEE.section(chips=("xy",)), surroundings)
        assert not list(TEE.insecure(section))
        assert list(TEE.insecure(TEE.section(enabled=True, policy_required=0)))

    def test_offline_rests_on_amds_roots(self, platform: SevPlatform) -> None:
        evidence = evidence_of(platform)
        with pytest.raises(CertificateInvalid):
            TEE.offline(evidence, Inspection(now=NOW)).verify(evidence, EXPECTED, None, NOW)

    def test_contents(self, platform: SevPlatform) -> None:
        assert TEE.contents(evidence_of(platform))["launch_digest"] == DIGEST.hex()
        assert TEE.contents(msgspec.structs.replace(evidence_of(platform), report="")) == {}


@given(data=st.binary(max_size=300), position=st.integers(0, 0xCF))
@settings(max_examples=200, deadline=None)
def test_any_report_gives_a_typed_error(platform: SevPlatform, data: bytes, position: int) -> None:
    whole = platform.report(DIGEST, nonce=NONCE)
    for candidate in (data, (whole[:position] + data + whole[position + len(data) :])[: len(whole)]):
        evidence = msgspec.structs.replace(evidence_of(platform), report=b64url_encode(candidate))
        try:
            verify(platform, evidence=evidence)
        except TouchstoneError:
            continue
        assert candidate == whole or candidate[0x34:] != whole[0x34:]
