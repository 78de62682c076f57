"""What the shipped policies make of real evidence, with declared reference values and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from policy.port import PolicyEngine
from policy.regorus_engine import RegorusEngine
from service.conformance.azure import verified_of
from service.conformance.case_files import CaseFiles
from service.conformance.runner import cases_of
from tests.verifier.azure.policies import vector
from verifier.model import VerifiedEvidence

SNP = "az-snp-vtpm"


@pytest.fixture(scope="module")
def engine() -> PolicyEngine:
    return RegorusEngine()


@pytest.fixture(scope="module")
def real(vectors: Path) -> VerifiedEvidence:
    """Verified evidence of a real VM."""
    folder = vectors / "evidence"
    cases = {case["id"]: case for case in cases_of(folder / "manifest.json")}
    return verified_of(CaseFiles(cases["az-snp-vtpm/v1-milan"], folder))[0]


def _snp_values(verified) -> dict[str, Any]:
    claims = verified.claims[SNP]
    registers = {f"snp_pcr{index:02d}": claims["tpm"][f"pcr{index:02d}"] for index in (4, 7, 9, 11, 12)}
    return registers | {
        "az_snp_id_key_digest": claims["snp"]["id_key_digest"],
        "az_snp_guest_svn": claims["snp"]["guest_svn"],
    }


def test_real_snp_evidence_with_its_reference_values_affirms(engine, real):
    verified = real
    # The VM has its serial console on: 3, not 2.
    assert vector(engine, "default", verified, _snp_values(verified)) == (3, 2, 3, 2)
    closed = {"vm_configuration": verified.claims[SNP]["vm_configuration"] | {"console-enabled": False}}
    assert vector(engine, "default", verified, _snp_values(verified), **closed) == (3, 2, 2, 2)


@pytest.mark.parametrize(
    "name", ["snp_pcr04", "snp_pcr09", "snp_pcr11", "snp_pcr12", "az_snp_id_key_digest", "az_snp_guest_svn"]
)
def test_without_one_reference_value_no_software_is_affirmed(engine, real, name):
    values = _snp_values(real)
    del values[name]
    assert vector(engine, "default", real, values)[0] == 96
    assert vector(engine, "default", real, values | {name: "00"})[0] == 96


def test_a_svn_of_another_type_is_none(engine, real):
    values = _snp_values(real)
    values["az_snp_guest_svn"] = str(values["az_snp_guest_svn"])
    assert vector(engine, "default", real, values)[0] == 96


@pytest.mark.parametrize(
    "change",
    [{"policy_debug_allowed": True}, {"policy_migrate_ma": True}, {"vmpl": 2}],
)
def test_an_open_guest_is_not_affirmed(engine, real, change):
    verified = real
    snp = verified.claims[SNP]["snp"] | change
    assert vector(engine, "default", verified, _snp_values(verified), snp=snp)[2] == 36


def test_secure_boot_off_and_failed_settings_are_not_affirmed(engine, real):
    verified = real
    off = {"vm_configuration": verified.claims[SNP]["vm_configuration"] | {"secure-boot": False}}
    assert vector(engine, "default", verified, _snp_values(verified), **off)[2] == 36
    assert vector(engine, "default", verified, _snp_values(verified), failed=["x"])[1:3] == (97, 36)


def test_real_snp_evidence_affirms_under_the_policy_of_confidential_containers(engine, real):
    claims = real.claims[SNP]
    names = {
        "measurement": "measurement",
        "tcb_bootloader": "reported_tcb_bootloader",
        "tcb_microcode": "reported_tcb_microcode",
        "tcb_snp": "reported_tcb_snp",
        "tcb_tee": "reported_tcb_tee",
        "smt_enabled": "platform_smt_enabled",
        "tsme_enabled": "platform_tsme_enabled",
        "abi_major": "policy_abi_major",
        "abi_minor": "policy_abi_minor",
        "single_socket": "policy_single_socket",
        "smt_allowed": "policy_smt_allowed",
    }
    values = {name: claims[claim] for name, claim in names.items()} | {"snp_pcr11": claims["tpm"]["pcr11"]}
    assert vector(engine, "default_cpu", real, values)[:3] == (3, 2, 2)
    for debug in ("true", True):
        assert vector(engine, "default_cpu", real, values, policy_debug_allowed=debug)[2] == 36
    assert vector(engine, "default_cpu", real, {})[:3] == (33, 97, 36)
