"""The SGX verifier: versions, binding, attributes, identity, KSS, forms, settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.encoding import b64_encode, b64url_encode
from common.errors import InvalidSetting, Malformed, TouchstoneError
from testkit.intel_platform import ENCLAVE_FLAGS, IntelPlatform
from tests.verifier.intel.helpers import BOUND, REPORT_DATA, failed, verify_enclave
from verifier.errors import InitDataMismatch, ReportDataMismatch, SignatureInvalid, UnsupportedEvidence
from verifier.intel.endorsements import FixedEndorsements
from verifier.model import InitDataClaim, ReportDataBinding, Unbound
from verifier.sgx.evidence import SgxEvidence
from verifier.sgx.section import SgxSection, SignerSection, sgx_settings
from verifier.sgx.settings import SgxSettings, SignerRule
from verifier.sgx.tee import TEE
from verifier.sgx.verifier import SgxVerifier
from verifier.tee import Inspection, Surroundings
from wire.evidence import SampleEvidence

_KSS = 1 << 7
_SIGNER = b"\x55" * 32


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_good_enclave(platform: IntelPlatform, version: int) -> None:
    verified = verify_enclave(platform, platform.sgx_quote(version=version, isv_svn=266))
    assert (failed(verified), verified.floors) == ([], {})
    claims = verified.claims["sgx"]
    assert claims["tcb_status"] == "UpToDate"
    assert claims["module_status"] is None
    assert claims["body"]["isv_svn"] == "0a01"
    assert claims["body"]["attributes.flags"] == "0500000000000000"
    assert claims["enclave"]["isv_svn"] == 266
    assert ("qe_svn" in claims["header"]) == (version == 3)
    assert ("type" in claims) == (version == 5)
    assert verified.claims["common"]["measurement"] == "44" * 32
    assert verified.claims["common"]["svn"] == 266


def test_report_data_and_signature(platform: IntelPlatform) -> None:
    for wrong in (REPORT_DATA[:63] + b"\0", REPORT_DATA[:32] + bytes(32)):
        with pytest.raises(ReportDataMismatch):
            verify_enclave(platform, expected=ReportDataBinding(wrong))
    with pytest.raises(Malformed):
        verify_enclave(platform, expected=ReportDataBinding(bytes(64)))
    assert verify_enclave(platform, expected=Unbound()).floors == {"instance-identity": 97}
    changed = bytearray(platform.sgx_quote())
    changed[48 + 0x40] ^= 1
    with pytest.raises(SignatureInvalid):
        verify_enclave(platform, bytes(changed))


def test_init_data_is_config_id(platform: IntelPlatform) -> None:
    quote = platform.sgx_quote(config_id=b"\x09" * 48 + bytes(16), flags=ENCLAVE_FLAGS | _KSS)
    claim = InitDataClaim(digest=b"\x09" * 48, data=b"", fitted=True)
    assert verify_enclave(platform, quote, init_data=claim).init_data == "bound"
    with pytest.raises(InitDataMismatch):
        verify_enclave(platform, init_data=claim)


def test_debug_is_a_floor_that_nothing_lifts(platform: IntelPlatform) -> None:
    """Abuse case 12."""
    verified = verify_enclave(platform, platform.sgx_quote(flags=ENCLAVE_FLAGS | 2))
    assert failed(verified) == ["sgx.attributes.debug"]
    assert verified.floors == {"configuration": 96, "runtime-opaque": 96}
    with pytest.raises(InvalidSetting):
        SgxSettings(flags_required=2)


@pytest.mark.parametrize(
    ("flags", "settings", "names"),
    [
        (4, {}, ["sgx.attributes.init"]),
        (5 | 1 << 4, {}, ["sgx.attributes.provision_key"]),
        (5 | 1 << 4, {"permit_provision_key": True}, []),
        (5 | 1 << 5, {}, ["sgx.attributes.einittoken_key"]),
        (5, {"require_kss": True}, ["sgx.attributes.kss"]),
        (5 | _KSS, {"require_kss": True}, []),
        (5, {"flags_required": 1 << 10}, ["sgx.attributes.bits"]),
        (5, {"flags_forbidden": 4}, ["sgx.attributes.bits"]),
    ],
)
def test_flags(platform: IntelPlatform, flags: int, settings: dict[str, Any], names: list[str]) -> None:
    verified = verify_enclave(platform, platform.sgx_quote(flags=flags), **settings)
    assert failed(verified) == names
    assert verified.floors == ({"configuration": 96} if names else {})


@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        ({"mr_enclaves": frozenset({b"\x44" * 32})}, True),
        ({"mr_enclaves": frozenset({b"\x45" * 32})}, False),
        ({"signers": (SignerRule(_SIGNER, 7, 3),)}, True),
        ({"signers": (SignerRule(_SIGNER, 7, 4),)}, False),
        ({"signers": (SignerRule(_SIGNER, 8, 3),)}, False),
        ({"signers": (SignerRule(b"\x56" * 32, 7, 3),)}, False),
        ({"mr_enclaves": frozenset({b"\x45" * 32}), "signers": (SignerRule(_SIGNER, 7, 1),)}, True),
    ],
)
def test_this_enclave_or_a_product_of_a_signer(
    platform: IntelPlatform, settings: dict[str, Any], passes: bool
) -> None:
    verified = verify_enclave(platform, **settings)
    assert failed(verified) == ([] if passes else ["sgx.enclave"])
    assert verified.floors == ({} if passes else {"executables": 96})


def test_config_id_and_version(platform: IntelPlatform) -> None:
    quote = platform.sgx_quote(flags=5 | _KSS, config_id=b"\x01" * 64, config_svn=3)
    known = frozenset({b"\x01" * 64})
    good = verify_enclave(platform, quote, require_kss=True, config_ids=known, minimum_config_svn=3)
    assert failed(good) == []
    bad = verify_enclave(
        platform, quote, require_kss=True, config_ids=frozenset({bytes(64)}), minimum_config_svn=4
    )
    assert failed(bad) == ["sgx.config_id", "sgx.config_svn"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"versions": frozenset({2})},
        {"mr_enclaves": frozenset({b""})},
        {"config_ids": frozenset({bytes(64)})},
        {"config_ids": frozenset({b"x"}), "require_kss": True},
        {"signers": (SignerRule(_SIGNER, 1 << 16, 0),)},
        {"flags_required": 4, "flags_forbidden": 4},
        {"flags_forbidden": -1},
    ],
)
def test_settings_that_contradict_themselves(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        SgxSettings(**wrong)


def test_a_tds_quote_and_foreign_evidence(platform: IntelPlatform) -> None:
    with pytest.raises(UnsupportedEvidence):
        verify_enclave(platform, platform.td_quote())
    with pytest.raises(UnsupportedEvidence):
        verify_enclave(platform, versions=frozenset({4}))
    with pytest.raises(Malformed):
        SgxVerifier(SgxSettings(), FixedEndorsements()).verify(
            SampleEvidence(svn="1"), BOUND, None, platform.now
        )


def test_forms_and_files(platform: IntelPlatform, tmp_path: Path) -> None:
    assert TEE.coco is not None
    quote = platform.sgx_quote()
    evidence = TEE.coco.evidence_of({"quote": b64_encode(quote)})
    assert evidence == SgxEvidence(quote=b64url_encode(quote)) == TEE.recognise(quote)
    for wrong in ({}, {"quote": None}, {"quote": "A" * 100_000}, {"quote": "*"}):
        with pytest.raises(TouchstoneError):
            TEE.coco.evidence_of(wrong)
    assert TEE.coco.claims_of(verify_enclave(platform))["init_data"] == "00" * 64
    assert TEE.recognise(platform.td_quote()) is None
    assert TEE.contents(evidence)["body"]["mr_enclave"] == "44" * 32
    assert TEE.contents(SgxEvidence(quote="!")) == {}
    inspection = Inspection(
        now=platform.now, anchors=(platform.root,), files={"endorsements": platform.collateral_json("sgx")}
    )
    verified = TEE.offline(evidence, inspection).verify(evidence, BOUND, None, platform.now)
    assert failed(verified) == []
    assert TEE.build(SgxSection(), Surroundings(tmp_path)).tee == "sgx"
    assert list(TEE.insecure(SgxSection(extra_anchors=(tmp_path,)))) != []


def test_sections_become_settings() -> None:
    rule = SignerSection(mr_signer="55" * 32, isv_prod_id=7, minimum_isv_svn=3)
    settings = sgx_settings(SgxSection(mr_enclaves=("44" * 32,), signers=(rule,)))
    assert settings.signers == (SignerRule(_SIGNER, 7, 3),)
    assert settings.mr_enclaves == {b"\x44" * 32}
    with pytest.raises(InvalidSetting):
        sgx_settings(SgxSection(signers=(SignerSection(mr_signer="55", isv_prod_id=1, minimum_isv_svn=1),)))
