"""Real registries on loopback, one of each kind for the tests of a process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from testkit.daemon import find_binary
from testkit.registry import PASSWORD, USER, Distribution, OciRegistry, Pusher
from tests.components import require

_NUMBER = itertools.count()
MakePusher = Callable[[], Pusher]


@pytest.fixture(scope="session")
def oci_registry() -> Iterator[OciRegistry]:
    """With the referrers API."""
    require(find_binary("oci-registry"), "no OCI registry: run `make registries`")
    with OciRegistry() as server:
        yield server


@pytest.fixture(scope="session")
def distribution() -> Iterator[Distribution]:
    """Without the referrers API, with an account."""
    require(find_binary("distribution"), "no distribution registry: run `make registries`")
    with Distribution(protected=True) as server:
        yield server


@pytest.fixture
def repository() -> str:
    """A repository that no other test uses."""
    return f"acme/cvm-{next(_NUMBER)}"


@pytest.fixture
def pusher(oci_registry: OciRegistry, repository: str) -> Pusher:
    return Pusher(oci_registry.url, repository)


@pytest.fixture
def account_pusher(distribution: Distribution, repository: str) -> Pusher:
    return Pusher(distribution.url, repository, (USER, PASSWORD))
