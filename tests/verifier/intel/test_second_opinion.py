"""dcap-qvl beside ours: agreement on what verifies, and what becomes of a disagreement."""

from __future__ import annotations

import pytest

from common.checks import Checks
from common.encoding import b64url_encode
from testkit.intel_platform import IntelPlatform
from verifier.errors import SecondOpinionDiffers
from verifier.findings import Findings
from verifier.intel.quote import parse_quote
from verifier.intel.second_opinion import Answer, DcapQvl, Opinion, sorted_out
from verifier.intel.settings import PlatformSettings
from verifier.intel.verify import AuthenticQuote, QuoteChecker
from verifier.tdx.evidence import TdxEvidence
from verifier.tdx.settings import TdxSettings
from verifier.tdx.verifier import TdxVerifier

from .helpers import BOUND, failed, verify_enclave, verify_td

pytest.importorskip("dcap_qvl")
_SECOND = {"second_opinion": True}


class _Refuses:
    def of(self, *given: object) -> Answer:
        del given
        return Answer(Opinion.REFUSED, "no")


def test_both_confirm_what_is_good(platform: IntelPlatform) -> None:
    for quote in (
        platform.td_quote(),
        platform.td_quote(version=5),
        platform.td_quote(version=5, body_type=2),
    ):
        verified = verify_td(platform, quote, changes=_SECOND)
        assert failed(verified) == []
        assert "intel.second_opinion" in [check.name for check in verified.checks]
    assert failed(verify_enclave(platform, changes=_SECOND)) == []


def test_its_own_policies_are_not_cryptography(platform: IntelPlatform) -> None:
    """Debug, SEPT_VE_DISABLE, migration, profiling: it refuses all of them, after the signatures."""
    for attributes in (
        1 | 1 << 28,
        0,
        1 << 28 | 1 << 29,
        1 << 28 | 1 << 5,
        1 << 28 | 1 << 63,
        1 << 28 | 1 << 27,
    ):
        verified = verify_td(platform, platform.td_quote(td_attributes=attributes), changes=_SECOND)
        records = {check.name: check.verdict for check in verified.checks}
        assert records["intel.second_opinion"] == "pass"
    service = verify_td(platform, platform.td_quote(version=5, mr_servicetd=b"\x01" * 48), changes=_SECOND)
    assert failed(service) == ["tdx.mr_servicetd"]


def test_of_forms_that_it_does_not_take_it_has_none(platform: IntelPlatform) -> None:
    verified = verify_enclave(platform, platform.sgx_quote(version=4), changes=_SECOND)
    (record,) = (check for check in verified.checks if check.name == "intel.second_opinion")
    assert record.verdict == "not-evaluated"


def _authentic(platform: IntelPlatform) -> AuthenticQuote:
    checker = QuoteChecker(
        "tdx",
        frozenset({4, 5}),
        PlatformSettings(),
        platform.endorsements(),
        extra_anchors=(platform.root,),
    )
    return checker.authenticate(platform.td_quote(), platform.now, Checks())


def test_broken_signatures_are_refused_before_any_of_its_policies(platform: IntelPlatform) -> None:
    """A quote that breaks a policy and has a broken signature too is refused for the signature."""
    authentic = _authentic(platform)
    for attributes in (1 | 1 << 28, 0, 1 << 28 | 1 << 29):
        quote = bytearray(platform.td_quote(td_attributes=attributes))
        good = DcapQvl().of(bytes(quote), authentic.collateral, authentic.qe.anchor, platform.now)
        assert good.opinion is Opinion.CONFIRMED
        signature = len(parse_quote(bytes(quote)).signed) + 4
        for offset in (200, signature + 10, signature + 128 + 6 + 400):
            changed = bytearray(quote)
            changed[offset] ^= 1
            answer = DcapQvl().of(bytes(changed), authentic.collateral, authentic.qe.anchor, platform.now)
            assert answer.opinion is Opinion.REFUSED, answer


def test_a_foreign_root_is_refused(platform: IntelPlatform, stranger: IntelPlatform) -> None:
    collateral, anchor = _authentic(platform).collateral, _authentic(stranger).qe.anchor
    assert DcapQvl().of(platform.td_quote(), collateral, anchor, platform.now).opinion is Opinion.REFUSED


def test_what_it_refuses_is_refused(platform: IntelPlatform) -> None:
    verifier = TdxVerifier(
        TdxSettings(), platform.endorsements(), extra_anchors=(platform.root,), second_opinion=_Refuses()
    )
    evidence = TdxEvidence(quote=b64url_encode(platform.td_quote()))
    with pytest.raises(SecondOpinionDiffers):
        verifier.verify(evidence, BOUND, None, platform.now)


def test_words_that_are_not_known_are_a_refusal() -> None:
    assert sorted_out("something new").opinion is Opinion.REFUSED
    assert sorted_out("Verification failed: Debug mode is enabled").opinion is Opinion.CONFIRMED
    assert sorted_out("Unsupported body type").opinion is Opinion.NONE


def test_findings_keep_the_worst_floor() -> None:
    findings = Findings(Checks())
    for value in (32, 96, 33):
        findings.expect("x", ok=False, floors={"hardware": value}, expected=1, observed=2, source="s")
    assert findings.floors == {"hardware": 96}
