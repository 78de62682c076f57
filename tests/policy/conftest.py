"""Both engines, the OPA server being a real one on loopback."""

from __future__ import annotations

import pytest

from policy.opa_engine import OpaEngine
from policy.port import PolicyEngine
from policy.regorus_engine import RegorusEngine
from testkit.opa import OpaServer


@pytest.fixture(params=["regorus", "opa"])
def engine(request: pytest.FixtureRequest) -> PolicyEngine:
    if request.param == "regorus":
        return RegorusEngine()
    return OpaEngine(request.getfixturevalue("opa_server").url)


@pytest.fixture
def both(opa_server: OpaServer) -> tuple[PolicyEngine, PolicyEngine]:
    return RegorusEngine(), OpaEngine(opa_server.url)
