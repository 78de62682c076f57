"""One guest and one KBS for the tests that change neither."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.guest_agent.daemon.kbs import Kbs
from tests.guest_agent.daemon.running import Guest


@pytest.fixture(scope="module")
def kbs() -> Iterator[Kbs]:
    with Kbs() as running:
        running.resources = {
            "default/test/dummy": b"1234567890abcde\n",
            "default/key/kek": bytes(range(32)),
            "default/key/short": b"too short",
        }
        running.denied.add("default/test/denied")
        yield running


@pytest.fixture(scope="module")
def guest(kbs: Kbs) -> Iterator[Guest]:
    with Guest(kbs.url, attestation_service={"url": kbs.url}) as running:
        yield running
