"""The gRPC methods by real clients: what those of the reference rely on, and what must not get through."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import rfc8785
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import delete, select

from common.encoding import b64url_encode
from kms.tables import audit_record
from policy.tables import policy_active, policy_state
from service.grpc.calls import is_loopback_peer
from testkit.snp_firmware import SnpFirmware
from tests.service.coco.documents import (
    ALLOW_ALL,
    GENOA_TIME,
    claims_of,
    encoded,
    firmware_document,
    genoa_document,
)
from tests.service.grpc.conftest import Client, Running, Serve, code_in, refusal
from tests.service.harness import NOW, Clock
from wire.proto import attestation_pb2, reference_pb2

Connect = Callable[..., Client]
ABORTED, UNAUTHENTICATED = grpc.StatusCode.ABORTED, grpc.StatusCode.UNAUTHENTICATED
VALUES = {"snp_launch_measurement": ["6a65"], "snp_smt_enabled": True, "snp_guest_abi_major": 0}
# What the reference's own client and server exchanged for one query: the bodies of the messages.
QUERY_BYTES = bytes.fromhex("0a16736e705f6c61756e63685f6d6561737572656d656e74")
ANSWER_BYTES = bytes.fromhex("0a085b2236613635225d")
QUERY = "/reference.ReferenceValueProviderService/QueryReferenceValue"


def message(version: str = "0.1.0", values: Any = VALUES) -> str:
    payload = base64.b64encode(json.dumps(values).encode()).decode()
    return json.dumps({"version": version, "type": "sample", "payload": payload})


def register(client: Client, text: str, metadata: Any = None) -> None:
    request = reference_pb2.ReferenceValueRegisterRequest(message=text)
    client.reference.RegisterReferenceValue(request, metadata=metadata)


def query(client: Client, name: str) -> Any:
    answer = client.reference.QueryReferenceValue(
        reference_pb2.ReferenceValueQueryRequest(reference_value_id=name)
    )
    return (
        json.loads(answer.reference_value_results) if answer.HasField("reference_value_results") else None
    )


def evaluate(client: Client, document: Any, *policy_ids: str, **fields: Any) -> dict[str, Any]:
    item = {"tee": "snp", "evidence": encoded(document)} | fields
    request = attestation_pb2.AttestationRequest(
        verification_requests=[attestation_pb2.IndividualAttestationRequest(**item)],
        policy_ids=policy_ids or ["default"],
    )
    return claims_of(client.attestation.AttestationEvaluate(request).attestation_token)


def set_policy(client: Client, policy_id: str, text: str = ALLOW_ALL, metadata: Any = None) -> None:
    policy = b64url_encode(text.encode())
    request = attestation_pb2.SetPolicyRequest(policy_id=policy_id, policy=policy)
    client.attestation.SetAttestationPolicy(request, metadata=metadata)


def challenge(client: Client, **inner: str) -> str:
    request = attestation_pb2.ChallengeRequest(inner=inner)
    return str(client.attestation.GetAttestationChallenge(request).attestation_challenge)


# What the reference's key broker and tools do


def test_genuine_evidence_is_evaluated(serve: Serve, connect: Connect, clock: Clock, vectors: Path) -> None:
    running = serve(sections={"snp": {"revocation": "if-present"}})
    clock.now = GENOA_TIME
    claims = evaluate(connect(running.address), genoa_document(vectors))
    assert claims["submods"]["cpu0"]["ear.status"] == "contraindicated"
    assert claims["touchstone"]["bound"] == "unbound"


def test_key_broker_of_the_reference_evaluates_a_guest(client: Client, firmware: SnpFirmware) -> None:
    data = {"nonce": "AAAA", "tee-pubkey": {"kty": "EC"}, "additional-evidence": ""}
    digest = hashlib.sha384(rfc8785.dumps(data)).digest().ljust(64, b"\0")
    claims = evaluate(
        client,
        firmware_document(firmware, digest),
        structured_runtime_data=json.dumps(data),
        runtime_data_hash_algorithm="sha384",
    )
    submodule = claims["submods"]["cpu0"]
    assert submodule["ear.appraisal-policy-id"] == "default"
    assert submodule["ear.veraison.annotated-evidence"]["runtime_data_claims"] == data


def test_init_data_and_raw_runtime_data_are_taken(client: Client, firmware: SnpFirmware) -> None:
    toml = 'version = "0.1.0"\nalgorithm = "sha256"\n[data]\n"a" = "b"\n'
    digest = hashlib.sha256(toml.encode()).digest()
    document = firmware_document(firmware, b"x" * 64, host_data=digest)
    raw = b64url_encode(b"x" * 64)
    claims = evaluate(client, document, raw_runtime_data=raw, init_data_toml=toml)
    assert claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["init_data_claims"] == {"a": "b"}
    evaluate(client, document, raw_runtime_data=raw, init_data_digest=b64url_encode(digest))


@pytest.mark.parametrize("tee", ["snp", "sample", "tdx", "sampledevice", "nvidia-dpu"])
def test_challenge_of_ordinary_tees_is_empty(client: Client, tee: str) -> None:
    assert challenge(client, tee=tee, tee_params="{}") == ""


def test_tool_of_the_reference_registers_and_queries(serve: Serve, connect: Connect) -> None:
    running = serve(unauthenticated_writes="loopback")
    client = connect(running.reference_address)
    register(client, message())
    assert query(client, "snp_launch_measurement") == ["6a65"]
    assert query(client, "snp_smt_enabled") is True
    assert query(client, "snp_guest_abi_major") == 0
    assert query(client, "nosuch") is None
    listed = client.reference.ListReferenceValues(reference_pb2.ReferenceValueListRequest())
    assert json.loads(listed.reference_value_results) == VALUES
    error = refusal(lambda: register(client, message("0.2.0")))
    assert error.code() is ABORTED
    assert error.details() == "Register reference value: Version unmatched! Need 0.1.0, given 0.2.0."


def test_recorded_bytes_of_a_query_give_the_recorded_answer(running: Running, connect: Connect) -> None:
    client = connect(running.address)
    register(client, message(), running.admin)
    for address in (running.address, running.reference_address):
        call = connect(address).channel.unary_unary(QUERY)
        assert call(QUERY_BYTES) == ANSWER_BYTES


def test_values_registered_on_one_address_count_on_the_other(
    running: Running, connect: Connect, firmware: SnpFirmware
) -> None:
    client = connect(running.address)
    text = (
        "package policy\nimport rego.v1\ndefault executables := 33\n"
        'executables := 3 if input.snp.measurement in query_reference_value("snp_launch_measurement")\n'
        'trust_claims := {"executables": executables}\n'
    )
    set_policy(client, "mine_cpu", text, running.admin)
    document = firmware_document(firmware, measurement=b"m" * 48)
    assert evaluate(client, document, "mine")["submods"]["cpu0"]["ear.status"] == "warning"
    values = {"snp_launch_measurement": [(b"m" * 48).hex()]}
    register(connect(running.reference_address), message(values=values), running.admin)
    assert evaluate(client, document, "mine")["submods"]["cpu0"]["ear.status"] == "affirming"


def test_attestation_is_not_served_on_the_reference_value_address(
    running: Running, connect: Connect
) -> None:
    error = refusal(lambda: challenge(connect(running.reference_address), tee="snp", tee_params=""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_health_follows_readiness(running: Running, connect: Connect) -> None:
    stub = health_pb2_grpc.HealthStub(connect(running.address).channel)
    names = ("", "attestation.AttestationService", "reference.ReferenceValueProviderService")

    def statuses() -> set[int]:
        return {stub.Check(health_pb2.HealthCheckRequest(service=name)).status for name in names}

    assert statuses() == {health_pb2.HealthCheckResponse.SERVING}
    with running.services.database.write() as connection:
        connection.execute(delete(policy_active))
        connection.execute(policy_state.update().values(generation=policy_state.c.generation + 1))
    running.servers.look()
    assert statuses() == {health_pb2.HealthCheckResponse.NOT_SERVING}


# Who may write


def test_nothing_is_written_without_authentication(running: Running, connect: Connect) -> None:
    client = connect(running.address)
    for call in (lambda: register(client, message()), lambda: set_policy(client, "mine_cpu")):
        error = refusal(call)
        assert error.code() is UNAUTHENTICATED
        assert 'unauthenticated_writes = "loopback"' in error.details()
        assert code_in(error) == "access.unauthenticated"
    assert query(client, "snp_smt_enabled") is None
    assert "mine_cpu" not in running.services.coco.policies.ids()


@pytest.mark.parametrize(
    "value", ["Bearer ts_000000000000_" + "A" * 43, "Bearer x.y.z", "Basic eDp4", "Bearer", ""]
)
def test_wrong_token_is_refused_even_from_loopback(serve: Serve, connect: Connect, value: str) -> None:
    running = serve(unauthenticated_writes="loopback")
    client = connect(running.address)
    metadata = (("authorization", value),)
    for call in (
        lambda: register(client, message(), metadata),
        lambda: set_policy(client, "mine_cpu", metadata=metadata),
    ):
        assert refusal(call).code() is UNAUTHENTICATED


def test_two_tokens_are_none(running: Running, connect: Connect) -> None:
    client = connect(running.address)
    assert refusal(lambda: register(client, message(), running.admin * 2)).code() is UNAUTHENTICATED


def test_token_needs_the_scope(running: Running, connect: Connect) -> None:
    client = connect(running.address)
    tokens = running.services.tokens
    author, _ = tokens.create(label="author", roles=("policy-author",), by="test", now=NOW)
    metadata = (("authorization", f"Bearer {author}"),)
    set_policy(client, "mine_cpu", metadata=metadata)
    error = refusal(lambda: register(client, message(), metadata))
    assert (error.code(), code_in(error)) == (grpc.StatusCode.PERMISSION_DENIED, "access.scope")
    publisher, _ = tokens.create(label="publisher", roles=("publisher",), by="test", now=NOW)
    register(client, message(), (("authorization", f"Bearer {publisher}"),))


def test_writes_name_who_wrote(serve: Serve, connect: Connect) -> None:
    running = serve(unauthenticated_writes="loopback")
    set_policy(connect(running.address), "mine_cpu")
    set_policy(connect(running.address), "other_cpu", metadata=running.admin)
    with running.services.database.read() as connection:
        entries = connection.execute(select(audit_record.c.entry)).scalars().all()
    actors = {json.loads(entry)["actor"] for entry in entries}
    assert "a loopback caller (unauthenticated_writes)" in actors
    assert any(actor.startswith("bootstrap (ts_") for actor in actors)


@pytest.mark.parametrize(
    ("peer", "loopback"),
    [
        ("ipv4:127.0.0.1:5", True),
        ("ipv4:127.9.9.9:5", True),
        ("ipv6:%5B::1%5D:5", True),
        ("ipv6:[::1]:5", True),
        ("ipv6:%5B::ffff:127.0.0.1%5D:5", True),
        ("ipv4:10.0.0.1:5", False),
        ("ipv4:0.0.0.0:5", False),
        ("ipv6:%5Bfe80::1%25eth0%5D:5", False),
        ("ipv6:%5B::ffff:10.0.0.1%5D:5", False),
        ("unix:/127.0.0.1:5", False),
        ("", False),
        ("ipv4:localhost:5", False),
    ],
)
def test_loopback_is_told_from_the_peer_address(peer: str, loopback: bool) -> None:
    assert is_loopback_peer(peer) is loopback


# Abuse


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"evidence": "***"}, "input.malformed"),
        ({"evidence": ""}, "input.malformed"),
        ({"evidence": "e30="}, "input.malformed"),
        ({"tee": "sev"}, "coco.tee_unknown"),
        ({"tee": "hygondcu"}, "evidence.unsupported"),
        ({"raw_runtime_data": ""}, "input.malformed"),
        ({"raw_runtime_data": b64url_encode(bytes(64))}, "input.malformed"),
        ({"raw_runtime_data": b64url_encode(b"y" * 64)}, "evidence.report_data"),
        ({"structured_runtime_data": "{"}, "input.malformed"),
        ({"structured_runtime_data": '{"a": 1, "a": 2}'}, "input.duplicate_key"),
        ({"structured_runtime_data": "{}", "runtime_data_hash_algorithm": "md5"}, "input.malformed"),
        ({"init_data_digest": b64url_encode(bytes(32))}, "input.malformed"),
        ({"init_data_toml": "x = ["}, None),
    ],
)
def test_malformed_request_is_aborted_with_its_cause(
    client: Client, firmware: SnpFirmware, fields: dict[str, str], code: str | None
) -> None:
    error = refusal(lambda: evaluate(client, firmware_document(firmware, b"x" * 64), **fields))
    assert error.code() is ABORTED
    assert error.details().startswith("Attestation evaluation failed: ")
    assert ".py" not in error.details()
    assert code is None or code_in(error) == code


def test_empty_and_unknown_are_aborted(client: Client, firmware: SnpFirmware) -> None:
    error = refusal(lambda: client.attestation.AttestationEvaluate(attestation_pb2.AttestationRequest()))
    assert (error.code(), code_in(error)) == (ABORTED, "input.malformed")
    error = refusal(lambda: evaluate(client, firmware_document(firmware), "nosuch"))
    assert (error.code(), code_in(error)) == (ABORTED, "policy.not_found")
    for inner in ({"tee": "snp"}, {"tee_params": ""}, {"tee": "x", "tee_params": ""}):
        assert refusal(lambda inner=inner: challenge(client, **inner)).code() is ABORTED


@pytest.mark.parametrize("policy_id", ["default", "mine", "../x_cpu", ""])
def test_policy_of_the_native_api_is_not_replaced(running: Running, client: Client, policy_id: str) -> None:
    error = refusal(lambda: set_policy(client, policy_id, metadata=running.admin))
    assert (error.code(), code_in(error)) == (ABORTED, "input.identifier")
    assert error.details().startswith("Set Attestation Policy Failed: ")


def test_bytes_that_are_no_message_are_refused(client: Client) -> None:
    for data in (b"\xff" * 10, b"\x0a\x02\xff\xfe"):
        error = refusal(lambda data=data: client.channel.unary_unary(QUERY)(data))
        assert error.code() is grpc.StatusCode.INTERNAL


def test_message_size_is_bounded_and_large_evidence_is_not_too_large(
    serve: Serve, connect: Connect
) -> None:
    running = serve(max_message_bytes=12 << 20)
    client = connect(running.address)
    error = refusal(lambda: evaluate(client, {"x": "y" * (7 << 20)}))
    assert (error.code(), code_in(error)) == (ABORTED, "input.malformed")
    error = refusal(lambda: evaluate(client, {"x": "y" * (10 << 20)}))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_metadata_is_bounded(client: Client) -> None:
    error = refusal(lambda: register(client, message(), (("x-large", "y" * 40_000),)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_unexpected_failure_says_nothing(
    running: Running, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("words of the inside")

    monkeypatch.setattr(running.services.coco.reference_values, "register", fail)
    error = refusal(lambda: register(client, message(), running.admin))
    assert (error.code(), code_in(error)) == (grpc.StatusCode.INTERNAL, "internal.error")
    assert "inside" not in error.details()


@pytest.fixture
def held(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Running, list[str], threading.Event]]:
    """A server with one thread, whose queries wait for the event; and the names that were asked for."""
    running, release = serve(threads=1), threading.Event()
    asked: list[str] = []
    real = running.services.coco.reference_values.query

    def slow(name: str, now: Any) -> Any:
        asked.append(name)
        release.wait(30)
        return real(name, now)

    monkeypatch.setattr(running.services.coco.reference_values, "query", slow)
    yield running, asked, release
    release.set()


def ask(client: Client, name: str, **options: Any) -> Any:
    request = reference_pb2.ReferenceValueQueryRequest(reference_value_id=name)
    return client.reference.QueryReferenceValue.future(request, **options)


def test_call_that_nobody_waits_for_is_not_begun(
    held: tuple[Running, list[str], threading.Event], connect: Connect
) -> None:
    running, asked, release = held
    client = connect(running.address)
    first = ask(client, "first")
    until_asked(asked, 1)
    late = refusal(ask(client, "late", timeout=0.3).result)
    assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    release.set()
    assert not first.result().HasField("reference_value_results")
    assert query(client, "last") is None
    assert asked == ["first", "last"]


def test_calls_under_way_are_bounded(
    held: tuple[Running, list[str], threading.Event], connect: Connect
) -> None:
    running, asked, _ = held
    client = connect(running.address)
    calls = [ask(client, str(number), timeout=3) for number in range(40)]
    codes = [refusal(call.result).code() for call in calls]
    assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes
    assert codes.count(grpc.StatusCode.DEADLINE_EXCEEDED) == 16
    assert len(asked) == 1


def until_asked(asked: list[str], count: int) -> None:
    deadline = time.monotonic() + 10
    while len(asked) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
