"""The command line: quick help, exit codes, errors with advice, tokens on the server's own machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from common.errors import FetchFailed, InvalidSetting, Malformed, registry
from service import cli
from service.client import RemoteError
from service.commands import output
from service.commands.output import ExitCode


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from service.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **environ},
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Malformed("x"), ExitCode.USAGE),
        (InvalidSetting("x"), ExitCode.CONFIGURATION),
        (FetchFailed("x"), ExitCode.UNAVAILABLE),
        (RemoteError({"code": "statement.untrusted_signer"}, 422), ExitCode.NEGATIVE),
        (RemoteError({"code": "access.scope"}, 403), ExitCode.NEGATIVE),
        (RemoteError({"code": "input.malformed"}, 400), ExitCode.USAGE),
        (RemoteError({"code": "unavailable.database"}, 503), ExitCode.UNAVAILABLE),
        (RemoteError({}, 502), ExitCode.UNAVAILABLE),
    ],
)
def test_exit_code_of_an_error(error: Exception, code: ExitCode) -> None:
    assert output.exit_code_of(error) is code


def test_refusal_by_a_verifier_is_a_negative_verdict() -> None:
    import verifier.errors

    assert verifier.errors.SignatureInvalid.code in registry()
    assert output.exit_code_of(verifier.errors.SignatureInvalid("x")) is ExitCode.NEGATIVE


def test_help_imports_no_server() -> None:
    program = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from service.cli import cli\n"
        "result = CliRunner().invoke(cli, ['--help'])\n"
        "assert result.exit_code == 0, result.output\n"
        "heavy = {'flask', 'sqlalchemy', 'sigstore', 'pydantic', 'regorus', 'cryptography'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_lists_every_command_and_each_can_be_imported() -> None:
    listed = CliRunner().invoke(cli.cli, ["--help"]).output
    for name in cli.cli.list_commands(None):
        assert f"  {name}" in listed
        assert CliRunner().invoke(cli.cli, [name, "--help"]).exit_code == 0, name


def test_unknown_command_is_wrong_usage() -> None:
    assert run("nonsense").returncode == ExitCode.USAGE


def test_wrong_configuration_ends_with_its_code_and_advice(tmp_path: Path) -> None:
    config = tmp_path / "touchstone.toml"
    config.write_text("[server]\nlistne = 'x'\n")
    done = run("serve", "--config", str(config))
    assert done.returncode == ExitCode.CONFIGURATION
    assert "server.listne" in done.stderr
    assert "[configuration.invalid]" in done.stderr
    assert "next:" in done.stderr
    assert "Traceback" not in done.stderr


def test_json_error_is_a_document_on_standard_output(tmp_path: Path) -> None:
    done = run("token", "list", "--json", "--config", str(tmp_path / "absent.toml"))
    assert done.returncode == ExitCode.USAGE
    assert json.loads(done.stdout)["error"]["code"] == "input.not_found"


def test_table_is_as_wide_as_its_cells() -> None:
    assert output.table(("A", "B"), [("long", "x")]) == "A     B\nlong  x"
