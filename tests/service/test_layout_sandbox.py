"""The sandbox that inspections of in-toto layouts run in."""

from __future__ import annotations

import hashlib
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from common.errors import InvalidSetting
from provenance.errors import ArtifactRuleFailed, InspectionFailed, LayoutMalformed
from provenance.layout.model import Artifacts
from service import layout_sandbox
from service.errors import SandboxUnavailable
from service.layout_sandbox import SandboxRunner
from tests.components import require
from tests.provenance.layout import chains
from tests.provenance.layout.chains import OWNER

FILES = {"vmlinuz": b"kernel", "doc/read.me": b"text"}


@pytest.fixture(autouse=True)
def _sandbox() -> None:
    require(layout_sandbox.is_available(), "no unprivileged namespaces, or no util-linux")


def _sh(script: str, files: dict[str, bytes] | None = None, **values: Any) -> layout_sandbox.InspectionRun:
    return SandboxRunner(FILES if files is None else files, **values).run(("sh", "-c", script))


def _digests(files: dict[str, bytes]) -> Artifacts:
    return {path: {"sha256": hashlib.sha256(data).hexdigest()} for path, data in files.items()}


def test_the_command_sees_the_product_and_what_it_leaves_is_recorded() -> None:
    ran = _sh('[ "$(cat vmlinuz)" = kernel ] && echo new >made && rm doc/read.me')
    assert ran.status == 0
    assert ran.materials == _digests(FILES)
    assert ran.products == _digests({"vmlinuz": b"kernel", "made": b"new\n"})


def test_each_run_begins_with_the_same_files() -> None:
    runner = SandboxRunner(FILES)
    assert runner.run(("rm", "vmlinuz")).products == _digests({"doc/read.me": b"text"})
    assert runner.run(("true",)).products == _digests(FILES)


@pytest.mark.parametrize(
    ("command", "status"), [(("true",), 0), (("false",), 1), (("no-such-command",), 127)]
)
def test_the_exit_status_is_the_command_s(command: tuple[str, ...], status: int) -> None:
    assert SandboxRunner(FILES).run(command).status == status


def test_arguments_are_no_shell_text(tmp_path: Path) -> None:
    runner = SandboxRunner(FILES)
    assert runner.run(("test", "$(touch pwned)", "=", "$(touch pwned)")).products == _digests(FILES)
    assert runner.run(("true", "; touch pwned", "`touch pwned`")).products == _digests(FILES)


def test_nothing_outside_is_seen_or_changed(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    secret = tmp_path / "secret"
    secret.write_text("x")
    for script in (f"touch {canary}", f"cat {secret}", "touch /usr/canary", "mount -o remount,rw /usr"):
        assert _sh(script).status != 0, script
    assert _sh("ls /usr/bin").status == 0
    for hidden in ("/home", "/root", "/etc", "/proc", "/sys", "/var", "/tmp", str(tmp_path)):
        assert _sh(f"ls {hidden}").status != 0, hidden
    assert not canary.exists()


def test_the_environment_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHSTONE_SECRET", "x")
    assert _sh('[ -z "${TOUCHSTONE_SECRET:-}" ]').status == 0


def test_there_is_no_network() -> None:
    python = Path("/usr/bin/python3")
    require(python.exists(), "no interpreter at /usr/bin/python3 to open a connection with")
    run = SandboxRunner({}).run
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        connect = f"import socket; socket.create_connection({address!r}, 2)"
        assert run((str(python), "-I", "-c", "import socket; socket.socket().close()")).status == 0
        assert run((str(python), "-I", "-c", connect)).status != 0


def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started() -> None:
    with pytest.raises(InspectionFailed, match="longer"):
        _sh("sleep 31.4159 & sleep 31.4159", timeout_s=0.5)
    deadline = time.monotonic() + 5
    while _running(b"31.4159") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _running(b"31.4159") == []


def _running(text: bytes) -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            continue
    return [line for line in found if text in line]


@pytest.mark.parametrize("script", ["ln -s /usr/bin/true link", "mkfifo pipe"])
def test_only_files_may_be_left(script: str) -> None:
    with pytest.raises(InspectionFailed):
        _sh(script)


def test_a_file_larger_than_the_limit_cannot_be_made() -> None:
    assert _sh("dd if=vmlinuz of=large bs=1 seek=268435456 2>&1").status != 0


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_sandbox, "MAX_FILES", 3)
    with pytest.raises(InspectionFailed):
        _sh("touch a b c d")


@pytest.mark.parametrize("path", ["../out", "/out", "a/../b", ""])
def test_a_product_s_path_stays_inside(path: str) -> None:
    with pytest.raises(LayoutMalformed):
        SandboxRunner({path: b""})


def test_a_file_that_is_also_a_folder_is_refused() -> None:
    with pytest.raises(InspectionFailed):
        SandboxRunner({"a": b"", "a/b": b""}).run(("true",))


def test_a_time_limit_is_positive() -> None:
    with pytest.raises(InvalidSetting):
        SandboxRunner({}, timeout_s=0)


def test_without_the_tools_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_sandbox, "_PATH", "/nonexistent")
    with pytest.raises(SandboxUnavailable):
        SandboxRunner(FILES).run(("true",))
    assert not layout_sandbox.is_available()


def test_where_the_sandbox_cannot_be_built_the_command_does_not_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(layout_sandbox, "_SETUP", 'exec false "$@"')
    with pytest.raises(SandboxUnavailable):
        SandboxRunner(FILES).run(("true",))


def test_an_inspection_decides_by_status_and_rules() -> None:
    rules = [
        ["MATCH", "vmlinuz", "WITH", "PRODUCTS", "FROM", "measure"],
        ["DISALLOW", "vmlinuz"],
        ["ALLOW", "*"],
    ]
    digest = hashlib.sha256(b"kernel").hexdigest()
    made = {"vmlinuz": {"sha256": digest}}
    found = {
        chains.path("measure", chains.BOB): chains.signed(chains.link("measure", products=made), chains.BOB)
    }

    def admit(command: list[str], files: dict[str, bytes]) -> None:
        inspection = {"_type": "inspection", "name": "look", "run": command, "expected_materials": rules}
        root = chains.layout(steps=[chains.step("measure", chains.BOB)], inspect=[inspection])
        data = chains.chain(chains.signed(root, OWNER), found)
        chains.admit(data, inspections=SandboxRunner(files))

    admit(["test", "-f", "vmlinuz"], FILES)
    with pytest.raises(InspectionFailed):
        admit(["test", "-f", "initrd"], FILES)
    with pytest.raises(ArtifactRuleFailed):
        admit(["true"], {"vmlinuz": b"another"})
