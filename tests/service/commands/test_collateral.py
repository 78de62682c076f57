"""``touchstone collateral`` through the real command line: services on loopback, real collateral."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result

from common.encoding import b64url_encode
from common.errors import Conflict, InputError, InvalidSetting, TouchstoneError
from service import collateral
from service.cli import cli
from service.commands.output import exit_code_of
from service.sections_collateral import CollateralSettings
from testkit.vendor_service import Reply, VendorService, chained
from verifier.endorsements.amd_kinds import list_name, vcek_url
from verifier.endorsements.intel_addresses import CHAIN
from verifier.endorsements.intel_import import items_of
from verifier.endorsements.kinds import Sources
from verifier.snp.products import SigningKey, product_of
from verifier.snp.report import parse_report
from verifier.snp.vek import check_vek

SNP_CASES = ("snp/milan-vcek-v3-dstack", "snp/genoa-vcek-v3-veraison", "snp/turin-vcek-v5-anolis")
TDX_CASE = "tdx/v4-cos113-gotdxguest"
FMSPC = "00806f050000"
TCB = f"/tdx/certification/v4/tcb?fmspc={FMSPC}&update=standard"
QE = "/tdx/certification/v4/qe/identity?update=standard"
PCK = "/sgx/certification/v4/pckcrl?ca=platform&encoding=der"
ROOT = "/sgx/certification/v4/rootcacrl"
ADDRESSES = {
    "intel/root-ca.crl": (ROOT, ""),
    "intel/pck-platform.crl": (PCK, "SGX-PCK-CRL-Issuer-Chain"),
    f"intel/tdx/tcb-{FMSPC}.json": (TCB, "TCB-Info-Issuer-Chain"),
    "intel/tdx/qe-identity.json": (QE, "SGX-Enclave-Identity-Issuer-Chain"),
}


def run(*arguments: object) -> tuple[int, Result]:
    """In this process; the exit code of a typed error is the one that ``service.cli.main`` ends with."""
    result = CliRunner().invoke(cli, ["collateral", *map(str, arguments)])
    error = result.exception
    if isinstance(error, TouchstoneError):
        return exit_code_of(error), result
    assert error is None or isinstance(error, SystemExit), error
    return result.exit_code, result


def items(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(result.stdout)["items"]
    return found


def case(vectors: Path, name: str) -> tuple[dict[str, Path], str]:
    """Files of a case and its verification time."""
    manifest = json.loads((vectors / "evidence" / "manifest.json").read_bytes())
    found = next(item for item in manifest["cases"] if item["id"] == name)
    files = {role: vectors / "evidence" / path for role, path in found["files"].items()}
    return files, found["verification_time"]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[VendorService]:
    with VendorService(tmp_path / "service") as running:
        yield running


def asking(service: VendorService, vendor: str, folder: Path, at: str) -> list[object]:
    return [
        "--source", f"{vendor}={service.url}", "--ca-file", service.ca_file, "--allow-private",
        "--folder", folder, "--at", at,
    ]  # fmt: skip


def serve_tdx(service: VendorService, files: dict[str, Path]) -> None:
    """Real collateral, as a PCCS gives it."""
    for item in items_of(files["collateral"].read_bytes()):
        address, header = ADDRESSES[item.name]
        if header:
            service.serve(address, chained(item.data, header, item.companions[CHAIN]))
        else:
            service.serve(address, item.data.hex().encode())


class TestSnp:
    @pytest.mark.parametrize("name", SNP_CASES)
    def test_what_evidence_needs_is_fetched_and_verifies_it_offline(
        self, vectors: Path, tmp_path: Path, service: VendorService, name: str
    ) -> None:
        files, at = case(vectors, name)
        leaf = files["leaf"].read_bytes() if "leaf" in files else _leaf_beside(files["evidence"])
        report = files["evidence"].parent / "report.bin"
        parsed = parse_report(report.read_bytes())
        assert parsed.cpuid is not None
        product = product_of(*parsed.cpuid[:2])
        vek = check_vek(leaf, SigningKey.VCEK, product)
        assert vek.hardware_id is not None
        address = vcek_url(product, vek.hardware_id, vek.tcb, "")
        service.serve(address, leaf)
        store = tmp_path / "store"
        whom = asking(service, "amd", store, at)

        code, result = run("fetch", "snp", "--evidence", report, *whom, "--json")
        outcomes = {item["name"]: item["outcome"] for item in items(result)}
        crl = list_name(product, SigningKey.VCEK)
        # The vectors hold no list of AMD's: the service has none, which is said, and the VCEK is kept.
        assert (code, outcomes.pop(crl), list(outcomes.values())) == (1, "failed", ["new"])

        named = ["--product", product, "--hwid", vek.hardware_id.hex(), "--tcb", parsed.reported_tcb.hex()]
        code, result = run("fetch", "snp", *named, "--signing-key", "VCEK", *whom, "--json")
        assert [item["outcome"] for item in items(result)] == ["failed", "at-hand"]
        assert service.asked == [f"/vcek/v1/{product}/crl", address, f"/vcek/v1/{product}/crl"]

        assert run("verify", "--folder", store, "--at", at)[0] == 0
        verified = CliRunner().invoke(cli, ["verify", str(report), "--collateral", str(store), "--at", at])
        # No typed error: authentic, from the store alone. (What the settings make of Turin's new bits is
        # another matter.)
        assert verified.exception is None or isinstance(verified.exception, SystemExit)

    @pytest.mark.parametrize(
        "options",
        [
            ["--product", "Rome"],
            ["--product", "Milan", "--hwid", "00", "--tcb", "00" * 8],
            ["--product", "Milan", "--hwid", "00" * 64, "--tcb", "bl=1,tee=0,snp=1,ucode=1,fmc=1"],
            ["--product", "Milan", "--hwid", "00" * 64, "--tcb", "bl=1,tee=0,snp=1,ucode=256"],
            ["--product", "Milan", "--hwid", "../" * 20, "--tcb", "00" * 8],
            ["--product", "Milan", "--signing-key", "ASK"],
            [],
            ["--hwid", "00" * 64],
        ],
    )
    def test_parameters_that_are_none_ask_nobody(
        self, tmp_path: Path, service: VendorService, options: list[str]
    ) -> None:
        whom = asking(service, "amd", tmp_path / "store", "2025-06-01T00:00:00Z")
        code, result = run("fetch", "snp", *options, *whom)
        assert code == 2
        assert isinstance(result.exception, InputError)
        assert service.asked == []


class TestIntel:
    def test_a_platform_is_fetched_listed_verified_refreshed_and_carried(
        self, vectors: Path, tmp_path: Path, service: VendorService
    ) -> None:
        files, at = case(vectors, TDX_CASE)
        serve_tdx(service, files)
        store, other = tmp_path / "store", tmp_path / "other"
        whom = asking(service, "intel", store, at)

        code, result = run("fetch", "tdx", "--fmspc", FMSPC.upper(), "--ca", "platform", *whom)
        assert code == 0, result.output
        assert result.stdout.count(" new ") == 4
        assert sorted(service.asked) == sorted([TCB, QE, PCK, ROOT])

        code, result = run("list", "--folder", store, "--at", at)
        assert code == 0
        assert result.stdout.splitlines()[0].split() == [
            "KIND", "SUBJECT", "ISSUED", "UNTIL", "DAYS", "STATE", "NAME",
        ]  # fmt: skip
        code, result = run("list", "--folder", store, "--at", at, "--json")
        assert {
            (item["kind"], item["subject"], item["state"], item.get("number")) for item in items(result)
        } == {
            ("intel.root-crl", "root", "valid", None),
            ("intel.pck-crl", "platform", "valid", None),
            ("tdx.tcb-info", FMSPC, "valid", 17),
            ("tdx.qe-identity", "tdx", "valid", 17),
        }
        assert run("verify", "--folder", store, "--at", at)[0] == 0

        code, result = run("refresh", *whom, "--json")
        assert [item["outcome"] for item in items(result)] == ["same"] * 4
        assert len(service.asked) == 8

        file = tmp_path / "bundle.json"
        code, result = run("export", file, "--folder", store, "--at", at, "--json")
        digest = json.loads(result.stdout)["sha256"]
        code, result = run("import", file, "--folder", other, "--at", at, "--sha256", digest)
        assert (code, result.stdout.count(" new ")) == (0, 4)
        assert run("verify", "--folder", other, "--at", at)[0] == 0

    def test_what_has_expired_or_was_damaged_is_exit_code_1(self, vectors: Path, tmp_path: Path) -> None:
        files, at = case(vectors, TDX_CASE)
        store = tmp_path / "store"
        assert run("import", files["collateral"], "--folder", store, "--at", at)[0] == 0
        later = (datetime.fromisoformat(at) + timedelta(days=60)).isoformat()
        code, result = run("verify", "--folder", store, "--at", later, "--json")
        assert code == 1
        assert sorted(item["state"] for item in items(result)) == ["expired"] * 3 + ["valid"]
        assert run("list", "--folder", store, "--at", later)[0] == 0

        tcb_info = store / f"intel/tdx/tcb-{FMSPC}.json"
        tcb_info.write_bytes(tcb_info.read_bytes().replace(b"UpToDate", b"upToDate", 1))
        code, result = run("verify", "--folder", store, "--at", at, "--json")
        assert code == 1
        states = {item["kind"]: (item["state"], item.get("code")) for item in items(result)}
        assert states["tdx.tcb-info"] == ("invalid", "endorsement.collateral_invalid")
        code, result = run("export", tmp_path / "bundle", "--folder", store, "--at", at, "--json")
        assert [item["kind"] for item in json.loads(result.stdout)["left_out"]] == ["tdx.tcb-info"]

    def test_every_collateral_of_the_vectors_is_imported_and_holds_at_its_time(
        self, vectors: Path, tmp_path: Path
    ) -> None:
        manifest = json.loads((vectors / "evidence" / "manifest.json").read_bytes())
        names = [item["id"] for item in manifest["cases"] if "collateral" in item["files"]]
        assert len(names) > 10
        for place, name in enumerate(names):
            files, at = case(vectors, name)
            store = tmp_path / str(place)
            code, result = run("import", files["collateral"], "--folder", store, "--at", at, "--json")
            assert (code, len(items(result))) == (0, 4), (name, result.output)
            assert run("verify", "--folder", store, "--at", at)[0] == 0

    def test_evidence_says_what_it_needs(self, vectors: Path) -> None:
        for name in (TDX_CASE, "sgx/v3-client-dcapqvl"):
            files, _ = case(vectors, name)
            tee = name.partition("/")[0]
            evidence = SimpleNamespace(quote=b64url_encode(files["evidence"].read_bytes()))
            asks = collateral.asks_for(tee, {}, Sources(), evidence)
            expected = {item.name for item in items_of(files["collateral"].read_bytes())}
            assert {ask.name for ask in asks} == expected

    @pytest.mark.parametrize(
        ("reply", "code"),
        [
            (Reply(status=500), 4),
            (Reply(status=404), 1),
            (Reply(b"<html>"), 1),
            (Reply(status=302, headers={"Location": "https://169.254.169.254/"}), 4),
        ],
    )
    def test_what_fails_is_named_and_the_rest_is_kept(
        self, vectors: Path, tmp_path: Path, service: VendorService, reply: Reply, code: int
    ) -> None:
        files, at = case(vectors, TDX_CASE)
        serve_tdx(service, files)
        service.serve(TCB, reply)
        whom = asking(service, "intel", tmp_path / "store", at)
        found, result = run("fetch", "tdx", "--fmspc", FMSPC, "--ca", "platform", *whom, "--json")
        assert found == code
        outcomes = {item["name"]: item["outcome"] for item in items(result)}
        assert outcomes.pop(f"intel/tdx/tcb-{FMSPC}.json") == "failed"
        assert set(outcomes.values()) == {"new"}


def test_an_import_that_is_altered_or_not_the_one_that_was_meant_writes_nothing(
    vectors: Path, tmp_path: Path
) -> None:
    files, at = case(vectors, TDX_CASE)
    data, store = files["collateral"].read_bytes(), tmp_path / "store"
    file = tmp_path / "collateral.json"
    for altered in (
        data.replace(b"UpToDate", b"upToDate", 1),
        data[:-9],
        data.replace(b'"pck_crl"', b'"pck"'),
    ):
        file.write_bytes(altered)
        assert run("import", file, "--folder", store, "--at", at)[0] in (1, 2)
    file.write_bytes(data)
    assert run("import", file, "--folder", store, "--at", at, "--sha256", "00" * 32)[0] == 2
    assert run("import", file, "--folder", store, "--at", "2030-01-01T00:00:00Z")[0] == 1
    assert not store.exists()


def test_one_item_is_imported_under_its_name(vectors: Path, tmp_path: Path) -> None:
    files, at = case(vectors, TDX_CASE)
    item = next(
        item for item in items_of(files["collateral"].read_bytes()) if item.name.endswith("identity.json")
    )
    body, chain, store = tmp_path / "body", tmp_path / "chain", tmp_path / "store"
    body.write_bytes(item.data)
    chain.write_bytes(item.companions[CHAIN])
    place = ["--folder", store, "--at", at]
    assert run("import", body, "--name", item.name, "--chain", chain, *place)[0] == 0
    assert run("import", body, "--name", "intel/sgx/qe-identity.json", "--chain", chain, *place)[0] == 1
    assert run("import", body, "--name", item.name, *place)[0] == 2
    assert run("import", body, "--name", "../x.json", "--chain", chain, *place)[0] == 2
    assert run("import", body, "--chain", chain, *place)[0] == 2


@pytest.mark.parametrize(
    "source",
    ["amd=http://127.0.0.1", "amd=https://", "amd=https://u@h", "amd", "=https://h", "amd=https://h/?q"],
)
def test_a_source_that_is_none_is_refused(tmp_path: Path, source: str) -> None:
    code, result = run("fetch", "snp", "--product", "Milan", "--folder", tmp_path, "--source", source)
    assert code in (2, 3)
    assert isinstance(result.exception, TouchstoneError)


def test_the_store_is_the_one_of_the_settings(vectors: Path, tmp_path: Path) -> None:
    files, at = case(vectors, TDX_CASE)
    assert run("import", files["collateral"], "--data-dir", tmp_path, "--at", at)[0] == 0
    assert (tmp_path / "collateral/intel/root-ca.crl").is_file()
    code, result = run("list", "--data-dir", tmp_path / "elsewhere")
    assert code == 3
    assert isinstance(result.exception, InvalidSetting)


def test_the_installed_command_says_it_by_exit_code(vectors: Path, tmp_path: Path) -> None:
    files, at = case(vectors, TDX_CASE)
    entry = [sys.executable, "-c", "from service.cli import main; main()", "collateral"]

    def call(*arguments: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*entry, *map(str, arguments)], capture_output=True, check=False, timeout=60)

    assert call("import", files["collateral"], "--folder", tmp_path / "s", "--at", at).returncode == 0
    assert call("verify", "--folder", tmp_path / "s").returncode == 1  # long expired
    missing = call("list", "--folder", tmp_path / "none", "--json")
    assert missing.returncode == 3
    assert json.loads(missing.stdout)["error"]["code"] == "configuration.invalid"


def test_settings_name_the_sources_and_their_hosts() -> None:
    section = CollateralSettings(pcs_urls=("https://pccs.example:8081/",), pcs_update="early")
    sources = collateral.sources_of(section)
    assert sources.of("intel") == ("https://pccs.example:8081",)
    assert sources.of("amd") == ("https://kdsintf.amd.com",)
    assert (sources.update, sources.max_age["intel"]) == ("early", timedelta(days=30))
    assert {urlsplit(url).hostname for url in section.pcs_urls} == {"pccs.example"}


def test_nothing_that_follows_from_nothing_is_a_conflict() -> None:
    with pytest.raises(Conflict):
        collateral.asks_for("snp", {}, Sources(), None)


def _leaf_beside(evidence: Path) -> bytes:
    found = next(evidence.parent.glob("vcek.*"))
    return found.read_bytes()
