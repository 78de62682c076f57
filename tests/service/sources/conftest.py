"""A server that trusts the test authority, and registries and folders for it to pull from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from provenance.oci.signature import PREDICATE_TYPE
from service.app import create_app
from service.composition import Services
from testkit.authority import TestAuthority
from tests.provenance.builds import policy
from tests.service.harness import Clock, ContractClient

# One moment after the signatures of tests.provenance.builds.
LATER = datetime(2026, 1, 3, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock(LATER)


@pytest.fixture(scope="session")
def authority() -> TestAuthority:
    return TestAuthority("ours", start=datetime(2026, 1, 1, tzinfo=UTC))


@dataclass
class Site:
    """A server with sources."""

    services: Services
    client: ContractClient
    authority: TestAuthority

    def trust(self, **changes: Any) -> None:
        root = {
            "name": "ours",
            "kind": "sigstore",
            "trusted_root": self.authority.trusted_root(),
            "legacy_bundles": True,
        }
        types = ["https://slsa.dev/provenance/v1", PREDICATE_TYPE]
        document = json.loads(
            policy(None, **({"roots": [root], "predicate_types": types} | changes)).to_json()
        )
        answer = self.client.put(
            "/v1/policies/trust/default", {"text": json.dumps(document), "activate": True}
        )
        assert answer.status == 201, answer.body

    def attestations(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.client.get("/v1/attestations").json["items"]
        return items

    def sources(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.client.get("/v1/sources").json["items"]
        return items


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(make_services: Any, prepared: Path, authority: TestAuthority) -> MakeSite:
    def make(*sources: dict[str, Any], trusting: bool = True, **registry: Any) -> Site:
        sections = {"sources": list(sources), "registry": {"plain_http_loopback": True} | registry}
        services = make_services(**sections)
        token = (prepared / "admin.token").read_text(encoding="ascii").strip()
        site = Site(services, ContractClient(create_app(services), token), authority)
        if trusting:
            site.trust()
        return site

    return make
