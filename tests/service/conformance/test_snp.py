"""The SNP runner on cases made here: agreement needs the result, the reason and every claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from service.conformance.runner import run
from service.conformance.snp import run_case
from testkit.snp_firmware import SnpFirmware
from verifier.snp.products import Product
from verifier.snp.report import POLICY_DEBUG

REPORT_DATA = bytes(range(64))


@pytest.fixture(scope="module")
def firmware() -> SnpFirmware:
    return SnpFirmware(Product.GENOA, seed=b"conformance")


@pytest.fixture
def case(firmware: SnpFirmware, tmp_path: Path) -> dict[str, Any]:
    """A good case in a folder of its own."""
    certificates = (firmware.ask, firmware.ark)
    files = {
        "evidence": ("report.bin", firmware.report(REPORT_DATA, measurement=b"m" * 48)),
        "leaf": ("vcek.der", firmware.certificates()["VCEK"]),
        "chain": ("chain.pem", b"".join(item.public_bytes(Encoding.PEM) for item in certificates)),
        "crl": ("ark.crl", firmware.crl()),
    }
    for name, data in files.values():
        (tmp_path / name).write_bytes(data)
    return {
        "id": "snp-synthetic/made",
        "tee": "snp-synthetic",
        "generation": "genoa",
        "files": {role: name for role, (name, _) in files.items()},
        "report_data": REPORT_DATA.hex(),
        "verification_time": "2025-06-01T00:00:00Z",
        "expect": {
            "result": "pass",
            "error": None,
            "claims": {
                "version": 3,
                "measurement": (b"m" * 48).hex(),
                "policy": "0x30000",
                "signing_key": "VCEK",
                "guest_svn": 0,
                "reported_tcb": {"bootloader": 10, "tee": 0, "snp": 23, "microcode": 84},
                "reported_tcb_raw": "0a00000000001754",
                "current_version": "1.55",
                "current_build": 29,
            },
            "cert": {
                "bootloader": 10,
                "tee": 0,
                "snp": 23,
                "microcode": 84,
                "hwid": firmware.hardware_id.hex(),
                "product": "Genoa",
                "struct": 0,
            },
        },
    }


def _failing(case: dict[str, Any], error: str, **changes: Any) -> dict[str, Any]:
    return case | {"expect": case["expect"] | {"result": "fail", "error": error}} | changes


def test_a_good_case_agrees(case: dict[str, Any], tmp_path: Path) -> None:
    assert run_case(case, tmp_path).agree is True


@pytest.mark.parametrize(
    ("claim", "value"),
    [("guest_svn", 1), ("vmpl", 1), ("measurement", "00"), ("unheard_of", None), ("cert", {})],
)
def test_a_claim_that_differs_or_is_unknown_disagrees(
    case: dict[str, Any], tmp_path: Path, claim: str, value: object
) -> None:
    part = case["expect"] if claim == "cert" else case["expect"]["claims"]
    part[claim] = value
    outcome = run_case(case, tmp_path)
    assert (outcome.got, outcome.agree) == ("pass", False)
    assert claim in outcome.detail


def test_accepting_what_should_be_refused_disagrees(case: dict[str, Any], tmp_path: Path) -> None:
    assert run_case(_failing(case, "signature_invalid"), tmp_path).agree is False


@pytest.mark.parametrize(
    ("mutation", "error"),
    [
        ({"op": "flip_bit", "file": "evidence", "offset": 0x90, "bit": 0}, "signature_invalid"),
        ({"op": "truncate", "file": "evidence", "length": 1000}, "parse_error"),
        ({"op": "set_time", "value": "2040-01-01T00:00:00Z"}, "cert_expired"),
        ({"op": "set_time", "value": "2024-01-01T00:00:00Z"}, "cert_not_yet_valid"),
        ({"op": "set_expected", "field": "report_data", "value": "00" * 60 + "01"}, "report_data_mismatch"),
        ({"op": "set_expected", "field": "report_data", "value": "01" * 65}, "parse_error"),
        ({"op": "use_trust_anchor", "value": "real AMD ARK-Genoa"}, "chain_untrusted_root"),
        ({"op": "truncate", "file": "crl", "length": 10}, "crl_missing_or_invalid"),
        ({"op": "truncate", "file": "chain", "length": 10}, "parse_error"),
    ],
)
def test_a_mutation_is_refused_for_its_reason_and_no_other(
    case: dict[str, Any], tmp_path: Path, mutation: dict[str, Any], error: str
) -> None:
    assert run_case(_failing(case, error, mutation=mutation), tmp_path).agree is True
    outcome = run_case(_failing(case, "hwid_mismatch", mutation=mutation), tmp_path)
    assert (outcome.got, outcome.agree) == ("fail", False)


def test_a_failed_expectation_refuses_with_its_reason(
    case: dict[str, Any], tmp_path: Path, firmware: SnpFirmware
) -> None:
    report = firmware.report(REPORT_DATA, measurement=b"m" * 48, policy=0x30000 | POLICY_DEBUG)
    (tmp_path / "report.bin").write_bytes(report)
    case["expect"]["claims"]["policy"] = "0xb0000"
    assert run_case(_failing(case, "debug_enabled"), tmp_path).code == "evidence.debug"
    assert run_case(_failing(case, "debug_enabled"), tmp_path).agree is True
    assert run_case(_failing(case, "policy_violation"), tmp_path).agree is False


def test_a_case_that_is_not_synthetic_trusts_amd_alone(case: dict[str, Any], tmp_path: Path) -> None:
    outcome = run_case(_failing(case | {"tee": "snp"}, "chain_untrusted_root"), tmp_path)
    assert (outcome.agree, outcome.code) == (True, "endorsement.root")


def test_an_unknown_mutation_is_unsupported_and_agrees_with_nothing(
    case: dict[str, Any], tmp_path: Path
) -> None:
    for mutation in ({"op": "edit_input"}, {"op": "use_trust_anchor", "value": "mine"}):
        outcome = run_case(_failing(case, "parse_error", mutation=mutation), tmp_path)
        assert (outcome.got, outcome.agree) == ("unsupported", None)


def test_a_case_that_cannot_be_read_is_a_disagreement(case: dict[str, Any], tmp_path: Path) -> None:
    for broken in (
        case | {"generation": "rome"},
        case | {"verification_time": "any"},
        case | {"report_data": "zz"},
        {name: value for name, value in case.items() if name != "report_data"},
    ):
        assert run_case(broken, tmp_path).agree is False


def test_the_manifest_runner_finds_it(case: dict[str, Any], tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"cases": [case]}))
    (outcome,) = run(manifest)
    assert outcome.agree is True
