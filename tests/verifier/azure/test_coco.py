"""Evidence JSON of Confidential Containers, of every version and of none."""

from __future__ import annotations

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from common.encoding import b64url_decode
from common.errors import TouchstoneError
from tests.verifier.azure.conftest import NONCE, World, failed
from verifier.az_snp_vtpm.coco import AzSnpVtpmCocoForm
from verifier.errors import UnsupportedEvidence
from verifier.model import InitDataClaim, RuntimeDataBinding

BOUND = RuntimeDataBinding(NONCE + bytes(16))


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def _document(world: World, version: int = 1, **changes):
    hcl = world.vm.hcl(world.report_of())
    vcek = world.firmware.certificates()["VCEK"]
    quote = world.vm.coco_quote(BOUND.data)
    if version == 0:
        pem = x509.load_der_x509_certificate(vcek).public_bytes(Encoding.PEM).decode()
        numbers = {
            "message": list(bytes.fromhex(quote["message"])),
            "signature": list(bytes.fromhex(quote["signature"])),
            "pcrs": [list(bytes.fromhex(value)) for value in quote["pcrs"]],
        }
        return {"quote": numbers, "report": list(hcl), "vcek": pem} | changes
    document = {
        "version": version,
        "tpm_quote": quote,
        "hcl_report": _b64url(hcl),
        "vcek": _b64url(vcek),
    }
    return document | changes


@pytest.mark.parametrize("version", [0, 1])
def test_each_version_is_the_same_evidence(world, version):
    evidence = AzSnpVtpmCocoForm().evidence_of(_document(world, version))
    assert evidence.fresh_report is False
    ours = world.evidence(extra_data=BOUND.data, certificates=evidence.certificates)
    assert b64url_decode(evidence.signature)[:6] == b64url_decode(ours.signature)[:6]
    # The agent sends the VCEK alone; the test firmware's other certificates are no pinned ones.
    with_chain = world.evidence(
        b64url_decode(evidence.hcl_report),
        extra_data=BOUND.data,
        quote=b64url_decode(evidence.quote),
        signature=b64url_decode(evidence.signature),
        pcrs=evidence.pcrs,
    )
    assert failed(world.verify(with_chain, BOUND)) == []
    assert evidence.certificates[0] in world.certificates()


def test_version_2_says_that_the_report_is_fresh(world):
    assert AzSnpVtpmCocoForm().evidence_of(_document(world, 2)).fresh_report is True


def test_claims_have_register_8_where_init_data_was_sent(world):
    claim = InitDataClaim(b"\x07" * 32, b"x", fitted=True)
    world.vm.bind_init_data(claim.digest)
    verified = world.verify(world.evidence(extra_data=BOUND.data), BOUND, claim)
    claims = AzSnpVtpmCocoForm().claims_of(verified)
    assert claims["init_data"] == world.vm.registers[8].hex()
    without = world.verify(world.evidence(extra_data=BOUND.data), BOUND)
    assert "init_data" not in AzSnpVtpmCocoForm().claims_of(without)


@pytest.mark.parametrize("version", [3, -1, 1.5, "1", True, None, [], {}])
def test_unknown_versions_are_refused(world, version):
    with pytest.raises(UnsupportedEvidence):
        AzSnpVtpmCocoForm().evidence_of(_document(world, version=1) | {"version": version})


@pytest.mark.parametrize("document", [None, [], "x", 1, {}, {"version": 1}, {"quote": {}, "report": []}])
def test_other_documents_are_refused(document):
    with pytest.raises(TouchstoneError):
        AzSnpVtpmCocoForm().evidence_of(document)


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"hcl_report": 5},
        {"hcl_report": "?"},
        {"hcl_report": "é"},
        {"hcl_report": [256]},
        {"hcl_report": [-1]},
        {"hcl_report": [True]},
        {"hcl_report": ["1"]},
        {"hcl_report": [0] * 70_000},
        {"hcl_report": "A" * 100_000},
        {"vcek": None},
        {"tpm_quote": None},
        {"tpm_quote": {}},
    ],
)
def test_members_of_other_types_are_refused(world, change):
    with pytest.raises(TouchstoneError):
        AzSnpVtpmCocoForm().evidence_of(_document(world, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"signature": None},
        {"signature": "AB"},
        {"signature": "00" * 513},
        {"message": 5},
        {"message": "00" * 70_000},
        {"pcrs": None},
        {"pcrs": []},
        {"pcrs": ["00" * 32] * 23},
        {"pcrs": ["00" * 32] * 25},
        {"pcrs": [None] * 24},
    ],
)
def test_24_quotes_of_other_forms_are_refused(world, change):
    document = _document(world)
    document["tpm_quote"] = document["tpm_quote"] | change
    with pytest.raises(TouchstoneError):
        AzSnpVtpmCocoForm().evidence_of(document)


@pytest.mark.parametrize("pem", ["", "x", None, 5, "A" * 20_000])
def test_legacy_certificates_that_are_none_are_refused(world, pem):
    with pytest.raises(TouchstoneError):
        AzSnpVtpmCocoForm().evidence_of(_document(world, 0, vcek=pem))


def test_two_legacy_certificates_are_refused(world):
    document = _document(world, 0)
    with pytest.raises(TouchstoneError, match="one certificate"):
        AzSnpVtpmCocoForm().evidence_of(document | {"vcek": document["vcek"] * 2})
