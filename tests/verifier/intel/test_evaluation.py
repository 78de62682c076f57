"""Levels and convergence. The documented wrong answers of other verifiers are regression tests here."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testkit.intel_platform import COMPONENTS, IntelPlatform
from verifier.errors import CollateralMismatch, TcbNotSupported
from verifier.intel.status import GIVEN, OUT_OF_DATE, TcbStatus, converge, with_relaunch

from .helpers import ALL, failed, verify_enclave, verify_td

S = TcbStatus


def _claims(platform: IntelPlatform, quote: bytes | None = None, **info: Any) -> dict[str, Any]:
    document = platform.signed("tcbInfo", platform.tcb_info(**info))
    verified = verify_td(
        platform,
        quote,
        endorsements=platform.endorsements(tcb_info=document),
        changes={"tcb_statuses": ALL},
    )
    claims: dict[str, Any] = verified.claims["tdx"]
    return claims


@pytest.mark.parametrize(
    ("platform_status", "other", "whole"),
    [
        (S.UP_TO_DATE, S.UP_TO_DATE, S.UP_TO_DATE),
        (S.UP_TO_DATE, S.OUT_OF_DATE, S.OUT_OF_DATE),
        (S.SW_HARDENING_NEEDED, S.OUT_OF_DATE, S.OUT_OF_DATE),
        (S.CONFIGURATION_NEEDED, S.OUT_OF_DATE, S.OUT_OF_DATE_CONFIGURATION_NEEDED),
        (S.CONFIGURATION_AND_SW_HARDENING_NEEDED, S.OUT_OF_DATE, S.OUT_OF_DATE_CONFIGURATION_NEEDED),
        (S.OUT_OF_DATE, S.UP_TO_DATE, S.OUT_OF_DATE),
        (S.OUT_OF_DATE_CONFIGURATION_NEEDED, S.UP_TO_DATE, S.OUT_OF_DATE_CONFIGURATION_NEEDED),
        (S.CONFIGURATION_NEEDED, S.UP_TO_DATE, S.CONFIGURATION_NEEDED),
        (S.UP_TO_DATE, S.REVOKED, S.REVOKED),
        (S.REVOKED, S.UP_TO_DATE, S.REVOKED),
        (S.OUT_OF_DATE, S.REVOKED, S.REVOKED),
    ],
)
def test_the_table_of_intels_library(platform_status: S, other: S, whole: S) -> None:
    assert converge(platform_status, other) is whole
    assert converge(platform_status, S.UP_TO_DATE, other) is whole


@given(st.lists(st.sampled_from(sorted(GIVEN)), min_size=1, max_size=4))
def test_converging_knows_no_order_and_never_improves(statuses: list[S]) -> None:
    whole = converge(*statuses)
    assert converge(*reversed(statuses)) is whole
    assert converge(whole, *statuses) is whole
    if S.REVOKED in statuses:
        assert whole is S.REVOKED
    elif OUT_OF_DATE.intersection(statuses):
        assert whole in OUT_OF_DATE


def test_platform_out_of_date_with_a_module_up_to_date_is_out_of_date() -> None:
    """Abuse case 19: others return the module's status alone."""
    old = IntelPlatform(pck={"pcesvn": 5})
    verified = verify_td(old)
    claims = verified.claims["tdx"]
    assert (claims["platform_status"], claims["module_status"]) == ("OutOfDate", "UpToDate")
    assert claims["tcb_status"] == "OutOfDate"
    assert claims["advisory_ids"] == ["INTEL-SA-00106"]
    assert claims["tcb_shortfall"] == {"pcesvn": {"have": 5, "need": 11}}
    assert failed(verified) == ["intel.tcb.status"]
    assert verified.floors == {"hardware": 32}
    assert verified.claims["common"]["tcb_status"] == "out-of-date"


