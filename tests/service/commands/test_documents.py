"""docs/cli.md and docs/api.md against the code: every command and option named, every example runs."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
import pytest

from service.api import TABLES
from service.cli import cli
from service.openapi import openapi_path
from testkit.snp_firmware import SnpFirmware
from tests.service.running import RunningServer
from tests.service.world import GOOD, Publisher, firmware_settings

_DOCS = Path(__file__).resolve().parents[3] / "docs"
_CLI = (_DOCS / "cli.md").read_text(encoding="utf-8")
_API = (_DOCS / "api.md").read_text(encoding="utf-8")
_ROUTES = {(route.method, openapi_path(route.path)) for table in TABLES for route in table.routes}


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
        else:
            found.append(((*path, name), command))
    return found


def section_of(name: str) -> str:
    """The part of the manual about a top-level command, and the common part above them all."""
    start = _CLI.index(f"\n## {name}\n")
    end = _CLI.find("\n## ", start + 1)
    return _CLI[: _CLI.index("\n## serve\n")] + _CLI[start : None if end < 0 else end]


def options(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))


@pytest.mark.parametrize(
    ("path", "command"),
    commands(cli),
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_manual_has_an_example_and_every_option_of_a_command(
    path: tuple[str, ...], command: click.Command
) -> None:
    section = section_of(path[0])
    examples = "".join(re.findall(r"```\n(.*?)```", section, re.DOTALL))
    assert re.search(rf"touchstone {' '.join(path)}\b", examples)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert set(parameter.opts) & options(section), parameter.opts


def test_every_command_but_serve_can_answer_with_json() -> None:
    without = {
        path for path, command in commands(cli) if not any("--json" in item.opts for item in command.params)
    }
    assert without == {("serve",), ("serve-grpc",)}


@pytest.mark.parametrize("name", sorted({path[0] for path, _ in commands(cli)}))
def test_manual_names_no_option_that_does_not_exist(name: str) -> None:
    known = {"--help"}
    for path, command in commands(cli):
        if path[0] == name:
            known |= {text for item in command.params for text in item.opts}
    section = section_of(name).removeprefix(_CLI[: _CLI.index("\n## serve\n")])
    # Examples pipe in other programs, whose options are none of ours.
    ours = re.sub(r"^gpg [^|]*\|", "", section, flags=re.MULTILINE)
    assert options(ours) <= known


def test_api_guide_names_only_routes_that_exist() -> None:
    named = set(re.findall(r"\b(GET|POST|PUT|DELETE) (/[\w/{}.-]+)", _API))
    assert named
    assert named <= _ROUTES
    paths = {re.sub(r"\{\w+\}", "{}", path) for _, path in _ROUTES}
    called = re.findall(r'"\$URL(/[\w/.-]+)', _API)
    assert called
    for path in called:
        patterns = [re.sub(r"\\\{\\\}", "[^/]+", re.escape(item)) for item in paths]
        assert any(re.fullmatch(pattern, path) for pattern in patterns), path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server and the files that the guide's examples name."""
    folder = tmp_path_factory.mktemp("site")
    firmware, publisher, now = SnpFirmware(), Publisher(), datetime.now(UTC)
    with RunningServer(folder, firmware_settings(firmware, folder, now), workers=1) as server:
        (folder / "touchstone-data").symlink_to(folder / "data")
        (folder / "trust.json").write_text(json.dumps(publisher.trust_policy()))
        (folder / "build.dsse.json").write_bytes(publisher.envelope(GOOD, now=now))
        (folder / "secret.bin").write_bytes(b"\0secret")
        evidence = firmware.evidence(b"\1" * 64, measurement=GOOD)
        body = {"evidence": evidence, "report_data": "01" * 64, "explain": True}
        (folder / "appraisal.json").write_bytes(msgspec.json.encode(body))
        yield server


@pytest.mark.xdist_group("server")
def test_examples_of_the_api_guide_run_in_their_order(site: RunningServer) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", _API, re.DOTALL)
    script = "set -euo pipefail\n" + "echo '#'\n".join(block + "echo\n" for block in blocks)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=site.folder,
        env={"PATH": "/usr/bin:/bin", "URL": site.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    _, trust, values, resource, challenge, appraisal, retraction, audit = done.stdout.split("#\n")
    assert '"version":1' in trust
    assert GOOD.hex() in values
    assert '"latest_version":1' in resource
    assert '"nonce"' in challenge
    assert '"status":"affirming"' in appraisal
    assert '"reference_values":["rv-' in retraction
    assert '"holds":true' in audit
    assert '"action"' in audit
