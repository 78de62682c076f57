"""The settings' sources: refused at start where they cannot be meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import InvalidSetting, NotFound
from provenance.oci.errors import RegistryCredentialsInvalid
from service import settings
from service.sources import plan

REGISTRY = {"name": "images", "kind": "registry", "reference": "registry.test/acme/cvm:v1"}
FOLDER = {"name": "files", "kind": "directory", "path": "/srv/attestations"}


def build(*sources: dict[str, Any], **registry: Any) -> settings.Settings:
    return settings.build({"sources": list(sources), "registry": registry})


@pytest.mark.parametrize(
    "source",
    [
        REGISTRY | {"reference": "../etc"},
        REGISTRY | {"reference": None},
        REGISTRY | {"path": "/srv"},
        FOLDER | {"path": None},
        FOLDER | {"reference": "registry.test/acme/cvm"},
        FOLDER | {"pattern": "/etc/*"},
        FOLDER | {"pattern": "../*.json"},
        FOLDER | {"pattern": "a/../../*"},
        FOLDER | {"derivation": "/does/not/exist.json"},
    ],
)
def test_a_source_that_cannot_be_meant_is_refused_by_name(source: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting, match=str(source["name"])):
        plan.sources_of(build(source))


@pytest.mark.parametrize(
    "changes", [{"kind": "ftp"}, {"interval_s": 1}, {"name": "a b"}, {"name": ""}, {"unknown": 1}]
)
def test_a_source_of_another_shape_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        build(REGISTRY | changes)


def test_two_sources_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="twice"):
        plan.sources_of(build(REGISTRY, REGISTRY))


def test_credentials_that_cannot_be_read_are_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        plan.check(build(REGISTRY, docker_config=str(tmp_path / "absent.json")))
    config = tmp_path / "config.json"
    config.write_text('{"auths": 1}')
    config.chmod(0o644)
    with pytest.raises(InvalidSetting, match="read by others"):
        plan.check(build(REGISTRY, docker_config=str(config)))
    config.chmod(0o600)
    with pytest.raises(RegistryCredentialsInvalid):
        plan.check(build(REGISTRY, docker_config=str(config)))
    config.write_text("{}")
    plan.check(build(REGISTRY, docker_config=str(config)))


def test_a_derivation_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "launch.json").write_text(json.dumps({"rule": "reference-values"}))
    (source,) = plan.sources_of(build(FOLDER | {"derivation": str(tmp_path / "launch.json")}))
    assert [request.rule for request in source.requests] == ["reference-values"]
    assert (source.kind, source.location) == ("directory", "/srv/attestations/*.json")