def test_a_module_out_of_date_makes_the_whole_out_of_date(platform: IntelPlatform) -> None:
    claims = _claims(platform, platform.td_quote(tee_tcb_svn=bytes((3, 1, 2, *bytes(13)))))
    assert (claims["platform_status"], claims["module_status"]) == ("UpToDate", "OutOfDate")
    assert claims["tcb_status"] == "OutOfDate"
    assert claims["tcb_date"] == "2023-08-09T00:00:00Z"
    assert claims["advisory_ids"] == ["INTEL-SA-00900"]
    assert claims["tcb_shortfall"] == {"tdx_module": {"have": 3, "need": 4}}


def test_a_quoting_enclave_out_of_date_makes_the_whole_out_of_date(platform: IntelPlatform) -> None:
    from verifier.intel.quote import parse_quote

    quote = platform.seal(parse_quote(platform.td_quote()).signed, "tdx", qe={"isv_svn": 3})
    claims = _claims(platform, quote)
    assert (claims["platform_status"], claims["qe_status"]) == ("UpToDate", "OutOfDate")
    assert claims["tcb_status"] == "OutOfDate"
    assert claims["tcb_date"] == "2019-01-01T00:00:00Z"
    assert "qe" in claims["tcb_shortfall"]
    with pytest.raises(TcbNotSupported):
        _claims(platform, platform.seal(parse_quote(platform.td_quote()).signed, "tdx", qe={"isv_svn": 1}))


def test_the_pceid_is_compared_too() -> None:
    """Others compare the FMSPC alone."""
    other = IntelPlatform(pck={"pceid": b"\x01\x00"})
    with pytest.raises(CollateralMismatch, match="PCEID"):
        verify_td(other)


def test_components_of_a_versioned_module_are_compared_from_the_third(platform: IntelPlatform) -> None:
    """Others compare all 16, and find no level for a newer line of modules with a smaller version."""
    newer = platform.td_quote(tee_tcb_svn=bytes((4, 1, 2, *bytes(13))))  # level has 5 at [0]
    assert _claims(platform, newer)["tcb_status"] == "UpToDate"
    base = platform.td_quote(tee_tcb_svn=bytes((4, 0, 2, *bytes(13))))
    assert _claims(platform, base)["platform_status"] == "OutOfDate"


def test_every_component_counts_by_itself() -> None:
    for place, svn in enumerate(COMPONENTS):
        if not svn:
            continue
        low = list(COMPONENTS)
        low[place] = svn - 1
        lower = IntelPlatform(
            pck={"components": tuple(c + 9 if i != place else c for i, c in enumerate(low))}
        )
        if place:
            with pytest.raises(TcbNotSupported):
                verify_td(lower)
        else:
            assert verify_td(lower).claims["tdx"]["tcb_status"] == "OutOfDate"


def test_tdx_components_below_every_level(platform: IntelPlatform) -> None:
    with pytest.raises(TcbNotSupported):
        verify_td(platform, platform.td_quote(tee_tcb_svn=bytes((5, 1, 0, *bytes(13)))))


def test_the_order_in_the_document_does_not_matter(platform: IntelPlatform) -> None:
    levels = platform.tcb_info()["tcbLevels"]
    assert _claims(platform, tcbLevels=levels[::-1])["tcb_status"] == "UpToDate"


def test_a_module_that_intel_does_not_name(platform: IntelPlatform) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {"tee_tcb_svn": bytes((5, 9, 2, *bytes(13)))},
        {"tee_tcb_svn": bytes((1, 1, 2, *bytes(13)))},
        {"mr_signer_seam": b"\x01" * 48},
        {"seam_attributes": b"\x01" + bytes(7)},
    )
    for change in changes:
        with pytest.raises(TcbNotSupported):
            verify_td(platform, platform.td_quote(**change))


def test_attributes_outside_the_mask_are_refused(platform: IntelPlatform) -> None:
    info = platform.tcb_info()
    info["tdxModuleIdentities"][0]["attributesMask"] = "00" * 8
    endorsements = platform.endorsements(tcb_info=platform.signed("tcbInfo", info))
    with pytest.raises(TcbNotSupported):
        verify_td(
            platform, platform.td_quote(seam_attributes=b"\x01" + bytes(7)), endorsements=endorsements
        )


