"""Real CC event logs of other projects, and mutations of them, through the conformance runner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.checks import Checks
from service.conformance.ccel import KINDS, run_case
from service.conformance.runner import cases_of
from verifier.ccel import check_event_log
from verifier.ccel.table import parse_table
from verifier.errors import EventLogMismatch

COUNTS = {"manifest.json": 6, "mutations.json": 18}


@pytest.mark.parametrize("manifest", COUNTS)
def test_every_case_agrees_with_the_manifest(vectors: Path, manifest: str) -> None:
    folder = vectors / "evidence"
    outcomes = [run_case(case, folder) for case in cases_of(folder / manifest) if case["tee"] in KINDS]
    assert len(outcomes) >= COUNTS[manifest]
    assert [outcome for outcome in outcomes if not outcome.agree] == []
    assert all(outcome.got != "unsupported" for outcome in outcomes)


def _tdx(vectors: Path, name: str) -> tuple[bytes, dict[int, bytes]]:
    cases = json.loads((vectors / "evidence" / "manifest.json").read_bytes())["cases"]
    case = next(item for item in cases if item["id"] == f"tdx/{name}")
    claims = case["expect"]["claims"]
    registers = {index + 1: bytes.fromhex(claims[f"rtmr{index}"]) for index in range(4)}
    return (vectors / "evidence" / case["files"]["eventlog"]).read_bytes(), registers


def test_the_log_of_a_real_quote_leads_to_all_four_registers(vectors: Path) -> None:
    data, registers = _tdx(vectors, "v4-cos113-gotdxguest")
    checks = Checks()
    claims = check_event_log(data, registers, algorithm="sha384", checks=checks, name="tdx")
    assert not checks.failures
    summary = claims["event_log"]
    assert summary["events"] == 43
    assert summary["secure_boot"] is False
    assert summary["exit_boot_services"] is True
    assert [digest[:8] for digest in summary["images"]] == ["5a10026c", "b1fb7f4c"]
    commands = [entry["measured"] for entry in claims["uefi_event_logs"] if "measured" in entry]
    assert commands[0] == "defaultA=2"


def test_the_log_beside_another_quote_does_not(vectors: Path) -> None:
    data, registers = _tdx(vectors, "v4-spr-debug-trustee")
    with pytest.raises(EventLogMismatch, match=r"registers \[1, 2\]"):
        check_event_log(data, registers, algorithm="sha384", checks=Checks(), name="tdx")


def test_the_acpi_table_of_that_guest_is_read(vectors: Path) -> None:
    data = (vectors / "evidence" / "tdx" / "v4-cos113-gotdxguest" / "ccel_table.dat").read_bytes()
    table = parse_table(data)
    assert (table.oem_id, table.oem_table_id) == ("INTEL", "EDK2")
    assert (table.cc_type, table.log_area_bytes, table.log_area_address) == (2, 0x40000, 0xBEDBF000)
