"""``touchstone policy check`` and ``test`` on trust policies and on both engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from common.errors import InputError, TouchstoneError
from service.cli import cli
from testkit.opa import OpaServer
from tests.service.world import Publisher

APPRAISAL = 'package policy\n\ntrust_claims := {"hardware": 2}\n'
TRUST = 'package trust\n\ndefault allow := false\n\nallow if input.predicate_type == "x"\n'


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["policy", *map(str, arguments)])


def trust_policy(folder: Path, rego: str | None) -> Path:
    document: dict[str, Any] = Publisher().trust_policy()
    if rego is not None:
        document["rego"] = rego
    file = folder / "trust.json"
    file.write_text(json.dumps(document))
    return file


def test_both_engines_are_asked(opa_server: OpaServer, tmp_path: Path) -> None:
    file = tmp_path / "policy.rego"
    file.write_text(APPRAISAL)
    assert run("check", file, "--opa", opa_server.url).exit_code == 0
    cases = {"cases": [{"name": "a", "input": {}, "expect": {"trust_claims": {"hardware": 2}}}]}
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    result = run("test", file, "--cases", tmp_path / "cases.json", "--opa", opa_server.url, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["passed"] == 2


def test_opa_server_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    file = tmp_path / "policy.rego"
    file.write_text(APPRAISAL)
    result = run("check", file, "--opa", "http://127.0.0.1:1")
    assert isinstance(result.exception, TouchstoneError)
    assert result.exception.code.startswith("unavailable.")


def test_trust_policy_is_checked_with_the_rego_in_it(tmp_path: Path) -> None:
    assert run("check", trust_policy(tmp_path, None), "--kind", "trust").exit_code == 0
    assert run("check", trust_policy(tmp_path, TRUST), "--kind", "trust").exit_code == 0
    assert run("check", trust_policy(tmp_path, "package other"), "--kind", "trust").exit_code == 1


def test_trust_policy_that_is_none_is_a_typed_error(tmp_path: Path) -> None:
    file = tmp_path / "trust.json"
    file.write_text('{"version": 1}')
    assert isinstance(run("check", file, "--kind", "trust").exception, TouchstoneError)


@pytest.mark.parametrize("data", [b"\xff\xd8\xff\xe0 a JPEG", None])
@pytest.mark.parametrize("subcommand", ["check", "test", "explain"])
def test_wrong_file_is_a_typed_error(tmp_path: Path, data: bytes | None, subcommand: str) -> None:
    file = tmp_path / "policy.rego"
    if data is not None:
        file.write_bytes(data)
    (tmp_path / "input.json").write_text("{}")
    (tmp_path / "cases.json").write_text('{"cases": [{"name": "a", "input": {}, "expect": {}}]}')
    options = {
        "check": (),
        "test": ("--cases", tmp_path / "cases.json"),
        "explain": ("--input", tmp_path / "input.json"),
    }
    result = run(subcommand, file, *options[subcommand])
    assert isinstance(result.exception, InputError)


def test_explain_shows_where_a_clause_failed(tmp_path: Path) -> None:
    file = tmp_path / "policy.rego"
    file.write_text(
        "package policy\n\ndefault hardware := 97\n\nhardware := 2 if input.snp.vmpl == 0\n\n"
        'trust_claims := {"hardware": hardware}\n'
    )
    (tmp_path / "input.json").write_text('{"snp": {"vmpl": 3}}')
    result = run("explain", file, "--input", tmp_path / "input.json")
    assert result.exit_code == 0
    assert "line 5: data.policy.hardware failed at: input.snp.vmpl == 0" in result.stdout
    (tmp_path / "input.json").write_text("[")
    assert isinstance(run("explain", file, "--input", tmp_path / "input.json").exception, TouchstoneError)
