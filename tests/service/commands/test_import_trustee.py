"""``touchstone import trustee`` on a real data folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from policy.port import PolicyKind
from policy.store import PolicyStore
from service.cli import cli
from storage.database import Database

POLICY = 'package policy\n\ndefault allow = false\n\nallow if data.plugin == "resource"\n'


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    for namespace in ("kbs", "repository", "reference_value"):
        (folder / namespace).mkdir(parents=True)
    (folder / "kbs/resource-policy.rego").write_text(POLICY)
    (folder / "repository/default\\x2Fkey\\x2F1").write_bytes(b"a secret of theirs")
    record = {"version": "0.1.0", "name": "svn", "expiration": "2199-01-01T00:00:00Z", "value": ["1"]}
    (folder / "reference_value/svn").write_text(json.dumps(record))
    return folder


def run(tmp_path: Path, *arguments: object) -> Result:
    data = tmp_path / "data"
    return CliRunner().invoke(
        cli, ["import", "trustee", *map(str, arguments), "--data-dir", str(data)], env=dict(os.environ)
    )


def test_a_folder_is_taken_over_and_again(tmp_path: Path, store: Path) -> None:
    first = run(tmp_path, "--local-fs", store)
    assert first.exit_code == 0, first.output
    assert "3 stored" in first.output
    assert "a secret of theirs" not in first.output
    again = run(tmp_path, "--local-fs", store, "--json")
    assert json.loads(again.output)["counts"] == {"unchanged": 3}
    database = Database(f"sqlite:///{next((tmp_path / 'data').glob('*.db'))}")
    try:
        active = PolicyStore(database).active(PolicyKind.RESOURCE, "resource-policy")
    finally:
        database.close()
    assert active.text == POLICY
    assert active.created_by.startswith("import:")


def test_a_configuration_names_the_folder(tmp_path: Path, store: Path) -> None:
    config = tmp_path / "kbs-config.toml"
    config.write_text(
        "[storage_backend]\nstorage_type = 'LocalFs'\n"
        f"[storage_backend.backends.local_fs]\ndir_path = '{store}'\n"
        "[attestation_service]\ntype = 'coco_as_builtin'\n"
        "[[plugins]]\nname = 'resource'\nstorage_backend_type = 'Vault'\n"
    )
    answer = run(tmp_path, "--kbs-config", config, "--dry-run", "--json")
    assert answer.exit_code == 0, answer.output
    report = json.loads(answer.output)
    assert report["counts"] == {"would-store": 3}
    assert len(report["notes"]) == 1


def test_a_refusal_is_in_the_exit_code(tmp_path: Path, store: Path) -> None:
    (store / "kbs/resource-policy.rego").write_text("package policy\n\nallow { true }\n")
    answer = run(tmp_path, "--local-fs", store)
    assert answer.exit_code == 1
    assert "`if` keyword is required" in answer.output
    assert "1 refused, 2 stored" in answer.output


def test_nothing_to_take_over_is_a_usage_error(tmp_path: Path) -> None:
    assert run(tmp_path).exit_code == 2
