"""What the shipped policies make of real evidence of Azure VMs on TDX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from policy.port import PolicyEngine
from policy.regorus_engine import RegorusEngine
from service.conformance.azure_tdx import verified_of
from service.conformance.case_files import CaseFiles
from service.conformance.runner import cases_of
from tests.verifier.azure.policies import vector
from verifier.model import VerifiedEvidence

TDX = "az-tdx-vtpm"


@pytest.fixture(scope="module")
def engine() -> PolicyEngine:
    return RegorusEngine()


@pytest.fixture(scope="module")
def real(vectors: Path) -> VerifiedEvidence:
    """Verified evidence of a real VM."""
    folder = vectors / "evidence"
    cases = {case["id"]: case for case in cases_of(folder / "manifest.json")}
    return verified_of(CaseFiles(cases["az-tdx-vtpm/v1-trustee"], folder))[0]


def _tdx_values(verified) -> dict[str, Any]:
    claims = verified.claims[TDX]
    registers = {f"tdx_pcr{index:02d}": claims["tpm"][f"pcr{index:02d}"] for index in (4, 7, 9, 11, 12)}
    return registers | {"az_tdx_mr_td": claims["quote"]["body"]["mr_td"]}


def test_real_tdx_evidence_with_its_reference_values(engine, real):
    """Azure's TDs have SEPT_VE_DISABLE clear: nothing is affirmed until the settings permit that."""
    verified = real
    up_to_date = {"tcb_status": "UpToDate"}
    values = _tdx_values(verified)
    assert vector(engine, "default", verified, values, **up_to_date)[:3] == (3, 97, 36)
    assert vector(engine, "default", verified, values, failed=[], **up_to_date) == (3, 2, 3, 2)
    assert vector(engine, "default", verified, values, failed=[], tcb_status="OutOfDate")[1] == 97
    debug = {"td_attributes": verified.claims[TDX]["td_attributes"] | {"debug": True}}
    assert vector(engine, "default", verified, values, failed=[], **debug)[2:] == (36, 0)


def test_real_tdx_evidence_under_the_policy_of_confidential_containers(engine, real):
    claims = real.claims[TDX]
    values = {
        "tdx_pcr11": claims["tpm"]["pcr11"],
        "mr_td": claims["quote"]["body"]["mr_td"],
        "xfam": claims["quote"]["body"]["xfam"],
    }
    found = vector(engine, "default_cpu", real, values, tcb_status="UpToDate")
    assert found[:3] == (3, 2, 2)
    debug = {"td_attributes": claims["td_attributes"] | {"debug": True}}
    assert vector(engine, "default_cpu", real, values, **debug)[2] == 36
