"""``touchstone layout`` through the real entry point."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from service import layout_sandbox
from tests.components import require
from tests.provenance.layout import chains
from tests.provenance.layout.chains import ALICE, OWNER

_TOUCHSTONE = Path(sys.executable).with_name("touchstone")
AT = "2026-01-02T03:04:05Z"


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_TOUCHSTONE, "layout", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What in-toto leaves, with an inspection that would write a file."""
    inspect = [{"_type": "inspection", "name": "look", "run": ["touch", str(tmp_path / "canary")]}]
    work = tmp_path / "chain"
    work.mkdir()
    root = chains.signed(chains.layout(inspect=inspect), OWNER)
    (work / "root.layout").write_text(json.dumps(root))
    for path, document in chains.links().items():
        (work / path).write_text(json.dumps(document))
    (work / "look.link").write_text("{}")
    (work / "other.txt").write_text("no link")
    (tmp_path / "trust.json").write_bytes(chains.policy().to_json())
    return work


def test_a_folder_becomes_one_document(folder: Path, tmp_path: Path) -> None:
    ran = _run("bundle", folder, "-o", tmp_path / "chain.json", "--json")
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert answer["links"] == sorted(chains.links())
    assert answer["left_out"] == ["look.link"]
    with pytest.raises(Exception, match="sandbox"):
        chains.admit((tmp_path / "chain.json").read_bytes())


def test_a_folder_without_a_layout_or_with_a_bad_link_is_refused(folder: Path, tmp_path: Path) -> None:
    assert _run("bundle", tmp_path, "-o", tmp_path / "out.json").returncode == 2
    (folder / chains.path("build", ALICE)).write_text('{"signed": {}, "signed": {}}')
    ran = _run("bundle", folder, "-o", tmp_path / "out.json", "--json")
    assert ran.returncode == 1
    assert json.loads(ran.stdout or ran.stderr)["error"]["code"] == "statement.layout"
    assert not (tmp_path / "out.json").exists()


def test_verify_runs_no_command_unless_a_sandbox_is_asked_for(folder: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "chain.json"
    assert _run("bundle", folder, "-o", bundle).returncode == 0
    ran = _run("verify", bundle, "--policy", tmp_path / "trust.json", "--at", AT, "--json")
    assert ran.returncode == 1
    assert json.loads(ran.stdout or ran.stderr)["error"]["code"] == "statement.layout_inspection"
    assert not (tmp_path / "canary").exists()


def test_verify_runs_inspections_in_the_sandbox(folder: Path, tmp_path: Path) -> None:
    require(layout_sandbox.is_available(), "no unprivileged namespaces, or no util-linux")
    inspect = [{"_type": "inspection", "name": "look", "run": ["test", "-f", "vmlinuz"]}]
    (folder / "root.layout").write_text(json.dumps(chains.signed(chains.layout(inspect=inspect), OWNER)))
    bundle, product = tmp_path / "chain.json", tmp_path / "product"
    product.mkdir()
    (product / "vmlinuz").write_text("kernel")
    assert _run("bundle", folder, "-o", bundle).returncode == 0
    arguments = ("verify", bundle, "--policy", tmp_path / "trust.json", "--at", AT, "--sandbox", product)
    ran = _run(*arguments)
    assert ran.returncode == 0, ran.stderr
    assert "functionary" in ran.stdout
    (product / "vmlinuz").unlink()
    assert _run(*arguments).returncode == 1
    assert [path.name for path in product.iterdir()] == []
