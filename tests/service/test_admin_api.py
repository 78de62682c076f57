"""The administrative routes: what they refuse, and that a refusal leaves nothing behind."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from common.encoding import b64url_encode
from policy import shipped
from policy.port import PolicyKind
from service import routing
from service.app import create_app
from service.composition import Services
from service.routing import Answer, RouteTable
from testkit.authority import TestKey
from tests.service.harness import NOW, Clock, ContractClient
from tests.service.world import GOOD, RESOURCE, SECRET, Publisher, World

RELEASE = shipped.load(PolicyKind.RELEASE, "default").text
BAD_IDS = [
    "..",
    "%2e%2e",
    "a..b",
    ".hidden",
    "a%0a",
    "a%00",
    "a%20b",
    "%D0%B0dmin",
    "a%EF%BC%8Fb",
    "%ff",
    "x" * 129,
    "x" * 10_000,
]


# Submissions


def test_nothing_is_admitted_before_an_operator_says_whom_to_trust(client: ContractClient) -> None:
    answer = client.post("/v1/attestations", Publisher().submission(GOOD))
    assert (answer.status, answer.code) == (404, "policy.not_found")


def test_statement_of_an_untrusted_signer_leaves_nothing_behind(world: World) -> None:
    answer = world.client.post("/v1/attestations", Publisher(TestKey()).submission(GOOD))
    assert answer.status == 422
    assert answer.code.startswith("statement.")
    assert world.client.get("/v1/attestations").json["items"] == []
    assert world.client.get("/v1/reference-values").json["items"] == []
    assert world.client.get("/v1/audit", action="attestation.ingest").json["items"] == []


def test_unsigned_statement_is_refused(world: World) -> None:
    envelope = json.loads(world.publisher.envelope(GOOD)) | {"signatures": []}
    body = {"envelope": b64url_encode(json.dumps(envelope).encode())}
    assert world.client.post("/v1/attestations", body).status == 422


@pytest.mark.parametrize("envelope", ["", "!!", "AAAA", b64url_encode(b"{}"), b64url_encode(b"[" * 1000)])
def test_envelope_that_is_none_is_refused(world: World, envelope: str) -> None:
    answer = world.client.post("/v1/attestations", {"envelope": envelope})
    assert answer.status in (400, 413, 422)


def test_retracted_attestation_does_not_come_back(world: World) -> None:
    submitted = world.publish(GOOD)
    world.client.post(f"/v1/attestations/{submitted['attestation']}/retract", {"reason": "x"})
    answer = world.client.post("/v1/attestations", world.published[0])
    assert (answer.status, answer.code) == (409, "reference.retracted")


def test_second_retraction_changes_nothing_and_is_not_recorded_again(world: World) -> None:
    path = f"/v1/attestations/{world.publish(GOOD)['attestation']}/retract"
    first = world.client.post(path, {"reason": "x"}).json
    second = world.client.post(path, {"reason": "y"}).json
    assert (first["created"], second["created"]) == (True, False)
    assert first["snapshot"] == second["snapshot"]
    assert len(world.client.get("/v1/audit", action="reference.retract").json["items"]) == 1


def test_unknown_digests_and_ids_are_not_found(world: World) -> None:
    digest = "0" * 64
    for path in (
        f"/v1/attestations/{digest}",
        f"/v1/attestations/{digest}/envelope",
        "/v1/reference-values/rv-0",
    ):
        assert world.client.get(path).status == 404
    assert world.client.post(f"/v1/attestations/{digest}/retract", {"reason": "x"}).status == 404
    assert world.client.get("/v1/impact", kind="attestation", target=digest).status == 404


def test_listings_page_without_gap_or_repetition(world: World) -> None:
    for number in range(5):
        world.publish(bytes([number]) * 48, revision=f"{number}" * 40)
    found, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = world.client.get("/v1/reference-values", **query).json
        found += [item["id"] for item in page["items"]]
        cursor = page.get("next")
        if not cursor:
            break
    assert len(found) == len(set(found)) == 5


# Policies


@pytest.mark.parametrize(
    "rego",
    [
        "not rego",
        RELEASE.replace("package policy", "package other"),
        RELEASE + '\nleak := http.send({"method": "GET", "url": "http://169.254.169.254/"})\n',
        RELEASE + "\nenv := opa.runtime()\n",
        "",
    ],
)
def test_policy_that_the_engine_or_the_profile_refuses_is_not_stored(
    client: ContractClient, rego: str
) -> None:
    before = client.get("/v1/policies").json
    answer = client.put("/v1/policies/release/default", {"text": rego, "activate": True})
    assert answer.status == 422, answer.body
    assert answer.code.startswith("policy.")
    assert client.get("/v1/policies").json == before


def test_trust_policy_is_parsed_not_taken_for_rego(client: ContractClient) -> None:
    document = Publisher().trust_policy()
    for broken in (
        RELEASE,
        "{}",
        json.dumps(document | {"signers": []}),
        json.dumps(document | {"extra": 1}),
    ):
        answer = client.put("/v1/policies/trust/default", {"text": broken})
        assert (answer.status, answer.code) == (422, "statement.trust_policy")
    stored = client.put("/v1/policies/trust/default", {"text": json.dumps(document, indent=4)})
    assert stored.status == 201
    assert json.loads(stored.json["text"]) == document


def test_stale_activation_is_refused(client: ContractClient) -> None:
    changed = {"text": RELEASE + "\n# two\n", "activate": True, "expected": 7}
    answer = client.put("/v1/policies/release/default", changed)
    assert (answer.status, answer.code) == (409, "policy.conflict")
    assert client.get("/v1/policies/release/default").json["version"] == 1


def test_rollback_without_an_earlier_version_is_refused(client: ContractClient) -> None:
    assert client.post("/v1/policies/release/default/rollback", {}).status == 404


@pytest.mark.parametrize("kind", ["rego", "Trust", "appraisal%20", "..", "x" * 500])
def test_unknown_kind_of_policy_is_not_found(client: ContractClient, kind: str) -> None:
    assert client.get(f"/v1/policies/{kind}/default").status == 404


def test_every_policy_change_is_on_record_with_who_asked(client: ContractClient) -> None:
    client.put("/v1/policies/release/strict", {"text": RELEASE, "activate": True})
    entries = [
        item["entry"] for item in client.get("/v1/audit", target="policy/release/strict").json["items"]
    ]
    assert [entry["action"] for entry in entries] == ["policy.activate", "policy.put"]
    assert all(entry["actor"].startswith("bootstrap (ts_") for entry in entries)


# Resources and keys


@pytest.mark.parametrize("bad", BAD_IDS)
def test_id_that_is_none_is_refused(client: ContractClient, bad: str) -> None:
    body = {"data": b64url_encode(b"x")}
    assert client.put(f"/v1/resources/{bad}/key/one", body).status == 400
    assert client.put(f"/v1/resources/vault/key/{bad}", body).status == 400
    assert client.put(f"/v1/keys/{bad}", {}).status == 400
    assert client.put(f"/v1/policies/release/{bad}", {"text": RELEASE}).status == 400
    assert client.get("/v1/resources").json["items"] == client.get("/v1/keys").json["items"] == []


@pytest.mark.parametrize(
    "path", ["vault/key", "vault/key/one/two", "vault//one", "/vault/key/one", "vault/key/"]
)
def test_path_of_another_shape_is_no_route(client: ContractClient, path: str) -> None:
    answer = client.put(f"/v1/resources/{path}", {"data": b64url_encode(b"x")})
    assert answer.status in (404, 405)


@pytest.mark.parametrize("version", ["0", "-1", "01", "1.0", "x", "9" * 30, "%31%0a"])
def test_version_that_is_no_number_is_refused(client: ContractClient, version: str) -> None:
    client.put("/v1/keys/disk", {})
    assert client.post(f"/v1/keys/disk/versions/{version}/disable").status == 400


def test_no_answer_to_an_administrator_holds_a_secret(client: ContractClient) -> None:
    stored = client.put(RESOURCE, {"data": b64url_encode(SECRET)})
    answers = [stored, client.get(RESOURCE), client.get("/v1/resources"), client.get("/v1/audit")]
    for answer in answers:
        assert SECRET not in answer.body
        assert b64url_encode(SECRET).encode() not in answer.body


def test_write_over_a_version_that_was_not_seen_is_refused(client: ContractClient) -> None:
    client.put(RESOURCE, {"data": b64url_encode(b"one")})
    answer = client.put(RESOURCE, {"data": b64url_encode(b"two"), "expected": 0})
    assert (answer.status, answer.code) == (409, "input.conflict")
    assert client.get(RESOURCE).json["latest_version"] == 1


def test_key_is_generated_once(client: ContractClient) -> None:
    assert client.put("/v1/keys/disk", {}).status == 201
    assert client.put("/v1/keys/disk", {}).status == 409


def test_empty_or_oversized_resource_is_refused(client: ContractClient, services: Services) -> None:
    for size in (0, services.settings.limits.resource_bytes + 1):
        answer = client.put(RESOURCE, {"data": b64url_encode(bytes(size))})
        assert (answer.status, answer.code) == (413, "input.too_large")


# Bodies


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b'{"data":"eA","data":"eQ"}', 400, "input.duplicate_key"),
        (b'{"data":"eA","dat":"eQ"}', 400, "input.unknown_field"),
        (b'{"data":1}', 400, "input.malformed"),
        (b'{"data":"eA"} x', 400, "input.malformed"),
        (b'{"data":"e"}', 400, "input.malformed"),
        (b"\xff\xfe", 400, "input.malformed"),
        (b"", 400, "input.malformed"),
        (b'{"data":' + b"[" * 50_000, 413, "input.too_large"),
    ],
)
def test_malformed_document_is_refused(client: ContractClient, raw: bytes, status: int, code: str) -> None:
    answer = client.call("PUT", RESOURCE, raw=raw)
    assert (answer.status, answer.code) == (status, code)
    assert client.get("/v1/resources").json["items"] == []


def test_wrong_content_type_is_refused(client: ContractClient) -> None:
    answer = client.call("PUT", RESOURCE, raw=b"{}", headers={"Content-Type": "text/plain"})
    assert (answer.status, answer.code) == (415, "input.media_type")


def test_body_over_the_limit_is_refused_by_its_length(client: ContractClient, services: Services) -> None:
    raw = b" " * (services.settings.limits.body_bytes + 1)
    assert client.call("POST", "/v1/appraisals", raw=raw, token=None).code == "input.too_large"


def test_unknown_or_doubled_query_parameter_is_refused(client: ContractClient) -> None:
    assert client.get("/v1/policies", verbose="1").code == "input.unknown_field"
    assert client.call("GET", "/v1/audit?limit=1&limit=2").code == "input.duplicate_key"
    assert client.get("/v1/audit", limit="many").code == "input.malformed"
    assert client.get("/v1/reference-values", limit=100_000).status == 413


def test_wrong_method_names_the_right_ones(client: ContractClient) -> None:
    answer = client.call("DELETE", "/v1/policies")
    assert (answer.status, answer.code) == (405, "input.method")
    assert "GET" in answer.headers["Allow"]
    assert client.call("OPTIONS", "/v1/policies").status == 405
    assert client.call("GET", "/v1/nothing").code == "input.not_found"


# Failure


def test_change_that_cannot_be_recorded_does_not_happen(client: ContractClient, services: Services) -> None:
    before = client.get("/v1/policies").json["items"]
    with services.database.write() as connection:
        connection.execute(text("ALTER TABLE audit_record RENAME TO audit_away"))
    for method, path, body in (
        ("PUT", RESOURCE, {"data": b64url_encode(b"x")}),
        ("PUT", "/v1/keys/disk", {}),
        ("PUT", "/v1/policies/release/strict", {"text": RELEASE, "activate": True}),
    ):
        answer = client.call(method, path, body)
        assert (answer.status, answer.code) == (503, "audit.unavailable"), path
        assert answer.headers["Retry-After"]
    with services.database.write() as connection:
        connection.execute(text("ALTER TABLE audit_away RENAME TO audit_record"))
    assert client.get("/v1/resources").json["items"] == client.get("/v1/keys").json["items"] == []
    assert client.get("/v1/policies").json["items"] == before


def test_retraction_or_ingest_that_cannot_be_recorded_does_not_happen(world: World) -> None:
    submitted = world.publish(GOOD)
    services = world.services
    with services.database.write() as connection:
        connection.execute(text("ALTER TABLE audit_record RENAME TO audit_away"))
    refused = world.client.post("/v1/attestations", world.publisher.submission(b"n" * 48))
    assert refused.code == "audit.unavailable"
    path = f"/v1/attestations/{submitted['attestation']}/retract"
    assert world.client.post(path, {"reason": "x"}).code == "audit.unavailable"
    with services.database.write() as connection:
        connection.execute(text("ALTER TABLE audit_away RENAME TO audit_record"))
    values = world.client.get("/v1/reference-values").json["items"]
    assert [(item["id"], item["state"]) for item in values] == [(submitted["reference_values"][0], "live")]


def test_release_without_its_audit_record_does_not_happen(world: World) -> None:
    world.store_secret()
    world.publish(GOOD)
    guest = world.guest()
    token = guest.appraise().json["token"]
    with world.services.database.write() as connection:
        connection.execute(text("ALTER TABLE audit_record RENAME TO audit_away"))
    refused = guest.release(token)
    assert (refused.status, refused.code) == (503, "audit.unavailable")
    assert b"jwe" not in refused.body


def test_altered_audit_record_is_found(client: ContractClient, services: Services) -> None:
    client.put(RESOURCE, {"data": b64url_encode(b"x")})
    client.put("/v1/keys/disk", {})
    assert client.post("/v1/audit/verify").json["holds"] is True
    with services.database.write() as connection:
        connection.execute(text("UPDATE audit_record SET action = 'secret.get' WHERE sequence = 1"))
    verified = client.post("/v1/audit/verify").json
    assert (verified["holds"], verified["log"]["broken_at"]) == (False, 1)


def test_destroyed_key_that_a_backup_brought_back_is_found(
    client: ContractClient, services: Services
) -> None:
    client.put("/v1/keys/disk", {})
    client.delete("/v1/keys/disk/versions/1")
    with services.database.write() as connection:
        connection.execute(text("DELETE FROM secret_state WHERE state = 'destroyed'"))
    verified = client.post("/v1/audit/verify").json
    assert verified["holds"] is False
    assert verified["log"]["holds"] is True
    assert verified["discrepancies"][0]["target"] == "key/disk"


def test_server_without_its_policies_or_schema_is_not_ready(
    client: ContractClient, services: Services
) -> None:
    with services.database.write() as connection:
        connection.execute(text("DELETE FROM policy_active WHERE kind = 'release'"))
        connection.execute(text("UPDATE policy_state SET generation = generation + 1"))
    answer = client.call("GET", "/readyz", token=None)
    assert answer.status == 503
    assert {item["name"]: item["ok"] for item in answer.json["checks"]} == {
        "database": True,
        "keys": True,
        "appraisal_policy": True,
        "release_policy": False,
    }
    with services.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'ffff'"))
    assert client.call("GET", "/readyz", token=None).json["checks"][0]["code"] == "configuration.schema"


def test_unexpected_failure_tells_the_caller_nothing(
    client: ContractClient, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    table = RouteTable("faulty")

    @table.add("GET", "/faulty", answers={200: dict}, open_to_all=True)
    def fault(_services: Services, _call: routing.Call) -> Answer:
        """Fail."""
        raise RuntimeError("hunter2")

    view = routing.view_of(table.routes[0], services)
    with client.app.test_request_context("/faulty"):
        answer = view()
    problem = answer.get_json()
    assert (answer.status_code, problem["code"]) == (500, "internal.error")
    assert b"hunter2" not in answer.data
    assert b"Traceback" not in answer.data
    assert any(record.fields["request_id"] == problem["request_id"] for record in caplog.records)


# Metrics


@pytest.mark.parametrize(
    ("server", "address", "status"),
    [
        ({}, "127.0.0.1", 200),
        ({}, "192.0.2.7", 401),
        ({"behind_tls_proxy": True}, "127.0.0.1", 401),
        ({"metrics": "token"}, "127.0.0.1", 401),
        ({"metrics": "open"}, "192.0.2.7", 200),
    ],
)
def test_who_may_read_the_metrics(make_services, server: dict, address: str, status: int) -> None:
    services = make_services(server=server)
    http = create_app(services).test_client()
    assert http.get("/metrics", environ_base={"REMOTE_ADDR": address}).status_code == status
    token, _ = services.tokens.create(label="m", roles=("monitor",), by="test", now=NOW)
    allowed = http.get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert allowed.status_code == 200
    text_of = allowed.data.decode()
    assert "touchstone_requests_total" in text_of
    assert "192.0.2.7" not in text_of


def test_settings_of_a_clock_reach_every_record(world: World, clock: Clock) -> None:
    record = world.client.get(f"/v1/attestations/{world.publish(GOOD)['attestation']}").json
    assert record["summary"]["submitted_at"].startswith(clock.now.strftime("%Y-%m-%dT%H:%M:%S"))
