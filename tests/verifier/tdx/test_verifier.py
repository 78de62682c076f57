"""The TDX verifier: binding, attributes, service TDs, event logs, forms, settings, policies."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from common.encoding import b64_encode, b64url_encode
from common.errors import InvalidSetting, Malformed, TooLarge, TouchstoneError
from policy import shipped
from testkit.intel_platform import IntelPlatform
from tests.verifier.intel.helpers import BOUND, REPORT_DATA, failed, verify_td
from verifier.errors import (
    CrlMissing,
    EventLogMismatch,
    InitDataMismatch,
    ReportDataMismatch,
    UnsupportedEvidence,
)
from verifier.intel.endorsements import FixedEndorsements
from verifier.model import InitDataClaim, ReportDataBinding, RuntimeDataBinding, Unbound
from verifier.tdx.evidence import TdxEvidence
from verifier.tdx.section import TdxSection
from verifier.tdx.settings import TdxSettings
from verifier.tdx.tee import TEE
from verifier.tdx.verifier import TdxVerifier
from verifier.tee import Inspection, Surroundings
from wire.evidence import SampleEvidence

_SEPT = 1 << 28
_SERVICE = b"\x07" * 48


def _td(platform: IntelPlatform, **fields: Any) -> bytes:
    return platform.td_quote(version=5, **fields)


@pytest.mark.parametrize("kind", [(4, 2), (5, 2), (5, 3)])
def test_a_good_td(platform: IntelPlatform, kind: tuple[int, int]) -> None:
    verified = verify_td(platform, platform.td_quote(version=kind[0], body_type=kind[1]))
    assert (failed(verified), verified.floors) == ([], {})
    assert (verified.tee, verified.bound, verified.init_data) == ("tdx", "report-data", "absent")
    claims = verified.claims["tdx"]
    assert claims["tcb_status"] == "UpToDate"
    assert claims["quote"]["header"]["tee_type"] == "81000000"
    assert claims["quote"]["body"]["mr_td"] == "22" * 48
    assert ("type" in claims["quote"]) == (kind[0] == 5)
    assert ("mr_servicetd" in claims["quote"]["body"]) == (kind == (5, 3))
    assert claims["td_attributes"]["septve_disable"]
    assert claims["collateral_expiration_status"] == "0"
    assert verified.claims["common"]["registers"] == {
        "0": "30" * 48, "1": "31" * 48, "2": "32" * 48, "3": "00" * 48,
    }  # fmt: skip
    assert verified.not_after == platform.now + timedelta(days=29)
    assert len(verified.endorsements) == len(set(verified.endorsements))


def test_report_data(platform: IntelPlatform) -> None:
    """Abuse case 14: shorter, longer, zero, and a tail that differs."""
    for wrong in (b"", bytes(63), REPORT_DATA + b"\0", bytes(64)):
        with pytest.raises(Malformed):
            verify_td(platform, expected=ReportDataBinding(wrong))
    for wrong in (REPORT_DATA[:63] + b"\0", REPORT_DATA[:32] + bytes(32), b"\xff" * 64):
        with pytest.raises(ReportDataMismatch):
            verify_td(platform, expected=ReportDataBinding(wrong))
    zero = platform.td_quote(report_data=bytes(64))
    with pytest.raises(ReportDataMismatch):
        verify_td(platform, zero)


def test_without_an_expectation_no_instance_is_affirmed(platform: IntelPlatform) -> None:
    verified = verify_td(platform, expected=Unbound())
    assert (verified.bound, verified.floors) == ("unbound", {"instance-identity": 97})


def test_runtime_data_is_fitted(platform: IntelPlatform) -> None:
    quote = platform.td_quote(report_data=b"\x09" * 48 + bytes(16))
    assert verify_td(platform, quote, expected=RuntimeDataBinding(b"\x09" * 48)).bound == "report-data"


def test_init_data_is_mrconfigid(platform: IntelPlatform) -> None:
    bound = platform.td_quote(mr_config_id=b"\x09" * 32 + bytes(16))
    claim = InitDataClaim(digest=b"\x09" * 32, data=b"", fitted=True)
    verified = verify_td(platform, bound, init_data=claim)
    assert (verified.init_data, verified.claims["init_data"]) == ("bound", "09" * 32 + "00" * 16)
    for wrong in (
        InitDataClaim(digest=b"\x08" * 32, data=b"", fitted=True),
        InitDataClaim(digest=b"\x09" * 32, data=b""),
        InitDataClaim(digest=b"\x09" * 64, data=b""),
    ):
        with pytest.raises(InitDataMismatch):
            verify_td(platform, bound, init_data=wrong)


def test_debug_is_a_floor_that_nothing_lifts(platform: IntelPlatform) -> None:
    """Abuse case 12: with a golden measurement too."""
    verified = verify_td(platform, platform.td_quote(td_attributes=_SEPT | 1))
    assert failed(verified) == ["tdx.attributes.debug"]
    assert verified.floors == {"configuration": 96, "runtime-opaque": 96}
    assert verified.claims["common"]["debug"]
    with pytest.raises(InvalidSetting):
        TdxSettings(attributes_permitted=1)
    with pytest.raises(InvalidSetting):
        TdxSettings(attributes_required=1 << 4)


@pytest.mark.parametrize(
    ("fields", "name", "settings"),
    [
        ({"td_attributes": _SEPT | 1 << 5}, "tdx.attributes.untrusted", None),
        ({"td_attributes": 0}, "tdx.attributes.sept_ve_disable", {"permit_septve": True}),
        ({"td_attributes": _SEPT | 1 << 63}, "tdx.attributes.perfmon", {"permit_perfmon": True}),
        (
            {"td_attributes": _SEPT | 1 << 40}, "tdx.attributes.unknown", {"attributes_permitted": 1 << 40},
        ),
        ({"td_attributes": _SEPT | 1 << 29}, "tdx.attributes.migratable", {"permit_migration": True}),
        ({"mr_servicetd": _SERVICE}, "tdx.mr_servicetd", {"service_tds": frozenset({_SERVICE})}),
        ({"mr_owner": _SERVICE}, "tdx.mr_owner", {"mr_owners": frozenset({_SERVICE})}),
        (
            {"mr_owner_config": _SERVICE}, "tdx.mr_owner_config",
            {"mr_owner_configs": frozenset({_SERVICE})},
        ),
        ({"xfam": 0x602E6}, "tdx.xfam", None),
        ({"xfam": 0x602E7 | 1 << 20}, "tdx.xfam", {"xfam_permitted": 1 << 20}),
    ],
)  # fmt: skip
def test_what_is_denied_unless_it_is_permitted(
    platform: IntelPlatform, fields: dict[str, Any], name: str, settings: dict[str, Any] | None
) -> None:
    denied = verify_td(platform, _td(platform, **fields))
    assert failed(denied) == [name]
    assert denied.floors["configuration"] == 96
    if settings is not None:
        assert failed(verify_td(platform, _td(platform, **fields), **settings)) == []


def test_a_migratable_td_of_a_named_service_td(platform: IntelPlatform) -> None:
    """Abuse case 13: of an unknown one it is denied twice."""
    fields = {"td_attributes": _SEPT | 1 << 29, "mr_servicetd": _SERVICE}
    unknown = verify_td(platform, _td(platform, **fields))
    assert failed(unknown) == ["tdx.mr_servicetd", "tdx.attributes.migratable"]
    named = verify_td(platform, _td(platform, **fields), service_tds=frozenset({_SERVICE}))
    assert failed(named) == []
    assert named.claims["common"]["migratable"]


@pytest.mark.parametrize("bit", [16, 27, 30, 31, 62])
def test_attributes_with_a_meaning_are_for_policies(platform: IntelPlatform, bit: int) -> None:
    assert failed(verify_td(platform, _td(platform, td_attributes=_SEPT | 1 << bit))) == []


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"attributes_required": 1 << 30}, "tdx.attributes.bits"),
        ({"attributes_forbidden": _SEPT}, "tdx.attributes.bits"),
        ({"xfam_required": 1 << 18}, "tdx.xfam.bits"),
        ({"xfam_forbidden": 1 << 17}, "tdx.xfam.bits"),
        ({"mr_seams": frozenset({b"\x01" * 48})}, "tdx.mr_seam"),
    ],
)
def test_what_settings_demand(platform: IntelPlatform, settings: dict[str, Any], name: str) -> None:
    if "xfam_required" in settings:
        settings = {"xfam_required": 1 << 4}
    assert failed(verify_td(platform, **settings)) == [name]


def test_a_listed_module_passes(platform: IntelPlatform) -> None:
    assert failed(verify_td(platform, mr_seams=frozenset({b"\x11" * 48}))) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"versions": frozenset()},
        {"versions": frozenset({3})},
        {"mr_seams": frozenset({b"\x01"})},
        {"xfam_required": 1, "xfam_forbidden": 1},
        {"permit_septve": True, "attributes_required": _SEPT},
        {"xfam_permitted": 1 << 64},
    ],
)
def test_settings_that_contradict_themselves(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        TdxSettings(**wrong)


def test_an_excluded_version_and_an_enclaves_quote(platform: IntelPlatform) -> None:
    with pytest.raises(UnsupportedEvidence):
        verify_td(platform, versions=frozenset({5}))
    with pytest.raises(UnsupportedEvidence):
        verify_td(platform, platform.sgx_quote(version=4))
    verifier = TdxVerifier(TdxSettings(), platform.endorsements())
    with pytest.raises(Malformed):
        verifier.verify(SampleEvidence(svn="1"), BOUND, None, platform.now)


def test_texts_that_are_too_long_or_no_base64(platform: IntelPlatform) -> None:
    verifier = TdxVerifier(TdxSettings(), platform.endorsements())
    for text, error in (("A" * 100_000, TooLarge), ("=", Malformed), ("é", Malformed)):
        with pytest.raises(error):
            verifier.verify(TdxEvidence(quote=text), BOUND, None, platform.now)


def test_a_log_that_does_not_lead_to_the_registers(platform: IntelPlatform) -> None:
    verifier = TdxVerifier(TdxSettings(), platform.endorsements(), extra_anchors=(platform.root,))
    quote = b64url_encode(platform.td_quote())
    for log, ima in ((b"\0" * 64, None), (b"", None), (None, b"")):
        evidence = TdxEvidence(
            quote=quote,
            event_log=None if log is None else b64url_encode(log),
            ima_log=None if ima is None else b64url_encode(ima),
        )
        with pytest.raises((Malformed, UnsupportedEvidence, EventLogMismatch)):
            verifier.verify(evidence, BOUND, None, platform.now)


def test_collateral_may_come_with_the_evidence(platform: IntelPlatform) -> None:
    empty = TdxVerifier(TdxSettings(), FixedEndorsements(), extra_anchors=(platform.root,))
    quote = b64url_encode(platform.td_quote())
    good = TdxEvidence(quote=quote, collateral=b64url_encode(platform.collateral_json()))
    assert failed(empty.verify(good, BOUND, None, platform.now)) == []
    lacking = json.loads(platform.collateral_json())
    lacking["root_ca_crl"] = ""
    evidence = TdxEvidence(quote=quote, collateral=b64url_encode(json.dumps(lacking).encode()))
    with pytest.raises(CrlMissing):
        empty.verify(evidence, BOUND, None, platform.now)


def test_cocos_form(platform: IntelPlatform) -> None:
    assert TEE.coco is not None
    quote = platform.td_quote()
    evidence = TEE.coco.evidence_of({"quote": b64_encode(quote), "cc_eventlog": b64_encode(b"log")})
    assert evidence == TdxEvidence(quote=b64url_encode(quote), event_log=b64url_encode(b"log"))
    assert TEE.coco.evidence_of({"cc_eventlog": None, "quote": ""}) == TdxEvidence(quote="")
    wrongs: tuple[Any, ...] = ({}, [], {"quote": 1}, {"quote": "=A"}, {"quote": "A" * 100_000})
    for wrong in wrongs:
        with pytest.raises(TouchstoneError):
            TEE.coco.evidence_of(wrong)
    claims = TEE.coco.claims_of(verify_td(platform))
    assert claims["init_data"] == "00" * 48


def test_files_on_a_command_line(platform: IntelPlatform, tmp_path: Path) -> None:
    quote = platform.td_quote()
    evidence = TEE.recognise(quote)
    assert isinstance(evidence, TdxEvidence)
    assert TEE.recognise(platform.sgx_quote()) is None
    assert TEE.recognise(platform.sgx_quote(version=5)) is None
    assert TEE.recognise(b"") is None
    assert TEE.contents(evidence)["body"]["mr_td"] == "22" * 48
    assert TEE.contents(TdxEvidence(quote="AAAA")) == {}
    inspection = Inspection(
        now=platform.now, anchors=(platform.root,), files={"endorsements": platform.collateral_json()}
    )
    verified = TEE.offline(evidence, inspection).verify(evidence, BOUND, None, platform.now)
    assert failed(verified) == []
    log = Inspection(
        now=platform.now, anchors=(platform.root,),
        files={"endorsements": platform.collateral_json(), "event-log": b"\0" * 80},
    )  # fmt: skip
    with pytest.raises(TouchstoneError):
        TEE.offline(evidence, log).verify(evidence, BOUND, None, platform.now)
    (tmp_path / "root.pem").write_bytes(platform.root_key.pem)
    section = TdxSection(extra_anchors=(tmp_path / "root.pem",), second_opinion=False)
    assert TEE.build(section, Surroundings(tmp_path)).tee == "tdx"
    assert list(TEE.insecure(section)) == [
        "[tdx] extra_anchors trusts test authorities as if they were Intel"
    ]
    assert list(TEE.insecure(TdxSection())) == []


def test_sections_become_settings() -> None:
    section = TdxSection(
        mr_seams=("11" * 48,), service_tds=("22" * 48,), platforms=("33" * 16,), minimum_evaluation=17
    )
    from verifier.tdx.section import tdx_settings

    settings = tdx_settings(section)
    assert settings.mr_seams == {b"\x11" * 48}
    assert settings.platform.minimum_evaluation == 17
    assert settings.platform.platforms == {b"\x33" * 16}
    with pytest.raises(InvalidSetting):
        tdx_settings(TdxSection(platforms=("zz",)))


def test_the_default_policy_names_what_the_claims_have() -> None:
    text = (Path(shipped.__file__).parent / "appraisal" / "tdx.rego").read_text("utf-8")
    for name in ("mr_td", "rtmr_1", "rtmr_2"):
        assert f"input.reference.{name}" in text
        assert TEE.reference_names[name] == f"quote.body.{name}"
