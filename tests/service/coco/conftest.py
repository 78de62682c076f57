from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from service import composition
from service.app import create_app
from service.composition import Services
from service.settings import build
from tests.service.coco.kbs import SVN, Administrator, Guest
from tests.service.harness import Clock

SECRET = b"1234567890abcde\n"
DEVELOPMENT: dict[str, Any] = {
    "profile": "development",
    "sample": {"enabled": True},
    "coco": {"declared_reference_values": True},
}
ALLOW_SAMPLE = """package policy

default allow := false

allow if {
	data.plugin == "resource"
	input.submods.cpu0["ear.status"] == "affirming"
}
"""


@dataclass
class Kbs:
    """A server with an administrator; guests are made as they are needed."""

    services: Services
    http: FlaskClient
    clock: Clock
    admin: Administrator

    def guest(self, tee: str = "sample") -> Guest:
        return Guest(self.http, tee)


def make(folder: Path, settings: dict[str, Any] = DEVELOPMENT) -> Kbs:
    clock = Clock()
    built = build(settings | {"storage": {"data_dir": str(folder / "data")}})
    composition.prepare(built, clock)
    services = composition.build(built, clock)
    token = (folder / "data" / "admin.token").read_text().strip()
    # A client without a cookie jar: the guest keeps its own.
    http = create_app(services).test_client(use_cookies=False)
    return Kbs(services, http, clock, Administrator(http, token))


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Kbs]:
    """As after the first start, in the development profile."""
    kbs = make(tmp_path)
    yield kbs
    kbs.services.close()


@pytest.fixture
def kbs(bare: Kbs) -> Kbs:
    """With reference values, a resource and a policy that gives it to affirming guests."""
    assert bare.admin.reference_values(SVN).status == 200
    assert bare.admin.call("POST", "resource/default/test/dummy", SECRET).status == 200
    assert bare.admin.resource_policy(ALLOW_SAMPLE).status == 200
    return bare
