"""Both TEEs as the rest of the product sees them: settings, offline inspection, contents."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.errors import InvalidSetting, Malformed, TouchstoneError
from testkit.azure_vtpm import TDX
from tests.verifier.azure.conftest import BOUND, NONCE, NOW, failed
from tests.verifier.azure.test_tdx_verifier import td_report
from verifier.az_snp_vtpm.section import AzSnpVtpmSection
from verifier.az_snp_vtpm.section import insecure_switches as insecure_snp
from verifier.az_snp_vtpm.tee import TEE as SNP_TEE
from verifier.az_tdx_vtpm.evidence import AzTdxVtpmEvidence
from verifier.az_tdx_vtpm.section import AzTdxVtpmSection
from verifier.az_tdx_vtpm.tee import TEE as TDX_TEE
from verifier.model import Unbound
from verifier.offline import recognise
from verifier.tee import Inspection, Surroundings


def test_an_inspection_needs_no_revocation_list(world):
    evidence = world.evidence()
    inspection = Inspection(now=NOW, anchors=(world.firmware.ark,))
    verified = SNP_TEE.offline(evidence, inspection).verify(evidence, BOUND, None, NOW)
    assert failed(verified) == []
    with_list = Inspection(now=NOW, anchors=(world.firmware.ark,), crl=world.firmware.crl())
    verified = SNP_TEE.offline(evidence, with_list).verify(evidence, Unbound(), None, NOW)
    assert verified.floors == {"instance-identity": 97}


def test_an_inspection_may_name_the_registers(world):
    evidence = world.evidence()
    inspection = Inspection(now=NOW, anchors=(world.firmware.ark,), pcr_selection={"sha256": (0, 1)})
    with pytest.raises(TouchstoneError) as caught:
        SNP_TEE.offline(evidence, inspection).verify(evidence, BOUND, None, NOW)
    assert caught.value.code == "evidence.pcr"


@pytest.mark.parametrize(
    "pcrs", [{}, {"sha256": {"x": "00"}}, {"sha1": {"0": "00"}}, {"sha256": {"99": "0"}}]
)
def test_registers_that_cannot_be_quoted_are_refused(world, pcrs):
    with pytest.raises(Malformed):
        SNP_TEE.offline(world.evidence(pcrs=pcrs), Inspection(now=NOW))


def test_the_configured_verifier(world, tmp_path: Path):
    verifier = SNP_TEE.build(AzSnpVtpmSection(), Surroundings(collateral=tmp_path))
    assert verifier.tee == "az-snp-vtpm"
    with pytest.raises(TouchstoneError):  # the test firmware is trusted by none
        verifier.verify(world.evidence(), BOUND, None, NOW)
    assert TDX_TEE.build(AzTdxVtpmSection(), Surroundings(collateral=tmp_path)).tee == "az-tdx-vtpm"
    with pytest.raises(InvalidSetting):
        SNP_TEE.build(AzSnpVtpmSection(pcr_selection={"sha1": (0,)}), Surroundings(collateral=tmp_path))
    with pytest.raises(InvalidSetting, match="az_snp_vtpm"):
        SNP_TEE.build(AzSnpVtpmSection(id_key_digests=("zz",)), Surroundings(collateral=tmp_path))


def test_switches_that_weaken_a_verdict_are_named():
    assert list(insecure_snp(AzSnpVtpmSection())) == []
    weak = AzSnpVtpmSection(vmpls=(0, 2), revocation="if-present", extra_anchors=(Path("x"),))
    assert len(list(insecure_snp(weak))) == 3
    assert list(TDX_TEE.insecure(AzTdxVtpmSection())) == []


def test_contents_are_what_the_report_says(world):
    contents = SNP_TEE.contents(world.evidence())
    assert contents["report_type"] == "snp"
    assert contents["vm_configuration"] == world.vm.configuration
    assert SNP_TEE.contents(world.evidence(b"x")) == {}
    broken = world.vm.hcl(world.report_of(), claims=b"{")
    assert "vm_configuration" not in SNP_TEE.contents(world.evidence(broken))
    hcl = world.vm.hcl(td_report, kind=TDX)
    members = world.vm.members(hcl, NONCE)
    assert TDX_TEE.contents(AzTdxVtpmEvidence(td_quote="", **members))["report_type"] == "tdx"
    assert TDX_TEE.contents(AzTdxVtpmEvidence(td_quote="", **(members | {"hcl_report": "?"}))) == {}


def test_files_of_evidence_are_recognised(world, vectors: Path):
    folder = vectors / "evidence" / "az-tdx-vtpm" / "v1-trustee"
    evidence = recognise((folder / "evidence.json").read_bytes(), coco="az-tdx-vtpm")
    assert isinstance(evidence, AzTdxVtpmEvidence)
    collateral = (folder / "collateral.json").read_bytes()
    at = datetime(2025, 6, 11, 19, 23, 55, tzinfo=UTC)
    inspection = Inspection(now=at, files={"endorsements": collateral})
    verified = TDX_TEE.offline(evidence, inspection).verify(evidence, Unbound(), None, at)
    assert verified.claims["report_data"] == b"challenge".hex()
    assert failed(verified)  # SEPT_VE_DISABLE is clear
    members = world.vm.members(world.vm.hcl(world.report_of()), NONCE)
    document = json.dumps({"tee": "az-snp-vtpm"} | members).encode()
    assert recognise(document).hcl_report == members["hcl_report"]