def test_relaunch_is_advised_where_only_the_launch_was_old(platform: IntelPlatform) -> None:
    old, new = bytes((3, 1, 2, *bytes(13))), bytes((5, 1, 2, *bytes(13)))
    claims = _claims(platform, platform.td_quote(version=5, tee_tcb_svn=old, tee_tcb_svn2=new))
    assert claims["tcb_status"] == "TDRelaunchAdvised"
    assert claims["tcb_status_current"] == "UpToDate"
    assert claims["tcb_date"] == "2023-08-09T00:00:00Z"
    still_old = _claims(platform, platform.td_quote(version=5, tee_tcb_svn=old, tee_tcb_svn2=old))
    assert still_old["tcb_status"] == "OutOfDate"
    # What meets no level now gives no better status.
    unknown = platform.td_quote(version=5, tee_tcb_svn=old, tee_tcb_svn2=bytes((5, 9, 2, *bytes(13))))
    assert _claims(platform, unknown)["tcb_status"] == "OutOfDate"


def test_relaunch_advice_keeps_what_else_is_needed() -> None:
    advised, configuration = S.TD_RELAUNCH_ADVISED, S.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
    assert with_relaunch(S.OUT_OF_DATE, S.SW_HARDENING_NEEDED) is advised
    assert with_relaunch(S.OUT_OF_DATE, S.CONFIGURATION_NEEDED) is configuration
    assert with_relaunch(S.OUT_OF_DATE_CONFIGURATION_NEEDED, S.UP_TO_DATE) is configuration
    assert with_relaunch(S.OUT_OF_DATE, S.OUT_OF_DATE) is S.OUT_OF_DATE
    assert with_relaunch(S.OUT_OF_DATE, S.REVOKED) is S.OUT_OF_DATE
    assert with_relaunch(S.REVOKED, S.UP_TO_DATE) is S.REVOKED
    assert with_relaunch(S.UP_TO_DATE, S.OUT_OF_DATE) is S.UP_TO_DATE


def test_a_revoked_level_is_never_accepted(platform: IntelPlatform) -> None:
    levels = platform.tcb_info()["tcbLevels"]
    levels[0]["tcbStatus"] = "Revoked"
    document = platform.signed("tcbInfo", platform.tcb_info(tcbLevels=levels))
    verified = verify_td(
        platform, endorsements=platform.endorsements(tcb_info=document), changes={"tcb_statuses": ALL}
    )
    assert verified.floors == {"hardware": 96}


def test_accepted_statuses_and_rejected_advisories() -> None:
    old = IntelPlatform(pck={"pcesvn": 5})
    accepted = verify_td(old, changes={"tcb_statuses": ALL})
    assert (failed(accepted), accepted.floors) == ([], {})
    rejected = verify_td(
        old, changes={"tcb_statuses": ALL, "advisories_rejected": frozenset({"INTEL-SA-00106"})}
    )
    assert failed(rejected) == ["intel.tcb.advisories"]
    assert rejected.floors == {"hardware": 96}
    assert verify_enclave(old).claims["sgx"]["tcb_status"] == "OutOfDate"


def test_platforms_by_name(platform: IntelPlatform) -> None:
    ppid, instance = bytes(range(16)), bytes(range(16, 32))
    for name in (ppid, instance):
        denied = verify_td(platform, changes={"platforms_denied": frozenset({name})})
        assert failed(denied) == ["intel.platform.denied"]
        assert denied.floors == {"hardware": 96, "instance-identity": 96}
        assert failed(verify_td(platform, changes={"platforms": frozenset({name})})) == []
    other = verify_td(platform, changes={"platforms": frozenset({b"\xff" * 16})})
    assert failed(other) == ["intel.platform"]
    assert other.floors == {"instance-identity": 97}
    assert other.identity == f"intel-ppid:{ppid.hex()}"
