"""``touchstone verify`` on real vectors and on test firmware: collateral, refusals, references, options."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from common.checks import Check, Verdict
from common.errors import InputError, TouchstoneError
from service import inspection
from service.cli import cli
from service.commands import verify_text
from testkit.snp_firmware import SnpFirmware
from verifier.errors import UnsupportedEvidence
from verifier.reading import load_certificates
from verifier.snp import tee as snp_tee
from wire.evidence import TpmEvidence

REPORT_DATA = b"\1" * 64


def run(*arguments: object) -> Result:
    """In this process; a typed error is in ``exception`` (``service.cli.main`` prints those)."""
    return CliRunner().invoke(cli, ["verify", *map(str, arguments)])


def document(result: Result) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(result.stdout)
    return decoded


@pytest.fixture(scope="module")
def firmware() -> SnpFirmware:
    return SnpFirmware()


@pytest.fixture
def at(firmware: SnpFirmware) -> str:
    return (firmware.start + timedelta(days=1)).isoformat()


@pytest.fixture
def anchor(firmware: SnpFirmware, tmp_path: Path) -> Path:
    file = tmp_path / "ark.pem"
    file.write_bytes(firmware.ark.public_bytes(Encoding.PEM))
    return file


@pytest.fixture
def evidence(firmware: SnpFirmware, tmp_path: Path) -> Path:
    file = tmp_path / "evidence.json"
    file.write_bytes(msgspec.json.encode(firmware.evidence(REPORT_DATA)))
    return file


@pytest.mark.parametrize(
    ("name", "leaf", "options"),
    [
        ("milan-vcek-v2-trustee", "vcek.der", ("--v2-product", "Milan")),
        ("milan-vlek-v2-anolis", "vlek.der", ("--v2-product", "Milan")),
        ("milan-vlek-v3-trustee", "vlek.der", ()),
        ("turin-vcek-v5-anolis", "vcek.der", ()),
        ("genoa-vcek-v3-veraison", "vcek.der", ()),
        ("milan-vcek-v3-dstack", "vcek.der", ()),
    ],
)
def test_real_reports_are_authentic_with_the_measurement_of_their_record(
    vectors: Path, name: str, leaf: str, options: tuple[str, ...]
) -> None:
    cases = json.loads((vectors / "evidence/manifest.json").read_text())["cases"]
    case = next(item for item in cases if item["id"] == f"snp/{name}")
    folder = vectors / "evidence/snp" / name
    result = run(
        folder / "report.bin", "--certificate", folder / leaf, "--certificate", folder / "chain.pem",
        "--at", case["verification_time"], "--vmpl", "0", "--vmpl", "1", *options, "--json",
    )  # fmt: skip
    found = document(result)
    assert found["tee"] == "snp"
    assert "error" not in found
    assert found["claims"]["snp"]["measurement"] == case["expect"]["claims"]["measurement"]
    failed = {check["name"] for check in found["checks"] if check["verdict"] == "fail"}
    assert result.exit_code == (1 if failed else 0)
    assert found["verdict"] == ("refused" if failed else "authentic")
    # What these records expect is authenticity; the platforms and their firmware may be old.
    assert not {item for item in failed if not item.startswith(("snp.platform", "snp.tcb", "snp.firmware"))}


def test_real_debug_guest_is_authentic_and_refused(vectors: Path) -> None:
    folder = vectors / "evidence/snp/milan-debug-v2-gosevguest"
    result = run(
        folder / "report.bin", "--certificate", folder / "vcek.der", "--v2-product", "Milan",
        "--at", "2022-11-23T00:55:28Z",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "[evidence.debug]" in result.stdout


def test_version_2_report_without_a_product_is_not_guessed(vectors: Path) -> None:
    folder = vectors / "evidence/snp/milan-debug-v2-gosevguest"
    result = run(folder / "report.bin", "--certificate", folder / "vcek.der")
    assert isinstance(result.exception, TouchstoneError)
    assert result.exception.code == "evidence.unsupported"


def test_foreign_certificate_is_refused_and_contents_are_called_unverified(vectors: Path) -> None:
    snp = vectors / "evidence/snp"
    result = run(
        snp / "genoa-vcek-v3-veraison/report.bin",
        "--certificate", snp / "milan-vcek-v3-dstack/vcek.der", "--json",
    )  # fmt: skip
    found = document(result)
    assert result.exit_code == 1
    assert found["verdict"] == "refused"
    assert found["error"]["code"] == "endorsement.chain"
    assert "claims" not in found
    assert len(found["unverified_contents"]["measurement"]) == 96
    assert found["checks"]


def test_document_of_another_project_is_a_typed_error(vectors: Path) -> None:
    result = run(vectors / "evidence/tpm/trustee-swtpm-evidence/evidence.json")
    assert isinstance(result.exception, InputError)


@pytest.mark.parametrize("given_as", ["option", "folder"])
def test_revocation_list_is_consulted(
    firmware: SnpFirmware, evidence: Path, anchor: Path, tmp_path: Path, given_as: str
) -> None:
    at = (firmware.start + timedelta(days=1)).isoformat()
    data = firmware.crl(this_update=firmware.start, revoked=(firmware.ask,))
    option: tuple[object, object] = ("--crl", tmp_path / "list.crl")
    if given_as == "option":
        (tmp_path / "list.crl").write_bytes(data)
    else:
        folder = tmp_path / "collateral"
        (folder / "crl").mkdir(parents=True)
        (folder / "crl" / f"{firmware.ark.fingerprint(hashes.SHA256()).hex()}.crl").write_bytes(data)
        option = ("--collateral", folder)
    common = (evidence, "--anchor", anchor, "--at", at, "--json")
    without = document(run(*common))
    assert without["verdict"] == "authentic"
    verdicts = {check["name"]: check["verdict"] for check in without["checks"]}
    assert verdicts["snp.crl"] == "not-evaluated"
    found = run(*common, *option)
    assert found.exit_code == 1
    assert document(found)["error"]["code"] == "endorsement.revoked"


def test_other_report_data_is_refused(evidence: Path, anchor: Path, at: str) -> None:
    common = (evidence, "--anchor", anchor, "--at", at, "--report-data")
    assert run(*common, REPORT_DATA.hex()).exit_code == 0
    refused = run(*common, (b"\2" * 64).hex())
    assert refused.exit_code == 1
    assert "[evidence.report_data]" in refused.stdout
    assert isinstance(run(*common, "00").exception, InputError)


def test_before_the_certificates_it_is_refused(evidence: Path, anchor: Path, firmware: SnpFirmware) -> None:
    early = (firmware.start - timedelta(days=4000)).isoformat()
    result = run(evidence, "--anchor", anchor, "--at", early)
    assert result.exit_code == 1
    assert "[endorsement.not_yet_valid]" in result.stdout


def test_references_of_a_file_decide_and_are_called_unverified(
    evidence: Path, anchor: Path, at: str, tmp_path: Path
) -> None:
    common = (evidence, "--anchor", anchor, "--at", at, "--report-data", REPORT_DATA.hex())
    measurement = document(run(*common, "--json"))["claims"]["snp"]["measurement"]
    references = tmp_path / "references.json"
    references.write_text(json.dumps({"snp_launch_measurement": [measurement, "00"]}))
    result = run(*common, "--references", references, "--explain")
    assert result.exit_code == 0, result.output
    assert "affirming" in result.stdout
    assert "local file, unverified" in " ".join(result.stdout.split())
    references.write_text(json.dumps({"snp_launch_measurement": ["00"]}))
    assert run(*common, "--references", references).exit_code == 1
    references.write_text('{"snp_launch_measurement": "00"}')
    assert isinstance(run(*common, "--references", references).exception, InputError)


def test_unbound_evidence_is_never_affirming(evidence: Path, anchor: Path, at: str) -> None:
    common = (evidence, "--anchor", anchor, "--at", at)
    measurement = document(run(*common, "--json"))["claims"]["snp"]["measurement"]
    result = run(*common, "--reference", f"snp_launch_measurement={measurement}", "--json")
    assert result.exit_code == 1
    assert document(result)["appraisal"]["trust_vector"]["instance-identity"] == 97


def test_own_policy_decides(evidence: Path, anchor: Path, at: str, tmp_path: Path) -> None:
    policy = tmp_path / "policy.rego"
    common = (
        evidence, "--anchor", anchor, "--at", at, "--report-data", REPORT_DATA.hex(), "--policy", policy,
    )  # fmt: skip
    policy.write_text('package policy\n\ntrust_claims := {"hardware": 2}\n')
    assert run(*common).exit_code == 0
    policy.write_text('package policy\n\ntrust_claims := {"hardware": 97}\n')
    assert run(*common).exit_code == 1
    policy.write_bytes(b"\xff\xfe")
    assert isinstance(run(*common).exception, InputError)
    policy.write_text("package policy\n\ntrust_claims := {")
    result = run(*common)
    assert isinstance(result.exception, TouchstoneError)
    assert result.exception.code.startswith("policy.")


@pytest.mark.parametrize(
    "options",
    [
        ("--at", "yesterday"),
        ("--at", "2026-01-01T00:00:00"),
        ("--reference", "no separator"),
        ("--pcrs", "sha256"),
        ("--pcrs", "sha256:a"),
        ("--vmpl", "4"),
    ],
)
def test_unusable_option_is_wrong_usage(evidence: Path, options: tuple[str, str]) -> None:
    assert run(evidence, *options).exit_code == 2


@pytest.mark.parametrize(
    "option",
    ["--crl", "--collateral", "--anchor", "--ek-root", "--policy", "--references", "--certificate"],
)
def test_side_file_that_is_missing_is_a_typed_error(evidence: Path, tmp_path: Path, option: str) -> None:
    result = run(evidence, option, tmp_path / "none")
    assert isinstance(result.exception, InputError)


@pytest.mark.parametrize("option", ["--certificate", "--anchor", "--ek-root"])
def test_side_file_that_is_no_certificate_is_a_typed_error(
    evidence: Path, tmp_path: Path, option: str
) -> None:
    (tmp_path / "side").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert isinstance(run(evidence, option, tmp_path / "side").exception, InputError)


def test_certificates_beside_those_of_the_document_are_refused(evidence: Path, anchor: Path) -> None:
    assert isinstance(run(evidence, "--certificate", anchor).exception, InputError)


def test_certificates_of_a_raw_report_find_their_slots(firmware: SnpFirmware) -> None:
    given_certificates = firmware.certificates()
    loaded = [
        item for data in given_certificates.values() for item in load_certificates(data, what="certificate")
    ]
    assert {item.type for item in snp_tee._entries(loaded)} == set(given_certificates)


def test_options_without_use_for_a_tee_are_refused(firmware: SnpFirmware, evidence: Path) -> None:
    for options in (("--pcrs", "sha256:0"), ("--with", f"event-log={evidence}")):
        error = run(evidence, *options).exception
        assert isinstance(error, InputError)
        assert "AMD SEV-SNP" in error.message


def test_evidence_of_confidential_containers_is_read_by_the_name_of_its_tee(
    firmware: SnpFirmware, tmp_path: Path
) -> None:
    path = tmp_path / "coco.json"
    path.write_text(json.dumps({"svn": "1", "report_data": ""}))
    assert "--coco" in str(getattr(run(path).exception, "advice", ""))
    assert isinstance(run(path, "--coco", "sample").exception, UnsupportedEvidence)
    assert isinstance(run(path, "--coco", "none").exception, InputError)


def test_document_as_long_as_a_report_is_a_document() -> None:
    body = b'{"tee":"tpm","quote":"","signature":"","ak_public":"","pcrs":{}}'
    assert isinstance(inspection.recognise(body.ljust(1184)), TpmEvidence)


def test_text_keeps_control_characters_out_of_a_terminal() -> None:
    check = Check("x", Verdict.FAIL, observed="\x1b[2J")
    assert "\x1b" not in "".join(verify_text._check(check))


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=1300) | st.binary(min_size=1184, max_size=1184))
def test_any_file_gives_evidence_or_a_typed_error(data: bytes) -> None:
    try:
        inspection.recognise(data)
    except TouchstoneError:
        pass


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200))
def test_any_reference_file_gives_values_or_a_typed_error(data: bytes) -> None:
    try:
        inspection.parse_references(data)
    except TouchstoneError:
        pass
