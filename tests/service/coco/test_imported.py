"""A deployment of the reference, taken over: its guests get their resources as they did there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli import cli
from tests.service.coco.conftest import ALLOW_SAMPLE, DEVELOPMENT, SECRET, make
from tests.service.coco.kbs import SVN

RESOURCE = "default/test/dummy"


@pytest.fixture
def deployment(tmp_path: Path) -> Path:
    """Policy, resource and reference values in the reference's LocalFs layout."""
    folder = tmp_path / "trustee"
    for namespace in ("kbs", "repository", "reference_value"):
        (folder / namespace).mkdir(parents=True)
    (folder / "kbs/resource-policy.rego").write_text(ALLOW_SAMPLE)
    (folder / "repository" / RESOURCE.replace("/", "\\x2F")).write_bytes(SECRET)
    for name, value in SVN.items():
        record = {"version": "0.1.0", "name": name, "expiration": "2199-01-01T00:00:00Z", "value": value}
        (folder / "reference_value" / name).write_text(json.dumps(record))
    return folder


def taken_over(deployment: Path, data_dir: Path) -> None:
    options = ["import", "trustee", "--local-fs", str(deployment), "--data-dir", str(data_dir)]
    result = CliRunner().invoke(cli, options)
    assert result.exit_code == 0, result.output


def test_an_imported_resource_is_released_on_imported_reference_values(
    tmp_path: Path, deployment: Path
) -> None:
    taken_over(deployment, tmp_path / "data")
    kbs = make(tmp_path)
    guest = kbs.guest()
    assert guest.attest().status == 200
    answer = guest.call("GET", f"resource/{RESOURCE}")
    assert answer.status == 200, answer.body
    assert guest.open(answer.json) == SECRET
    kbs.services.close()


def test_without_the_switch_imported_reference_values_release_nothing(
    tmp_path: Path, deployment: Path
) -> None:
    taken_over(deployment, tmp_path / "data")
    kbs = make(tmp_path, DEVELOPMENT | {"coco": {}})
    guest = kbs.guest()
    assert guest.attest().status == 200
    assert guest.call("GET", f"resource/{RESOURCE}").status == 403
    kbs.services.close()
