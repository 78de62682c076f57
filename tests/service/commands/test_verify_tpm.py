"""``touchstone verify`` on quotes of a real TPM implementation (swtpm)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from common.encoding import b64url_decode, b64url_encode
from common.errors import InputError
from guest_agent.attesters.tpm import TpmAttester
from service.cli import cli
from testkit.swtpm import SwTpm
from tests.components import require_swtpm
from verifier.tpm.names import name_of
from verifier.tpm.public import parse_public
from wire.evidence import TpmEvidence
from wire.rcar import Challenge

pytestmark = pytest.mark.xdist_group("swtpm")
REPORT_DATA = b"\7" * 32


@pytest.fixture(scope="module")
def quoted() -> TpmEvidence:
    require_swtpm()
    challenge = Challenge(
        nonce=b64url_encode(bytes(32)),
        audience="offline",
        expires_at="2099-01-01T00:00:00Z",
        pcr_selection={"sha256": [0, 1, 4, 7]},
    )
    with SwTpm() as tpm:
        tpm.measured_boot()
        with TpmAttester(tcti=tpm.tcti, endorse=False) as attester:
            evidence = attester.collect(REPORT_DATA, challenge)
    assert isinstance(evidence, TpmEvidence)
    return evidence


@pytest.fixture
def file(quoted: TpmEvidence, tmp_path: Path) -> Path:
    path = tmp_path / "evidence.json"
    path.write_bytes(msgspec.json.encode(quoted))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["verify", *map(str, arguments)])


def document(result: Result) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(result.stdout)
    return decoded


def test_key_that_nobody_vouches_for_is_refused(file: Path) -> None:
    result = run(file, "--json")
    assert result.exit_code == 1
    assert document(result)["error"]["code"] == "evidence.attestation_key"


@pytest.mark.parametrize("by", ["name", "key"])
def test_trusted_key_by_name_or_digest(file: Path, quoted: TpmEvidence, by: str) -> None:
    public = parse_public(b64url_decode(quoted.ak_public))
    trusted = name_of(public) if by == "name" else hashlib.sha256(public.spki).digest()
    common = (file, "--trusted-ak", trusted.hex())
    found = document(run(*common, "--json"))
    assert found["verdict"] == "authentic"
    assert found["bound"] == "unbound"
    bound = run(*common, "--report-data", REPORT_DATA.hex(), "--pcrs", "sha256:7,4,1,0", "--json")
    assert bound.exit_code == 0, bound.stdout
    assert document(bound)["bound"] == "report-data"
    assert document(bound)["claims"]["tpm"]["ak_trust"] == by
    assert "pcr07" in run(*common, "--explain").stdout


def test_other_nonce_or_registers_are_refused(file: Path, quoted: TpmEvidence) -> None:
    trusted = name_of(parse_public(b64url_decode(quoted.ak_public))).hex()
    common = (file, "--trusted-ak", trusted, "--report-data")
    assert run(*common, REPORT_DATA.hex()).exit_code == 0
    stale = run(*common, bytes(32).hex())
    assert stale.exit_code == 1
    assert "[evidence.report_data]" in stale.stdout
    fewer = run(*common, REPORT_DATA.hex(), "--pcrs", "sha256:0,1,4,7,8")
    assert fewer.exit_code == 1
    assert "[evidence.pcr]" in fewer.stdout


def test_registers_without_a_number_are_a_typed_error(quoted: TpmEvidence, tmp_path: Path) -> None:
    trusted = name_of(parse_public(b64url_decode(quoted.ak_public))).hex()
    path = tmp_path / "evidence.json"
    for pcrs in ({"sha256": {"zero": "00" * 32}}, {}, {"sha1": {"0": "00" * 20}}):
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(quoted, pcrs=pcrs)))
        result = run(path, "--trusted-ak", trusted, "--report-data", REPORT_DATA.hex())
        assert isinstance(result.exception, InputError)
