"""Every setting: what it demands, which check records it, which floor its failure sets."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidSetting
from testkit.snp_firmware import SnpFirmware
from tests.verifier.snp.conftest import REPORT_DATA, failed, verify
from verifier.snp import SnpSettings
from verifier.snp.products import Product, SigningKey, Tcb
from verifier.snp.report import (
    PLATFORM_ALIAS_CHECK,
    PLATFORM_SMT,
    PLATFORM_TSME,
    POLICY_DEBUG,
    POLICY_SINGLE_SOCKET,
    POLICY_SMT,
)
from verifier.snp.settings import AMD_SB_3019, TcbFloor

VLEK = SigningKey.VLEK
_KEY = b"k" * 48
_AUTHOR = b"a" * 48
_SIGNED = {"id_key_digest": _KEY, "author_key_digest": _AUTHOR, "key_info": 1}
_OLD = Tcb(4, 0, 0x17, 219)
_CURRENT = Tcb(4, 0, 24, 219)

# (fields of the report, settings, failed checks, floors)
_CASES: list[tuple[dict[str, Any], dict[str, Any], list[str], dict[str, int]]] = [
    ({}, {}, [], {}),
    ({"vmpl": 1}, {}, ["snp.vmpl"], {"configuration": 96}),
    ({"vmpl": 1}, {"vmpls": frozenset({0, 1})}, [], {}),
    ({"policy": 0x20000}, {"policy_required": POLICY_SMT}, ["snp.policy.bits"], {"configuration": 96}),
    ({}, {"policy_forbidden": POLICY_SMT}, ["snp.policy.bits"], {"configuration": 96}),
    ({}, {"policy_required": POLICY_SMT, "policy_forbidden": POLICY_SINGLE_SOCKET}, [], {}),
    ({"policy": 0x30133}, {"minimum_abi": (1, 51)}, [], {}),
    ({"policy": 0x30133}, {"minimum_abi": (1, 52)}, ["snp.policy.abi"], {"configuration": 96}),
    ({"policy": 0x300FF}, {"minimum_abi": (1, 0)}, ["snp.policy.abi"], {"configuration": 96}),
    ({"platform_info": 1 << 6}, {}, ["snp.platform.unknown_bits"], {"hardware": 96}),
    ({"platform_info": 1 << 63}, {}, ["snp.platform.unknown_bits"], {"hardware": 96}),
    ({"platform_info": 1 << 6}, {"platform_unknown_permitted": 1 << 6}, [], {}),
    (
        {"platform_info": 0},
        {"platform_required": PLATFORM_ALIAS_CHECK},
        ["snp.platform.bits"],
        {"hardware": 96},
    ),
    ({}, {"platform_forbidden": PLATFORM_SMT}, ["snp.platform.bits"], {"hardware": 96}),
    ({}, {"platform_required": PLATFORM_ALIAS_CHECK, "platform_forbidden": PLATFORM_TSME}, [], {}),
    ({"committed_tcb": _OLD}, {}, ["snp.tcb.committed"], {"hardware": 96}),
    ({"committed_tcb": _OLD}, {"permit_provisional_firmware": True}, [], {}),
    (
        {"committed_tcb": Tcb(4, 0, 25, 219)},
        {"permit_provisional_firmware": True},
        ["snp.tcb.committed"],
        {"hardware": 96},
    ),
    ({"committed_version": (1, 55, 28)}, {}, ["snp.firmware.committed"], {"hardware": 96}),
    ({"committed_version": (1, 55, 28)}, {"permit_provisional_firmware": True}, [], {}),
    (
        {"committed_version": (1, 56, 0)},
        {"permit_provisional_firmware": True},
        ["snp.firmware.committed"],
        {"hardware": 96},
    ),
    ({}, {"minimum_firmware": (1, 55, 30)}, ["snp.firmware.minimum"], {"hardware": 96}),
    ({}, {"minimum_firmware": (1, 55, 29)}, [], {}),
    ({}, {"tcb_floors": AMD_SB_3019}, [], {}),
    ({"launch_tcb": _OLD}, {"tcb_floors": AMD_SB_3019}, ["snp.tcb.launch_floor"], {"hardware": 96}),
    (
        {"reported_tcb": _OLD, "current_tcb": _CURRENT},
        {"tcb_floors": AMD_SB_3019},
        ["snp.tcb.reported_floor"],
        {"hardware": 96},
    ),
    (
        {},
        {"tcb_floors": {Product.MILAN: TcbFloor(microcode=220)}},
        ["snp.tcb.reported_floor", "snp.tcb.launch_floor"],
        {"hardware": 96},
    ),
    ({}, {"tcb_floors": {Product.TURIN: TcbFloor(fmc=200)}}, [], {}),
    ({"guest_svn": 4}, {"minimum_guest_svn": 5}, ["snp.guest_svn"], {"executables": 96}),
    ({"guest_svn": 5}, {"minimum_guest_svn": 5}, [], {}),
    ({}, {"family_ids": frozenset({b"f" * 16})}, ["snp.family_id"], {"executables": 96}),
    ({"image_id": b"i" * 16}, {"image_ids": frozenset({b"i" * 16})}, [], {}),
    ({}, {"id_key_digests": frozenset({_KEY})}, ["snp.id_key"], {"executables": 96}),
    (_SIGNED, {"id_key_digests": frozenset({_KEY})}, [], {}),
    (_SIGNED, {"author_key_digests": frozenset({_AUTHOR})}, [], {}),
    (
        _SIGNED,
        {"id_key_digests": frozenset({bytes(48)}), "author_key_digests": frozenset({_AUTHOR})},
        [],
        {},
    ),
    (_SIGNED, {"author_key_digests": frozenset({_KEY})}, ["snp.id_key"], {"executables": 96}),
    # A digest of zeros on the list is no author key where the report has none.
    ({}, {"author_key_digests": frozenset({bytes(48)})}, ["snp.id_key"], {"executables": 96}),
    (
        {"version": 5, "launch_mitigations": 7, "current_mitigations": 3},
        {"mitigations_required": 7},
        ["snp.mitigations"],
        {"hardware": 96},
    ),
    (
        {"version": 5, "launch_mitigations": 7, "current_mitigations": 15},
        {"mitigations_required": 7},
        [],
        {},
    ),
    ({"version": 4}, {"mitigations_required": 1}, ["snp.mitigations"], {"hardware": 96}),
]


@pytest.mark.parametrize(("fields", "settings", "checks", "floors"), _CASES)
def test_a_setting_decides(
    milan: SnpFirmware,
    fields: dict[str, Any],
    settings: dict[str, Any],
    checks: list[str],
    floors: dict[str, int],
) -> None:
    if "tcb_floors" in settings:
        settings = settings | {"tcb_floors": dict(settings["tcb_floors"])}
    verified = verify(milan, milan.evidence(REPORT_DATA, **fields), **settings)
    assert failed(verified) == checks
    assert verified.floors == floors


def test_failures_accumulate(milan: SnpFirmware) -> None:
    evidence = milan.evidence(REPORT_DATA, vmpl=2, policy=0x30000 | POLICY_DEBUG, platform_info=1 << 40)
    verified = verify(milan, evidence)
    assert failed(verified) == ["snp.vmpl", "snp.policy.debug", "snp.platform.unknown_bits"]
    assert verified.floors == {"configuration": 96, "runtime-opaque": 96, "hardware": 96}


def test_a_failed_check_names_expected_and_observed(milan: SnpFirmware) -> None:
    verified = verify(milan, milan.evidence(REPORT_DATA, vmpl=2))
    record = next(check for check in verified.checks if check.name == "snp.vmpl")
    assert (record.expected, record.observed, record.code) == ([0], 2, "evidence.policy")
    assert "0x030" in record.source


@pytest.mark.parametrize(
    ("csp_ids", "floors"),
    [
        (frozenset(), {"instance-identity": 97}),
        (frozenset({"CN=another-cloud"}), {"instance-identity": 97}),
        (frozenset({"CN=test-cloud"}), {}),
        (None, {}),
    ],
)
def test_a_vlek_serves_only_providers_that_are_named(
    milan: SnpFirmware, csp_ids: frozenset[str] | None, floors: dict[str, int]
) -> None:
    verified = verify(milan, milan.evidence(REPORT_DATA, kind=VLEK), csp_ids=csp_ids)
    assert verified.floors == floors
    assert verified.identity == "snp-csp:CN=test-cloud"


@pytest.mark.parametrize(
    "settings",
    [
        {"versions": frozenset({2, 3})},
        {"versions": frozenset({6})},
        {"versions": frozenset()},
        {"products": frozenset()},
        {"vmpls": frozenset()},
        {"vmpls": frozenset({4})},
        {"policy_required": POLICY_DEBUG},
        {"policy_forbidden": 1 << 17},
        {"policy_required": POLICY_SMT, "policy_forbidden": POLICY_SMT},
        {"platform_required": 1, "platform_forbidden": 1},
        {"platform_required": 1 << 64},
        {"mitigations_required": -1},
        {"id_key_digests": frozenset({b"short"})},
        {"family_ids": frozenset({bytes(48)})},
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        SnpSettings(**settings)
