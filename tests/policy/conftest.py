"""Both engines, the OPA server being a real one on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from policy.opa_engine import OpaEngine
from policy.port import PolicyEngine
from policy.regorus_engine import RegorusEngine
from testkit.opa import OpaServer, find_opa


@pytest.fixture(scope="session")
def opa_server() -> Iterator[OpaServer]:
    if find_opa() is None:
        reason = "no OPA binary: run `make opa`, or set TOUCHSTONE_OPA"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with OpaServer() as server:
        yield server


@pytest.fixture(params=["regorus", "opa"])
def engine(request: pytest.FixtureRequest) -> PolicyEngine:
    if request.param == "regorus":
        return RegorusEngine()
    return OpaEngine(request.getfixturevalue("opa_server").url)


@pytest.fixture
def both(opa_server: OpaServer) -> tuple[PolicyEngine, PolicyEngine]:
    return RegorusEngine(), OpaEngine(opa_server.url)
