"""Two independent domains must attest before a guest is affirmed: from the policy to the result."""

from __future__ import annotations

import json
from typing import Any

from testkit.authority import TestKey
from tests.service.world import GOOD, OTHER, Publisher, World

KEYS = {name: TestKey() for name in ("a1", "a2", "b")}


def trust(world: World, **changes: Any) -> None:
    document = Publisher().trust_policy() | {
        "roots": [key.root(name) for name, key in KEYS.items()],
        "signers": [{"name": name, "root": name, "domain": name[0]} for name in KEYS],
        "required_domains": 2,
    }
    body = {"text": json.dumps(document | changes), "activate": True}
    assert world.client.put("/v1/policies/trust/default", body).status == 201


def publish(world: World, name: str, measurement: bytes = GOOD) -> None:
    answer = world.client.post("/v1/attestations", Publisher(KEYS[name]).submission(measurement))
    assert answer.status == 201, answer.body


def status(world: World) -> str:
    return str(world.guest().appraise(GOOD).json["status"])


def test_value_counts_once_two_domains_attest_it(world: World) -> None:
    trust(world)
    publish(world, "a1")
    assert status(world) == "contraindicated"
    publish(world, "a2")
    assert status(world) == "contraindicated"
    publish(world, "b", OTHER)
    assert status(world) == "contraindicated"
    publish(world, "b")
    assert status(world) == "affirming"


def test_one_domain_is_enough_where_the_policy_says_so(world: World) -> None:
    trust(world, required_domains=1)
    publish(world, "a1")
    assert status(world) == "affirming"
