"""The OpenAPI document and the code say the same: every route, every status, every body.

``ContractClient`` holds each answer against the document; the tour below makes every operation give
each of its success answers at least once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from common.encoding import b64url_encode
from policy import shipped
from policy.port import PolicyKind
from service import composition, openapi, settings
from service.api import TABLES
from service.app import create_app
from service.feed.key import public_pem
from tests.service.coco.documents import ALLOW_ALL, firmware_document, request
from tests.service.harness import Clock, ContractClient
from tests.service.world import GOOD, OTHER, Publisher, World

ROUTES = [route for table in TABLES for route in table.routes]


def test_document_is_valid_openapi(client: ContractClient) -> None:
    assert client.document["openapi"].startswith("3.1")
    errors = list(OpenAPIV31SpecValidator(client.document).iter_errors())
    assert errors == []


def test_every_served_route_is_described_and_no_other(client: ContractClient) -> None:
    served = {
        (openapi.openapi_path(rule.rule), method)
        for rule in client.app.url_map.iter_rules()
        for method in rule.methods - {"HEAD"}
    }
    described = {
        (path, method.upper()) for path, item in client.document["paths"].items() for method in item
    }
    assert served == described


def test_operation_ids_are_unique() -> None:
    operations = [route.operation for route in ROUTES]
    assert len(operations) == len(set(operations))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation)
def test_every_operation_has_a_summary_and_describes_its_refusals(client: ContractClient, route) -> None:
    item = client.document["paths"][openapi.openapi_path(route.path)][route.method.lower()]
    assert item["summary"].endswith(".")
    assert {str(status) for status in openapi.problem_statuses(route)} <= item["responses"].keys()


def test_server_url_stands_in_the_document() -> None:
    document = openapi.build(TABLES, version="1", url="https://ts.example")
    assert document["servers"] == [{"url": "https://ts.example"}]


def tour(world: World) -> None:
    """Every operation, successfully."""
    client = world.client
    _tour_operations(client)
    first = _tour_attestations(world)
    _tour_policies(client)
    _tour_secrets(world)
    _tour_attestation_service(world)
    _tour_retractions(world, first)
    client.get("/v1/audit", action="secret.put", limit=1)
    client.post("/v1/audit/verify")


def _tour_operations(client: ContractClient) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/.well-known/jwks.json", "/openapi.json"):
        assert client.call("GET", path, token=None).status == 200


def _tour_attestations(world: World) -> dict:
    client = world.client
    first = world.publish(GOOD)
    again = client.post("/v1/attestations", world.published[0])
    assert (again.status, again.json["created"]) == (200, False)
    assert again.json["snapshot"] == first["snapshot"]
    client.get("/v1/attestations", state="active")
    client.get(f"/v1/attestations/{first['attestation']}")
    envelope = client.get(f"/v1/attestations/{first['attestation']}/envelope")
    assert b64url_encode(envelope.body) == world.published[0]["envelope"]
    value = first["reference_values"][0]
    client.get("/v1/reference-values", name="snp_launch_measurement", state="live")
    client.get(f"/v1/reference-values/{value}")
    lineage = client.get(f"/v1/reference-values/{value}/lineage").json
    assert lineage["attestation"] == first["attestation"]
    client.get("/v1/reference-values/history", id=value)
    return first


def _tour_policies(client: ContractClient) -> None:
    text = shipped.load(PolicyKind.RELEASE, "default").text
    client.get("/v1/policies")
    put = client.put("/v1/policies/release/strict", {"text": text})
    assert put.status == 201
    client.post("/v1/policies/release/strict/activate", {"version": 1})
    client.put("/v1/policies/release/strict", {"text": text + "\n# two\n", "activate": True})
    client.get("/v1/policies/release/strict")
    client.get("/v1/policies/release/strict", version=1)
    versions = client.get("/v1/policies/release/strict/versions").json
    assert [item["version"] for item in versions["items"]] == [2, 1]
    back = client.post("/v1/policies/release/strict/rollback", {"expected": 2})
    assert back.json["version"] == 1


def _tour_attestation_service(world: World) -> None:
    client = world.client
    document = firmware_document(world.firmware, measurement=GOOD)
    assert client.post("/attestation", {"verification_requests": [request(document)]}).status == 200
    policy = {"policy_id": "tour_cpu", "policy": b64url_encode(ALLOW_ALL.encode())}
    assert client.post("/policy", policy).status == 200
    assert {"policy-id": "tour_cpu"} in client.get("/policy").json
    assert client.get("/policy/tour_cpu").body == ALLOW_ALL.encode()
    assert client.post("/challenge", {"tee": "snp", "tee_params": ""}).status == 200


def _tour_secrets(world: World) -> None:
    client, guest = world.client, world.guest()
    token = guest.appraise().json["token"]
    resource = "/v1/resources/vault/key/tour"
    client.put(resource, {"data": b64url_encode(b"x"), "expected": 0})
    client.get(resource)
    client.get("/v1/resources")
    assert guest.release(token, resource).status == 200
    assert client.delete(resource).status == 204
    assert client.put("/v1/keys/disk", {}).status == 201
    assert client.post("/v1/keys/disk/rotate", {}).json["version"] == 2
    client.get("/v1/keys")
    client.get("/v1/keys/disk")
    assert client.post("/v1/keys/disk/versions/1/disable").status == 204
    assert client.post("/v1/keys/disk/versions/1/enable").status == 204
    assert guest.release(token, "/v1/keys/disk", version=1).status == 200
    assert client.delete("/v1/keys/disk/versions/1").status == 204
    assert client.delete("/v1/keys/disk").status == 204


def _tour_retractions(world: World, first: dict) -> None:
    client = world.client
    second = world.publish(OTHER, revision="b" * 40)
    value = second["reference_values"][0]
    client.post(f"/v1/reference-values/{value}/retract", {"reason": "wrong value"})
    client.post(f"/v1/attestations/{first['attestation']}/retract", {"reason": "wrong build"})
    body = {"kind": "builder", "target": "https://builder.example/v1", "reason": "compromised"}
    client.post("/v1/retractions", body)
    client.get("/v1/retractions")
    client.get("/v1/impact", kind="builder", target="https://builder.example/v1")
    client.get("/v1/sources")


def _tour_changes(world: World, peer: ContractClient) -> None:
    found = world.client.get("/v1/changes", limit=3).json
    assert world.client.get("/v1/changes/key").json["instance"] == found["instance"]
    taken = peer.post("/v1/changes", {"events": found["events"]}).json
    # The peer trusts nobody's statements: it takes note, and stores nothing.
    assert {item["result"] for item in taken["outcomes"]} <= {"skipped", "applied"}


@pytest.fixture
def peer(world: World, prepared: Path, tmp_path: Path, clock: Clock) -> Iterator[ContractClient]:
    """Another instance, which follows the first."""
    key = tmp_path / "feed-key.pem"
    key.write_text(public_pem(world.services.feed_key))
    folder = tmp_path / "peer"
    shutil.copytree(prepared, folder)
    instance = world.services.settings.token.issuer
    feed = {"peers": [{"instance": instance, "key": str(key)}]}
    services = composition.build(
        settings.build({"storage": {"data_dir": str(folder)}, "feed": feed}), clock
    )
    token = (folder / "admin.token").read_text(encoding="ascii").strip()
    client = ContractClient(create_app(services), token)
    document = json.dumps(Publisher().trust_policy())
    client.put("/v1/policies/trust/default", {"text": document, "activate": True})
    yield client
    services.close()


def test_every_operation_keeps_the_contract_in_every_success_answer(
    world: World, peer: ContractClient
) -> None:
    tour(world)
    _tour_changes(world, peer)
    seen = {item for item in world.client.seen | peer.seen if item[1] < 400}
    described = {(route.operation, status) for route in ROUTES for status in route.answers if status < 400}
    assert described - seen == set()


def test_document_is_plain_json(client: ContractClient) -> None:
    assert json.loads(json.dumps(client.document)) == client.document
