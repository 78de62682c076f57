"""The commands that need no server, through the real entry point."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from testkit.snp_firmware import SnpFirmware

_TOUCHSTONE = Path(sys.executable).with_name("touchstone")
DSTACK = "evidence/snp/milan-vcek-v3-dstack"
REPORT_DATA = b"attest-test-fixture-2026".ljust(64, b"\0").hex()
MEASUREMENT = (
    "7f51e17f72a04d5422cb2c00998166536019a217376f3aa45a630e59c805a599847ff250dbffcd07e1ba639771d6f05d"
)
AT = "2026-08-16T01:05:04Z"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([_TOUCHSTONE, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_help_is_quick_to_import() -> None:
    """No command module is loaded for the overview; said of modules, not of seconds."""
    code = (
        "import sys; from service.cli import cli; print([m for m in sys.modules if m.startswith('policy')])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_real_report_is_authentic_and_appraised(vectors: Path) -> None:
    case = vectors / DSTACK
    answer = run(
        "verify", case / "report.bin", "--certificate", case / "vcek.der", "--at", AT,
        "--report-data", REPORT_DATA, "--reference", f"snp_launch_measurement={MEASUREMENT}", "--json",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    assert document["verdict"] == "authentic"
    assert document["claims"]["snp"]["measurement"] == MEASUREMENT
    assert document["appraisal"]["status"] == "affirming"
    assert all(check["verdict"] != "fail" for check in document["checks"])


def test_an_unknown_measurement_is_a_negative_verdict_with_its_reason(vectors: Path) -> None:
    case = vectors / DSTACK
    answer = run(
        "verify", case / "report.bin", "--certificate", case / "vcek.der", "--at", AT,
        "--report-data", REPORT_DATA, "--reference", "snp_launch_measurement=00", "--explain",
    )  # fmt: skip
    assert answer.returncode == 1
    assert "contraindicated" in answer.stdout
    assert "reference.snp_launch_measurement" in answer.stdout


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", 2),
        (b"\xff\xd8\xff\xe0 a JPEG", 2),
        (b"{}", 2),
        (b'{"tee":"snp","tee":"tpm"}', 2),
        (b"\2\0\0\0" + bytes(1180), 2),
        (bytes(1184), 1),
    ],
)
def test_a_wrong_file_is_a_typed_error_and_no_verdict(tmp_path: Path, data: bytes, code: int) -> None:
    file = tmp_path / "evidence"
    file.write_bytes(data)
    answer = run("verify", file)
    assert answer.returncode == code
    assert answer.stdout == ""
    assert answer.stderr.startswith("error: ")
    assert "next: " in answer.stderr
    document = json.loads(run("verify", file, "--json").stdout)
    assert set(document["error"]) >= {"code", "message", "advice"}
    assert "verdict" not in document


def test_a_folder_and_a_missing_file_are_typed_errors(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        answer = run("verify", path)
        assert answer.returncode == 2
        assert "[input.not_found]" in answer.stderr


def test_test_firmware_needs_its_anchor(tmp_path: Path) -> None:
    firmware = SnpFirmware()
    (tmp_path / "evidence.json").write_bytes(msgspec.json.encode(firmware.evidence(b"\1" * 64)))
    (tmp_path / "ark.pem").write_bytes(firmware.ark.public_bytes(Encoding.PEM))
    at = (firmware.start + timedelta(days=1)).isoformat()
    refused = run("verify", tmp_path / "evidence.json", "--at", at)
    assert refused.returncode == 1
    assert "endorsement.root" in refused.stdout + refused.stderr
    trusted = run("verify", tmp_path / "evidence.json", "--at", at, "--anchor", tmp_path / "ark.pem")
    assert trusted.returncode == 0, trusted.stderr
    assert "TEST ROOT" in trusted.stderr


def test_debug_is_a_negative_verdict(tmp_path: Path) -> None:
    firmware = SnpFirmware()
    evidence = firmware.evidence(b"\1" * 64, policy=0x30000 | 1 << 19)
    (tmp_path / "evidence.json").write_bytes(msgspec.json.encode(evidence))
    (tmp_path / "ark.pem").write_bytes(firmware.ark.public_bytes(Encoding.PEM))
    at = (firmware.start + timedelta(days=1)).isoformat()
    answer = run("verify", tmp_path / "evidence.json", "--at", at, "--anchor", tmp_path / "ark.pem")
    assert answer.returncode == 1
    assert "[evidence.debug]" in answer.stdout


POLICY = """package policy

import rego.v1

default hardware := 97

hardware := 2 if input.snp.vmpl == 0

trust_claims := {"hardware": hardware}
"""
CASES = """
[[cases]]
name = "vmpl 0"
input = { snp = { vmpl = 0 } }
expect = { trust_claims = { hardware = 2 } }

[[cases]]
name = "vmpl 3"
input = { snp = { vmpl = 3 } }
expect = { trust_claims = { hardware = %d } }
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.rego"
    file.write_text(POLICY)
    return file


def test_policy_check_accepts_and_refuses_with_the_line(policy: Path) -> None:
    assert json.loads(run("policy", "check", policy, "--json").stdout)["ok"] is True
    policy.write_text(POLICY + "\nx := http.send({})\n")
    answer = run("policy", "check", policy)
    assert answer.returncode == 1
    assert f"{policy}:11:" in answer.stdout


@pytest.mark.parametrize(("value", "code"), [(97, 0), (2, 1)])
def test_policy_test_runs_cases(policy: Path, tmp_path: Path, value: int, code: int) -> None:
    (tmp_path / "cases.toml").write_text(CASES % value)
    answer = run("policy", "test", policy, "--cases", tmp_path / "cases.toml")
    assert answer.returncode == code, answer.stderr
    assert answer.stdout.strip().endswith(f"{2 - code} passed, {code} failed")


def test_policy_explain_names_the_clause(policy: Path, tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text('{"snp": {"vmpl": 0}}')
    document: dict[str, Any] = json.loads(
        run("policy", "explain", policy, "--input", tmp_path / "input.json", "--json").stdout
    )
    deciding = [
        rule for rule in document["rules"] if rule["rule"].endswith("hardware") and rule["value"] == 2
    ]
    assert deciding[0]["line"] == 7


def test_conformance_counts_and_exits_by_disagreement(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text('[{"id": "a", "type": "unheard-of", "expect": "pass"}]')
    answer = run("conformance", manifest)
    assert answer.returncode == 0
    lines = answer.stdout.splitlines()
    assert json.loads(lines[0])["got"] == "unsupported"
    assert lines[-1] == "0 agree, 0 disagree, 1 unsupported"
    manifest.write_text('[{"id": "a", "type": "derive-snp", "expect": "00", "files": []}]')
    answer = run("conformance", manifest)
    assert answer.returncode == 1
    assert answer.stdout.splitlines()[-1] == "0 agree, 1 disagree, 0 unsupported"
