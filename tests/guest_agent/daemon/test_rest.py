"""The HTTP interface of a running guest: the reference's answers, our statuses, and what is refused."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwt

from common import runtime_data
from common.encoding import b64_decode, b64url_decode, b64url_encode
from testkit.daemon import free_port
from tests.components import require
from tests.guest_agent.daemon.kbs import Kbs
from tests.guest_agent.daemon.running import Guest


def code_of(response):
    document = json.loads(response.data)
    assert set(document) == {"code", "detail", "advice"}
    return response.status, document["code"]


def test_info(guest):
    response = guest.get("/info")
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.data == b'{"version":"0.1.0","tee":"sample","feature":"all"}'


def test_a_resource_as_it_is(guest):
    response = guest.get("/cdh/resource/default/test/dummy")
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Content-Length"] == "16"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.data == b"1234567890abcde\n"


def test_evidence_is_the_reference_bytes(guest):
    response = guest.get("/aa/evidence?runtime_data=xxxx")
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.data == b'{"report_data":"eHh4eA==","svn":"1"}'


def test_evidence_over_base64(guest):
    given = bytes(range(48))
    response = guest.get(f"/aa/evidence?encoding=base64&runtime_data={b64url_encode(given)}")
    assert b64_decode(json.loads(response.data)["report_data"]) == given


def test_no_devices_no_bytes(guest):
    response = guest.get("/aa/additional-evidence?runtime_data=xxxx")
    assert (response.status, response.data) == (200, b"")


def test_a_kbs_token_with_its_key(guest, kbs):
    response = guest.get("/aa/token?token_type=kbs")
    assert response.status == 200
    assert response.data.startswith(b'{"token":"')
    document = json.loads(response.data)
    assert list(document) == ["token", "tee_keypair"]
    assert document["tee_keypair"].startswith("-----BEGIN PRIVATE KEY-----\n")
    claims = jwt.decode(document["token"], kbs.signer, algorithms=["ES256"]).claims
    key = load_pem_private_key(document["tee_keypair"].encode(), None)
    x = key.public_key().public_numbers().x.to_bytes(32, "big")
    assert claims["runtime_data_claims"]["tee-pubkey"]["x"] == b64url_encode(x)


def test_a_kbs_token_is_kept_while_it_is_good(guest, kbs):
    first = guest.get("/aa/token?token_type=kbs").data
    before = kbs.attestations
    assert guest.get("/aa/token?token_type=kbs").data == first
    assert kbs.attestations == before


def test_a_coco_as_token_is_bound_to_something_fresh(guest, kbs):
    tokens = [guest.get("/aa/token?token_type=coco_as").data.decode() for _ in range(2)]
    claims = [jwt.decode(token, kbs.signer, algorithms=["ES256"]).claims for token in tokens]
    nonces = [claim["runtime_data_claims"]["nonce"] for claim in claims]
    assert nonces[0] != nonces[1]
    request = kbs.appraised[-1]
    assert request["tee"] == "sample"
    bound = runtime_data.digest({"nonce": nonces[1]})
    evidence = json.loads(b64url_decode(request["evidence"]))
    assert b64_decode(evidence["report_data"]).rstrip(b"\0") == bound.rstrip(b"\0")


def test_an_event_that_is_not_measured(guest):
    event = {"domain": "example.com", "operation": "load", "content": "x"}
    response = guest.request("POST", "/aa/aael", json=event)
    assert response.status == 200
    assert json.loads(response.data)["success"] == "false"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/aa/token", (400, "input.malformed")),
        ("/aa/token?token_type=nosuch", (400, "input.malformed")),
        ("/aa/token?token_type=kbs&token_type=coco_as", (400, "input.malformed")),
        ("/aa/token?token_type=kbs&more=1", (400, "input.malformed")),
        ("/aa/token?token_type", (400, "input.malformed")),
        ("/aa/evidence", (400, "input.malformed")),
        ("/aa/evidence?runtime_data=!!!&encoding=base64", (400, "input.malformed")),
        ("/aa/evidence?runtime_data=YQ==&encoding=base64", (400, "input.malformed")),
        ("/aa/evidence?runtime_data=aa&encoding=hex", (400, "input.malformed")),
        ("/aa/evidence?runtime_data=%ff", (400, "input.malformed")),
        ("/aa/evidence?runtime_data=" + "x" * 65, (413, "input.too_large")),
        ("/cdh/resource/default/test/nosuch", (404, "input.kbs_resource")),
        ("/cdh/resource/default/test/denied", (403, "release.kbs_denied")),
        ("/cdh/resource/default/test", (404, "input.not_found")),
        ("/cdh/resource/default/test/a/b", (404, "input.not_found")),
        ("/cdh/resource/default/../x", (404, "input.not_found")),
        ("/cdh/resource/default/%2e%2e/x", (404, "input.not_found")),
        ("/cdh/resource/default/test/dummy?x=1", (400, "input.malformed")),
        ("/cdh/resource//default/test", (404, "input.not_found")),
        ("/nosuch", (404, "input.not_found")),
        ("/aa", (404, "input.not_found")),
        ("/info/", (404, "input.not_found")),
    ],
)
def test_what_is_refused_and_how(guest, target, expected):
    head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    answer = guest.raw(head)
    status = int(answer.split()[1])
    document = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (status, document["code"]) == expected


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_other_methods(guest, method):
    for target in ("/info", "/cdh/resource/default/test/dummy", "/aa/token"):
        response = guest.request(method, target)
        assert code_of(response) == (405, "input.method")
        assert response.headers["Allow"] == "GET"


def test_reading_an_event(guest):
    response = guest.get("/aa/aael")
    assert (response.status, response.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"domain":1,"operation":"a","content":"b"}', b"\xff"]
)
def test_an_event_of_another_form(guest, body):
    assert code_of(guest.request("POST", "/aa/aael", body=body)) == (400, "input.malformed")


def test_a_body_that_is_too_large(guest):
    response = guest.request("POST", "/aa/aael", body=b"x" * (65 << 10))
    assert code_of(response) == (413, "input.too_large")


@pytest.mark.parametrize(
    "head",
    [
        b"POST /aa/aael HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /aa/aael HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /aa/aael HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /aa/aael HTTP/1.1\r\nHost: localhost\r\nContent-Length: +2\r\n\r\n{}",
        b"GET /info HTTP/1.1\r\n\r\n",
        b"GET /info\r\n\r\n",
        b"GET /info HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET /info HTTP/9.9\r\nHost: localhost\r\n\r\n",
    ],
)
def test_requests_that_could_be_read_in_two_ways(guest, head):
    answer = guest.raw(head)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "input.malformed"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8006", "10.0.0.1", "localhost.evil.example", "a@localhost"]
)
def test_another_name_for_loopback_is_refused(guest, host):
    assert code_of(guest.get("/cdh/resource/default/test/dummy", headers={"Host": host})) == (
        403,
        "access.peer",
    )


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8006", "[::1]:8006", "127.0.0.2"])
def test_our_own_names(guest, host):
    assert guest.get("/info", headers={"Host": host}).status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://evil.example:8006"])
def test_a_page_from_elsewhere_may_not_post(guest, origin):
    event = {"domain": "example.com", "operation": "load", "content": "x"}
    response = guest.request("POST", "/aa/aael", json=event, headers={"Origin": origin})
    assert code_of(response) == (403, "access.peer")


def test_http_1_0_without_host(guest):
    assert b"200 OK" in guest.raw(b"GET /info HTTP/1.0\r\n\r\n")


def test_evidence_that_the_kbs_refuses_is_401():
    with Kbs() as kbs, Guest(kbs.url) as guest:
        kbs.refuse_evidence = True
        assert code_of(guest.get("/aa/token?token_type=kbs")) == (401, "access.kbs_unauthenticated")
        assert code_of(guest.get("/cdh/resource/default/test/dummy")) == (401, "access.kbs_unauthenticated")
        assert code_of(guest.get("/aa/token?token_type=coco_as")) == (501, "configuration.absent")


def test_an_attestation_service_that_refuses_says_nothing_to_callers(guest, kbs):
    kbs.refuse_evidence = True
    try:
        response = guest.get("/aa/token?token_type=coco_as")
    finally:
        kbs.refuse_evidence = False
    assert code_of(response) == (502, "unavailable.server_refused")
    assert b"internals" not in response.data


def test_a_kbs_that_is_not_there_is_502():
    with Guest("http://127.0.0.1:9", attestation_service={"url": "http://127.0.0.1:9"}) as guest:
        assert code_of(guest.get("/aa/token?token_type=coco_as")) == (502, "unavailable.fetch")
        assert code_of(guest.get("/cdh/resource/default/test/dummy")) == (502, "unavailable.kbs")


def test_a_slow_kbs_holds_up_nobody_else():
    with Kbs() as kbs:
        kbs.delay_s = 3.0
        kbs.resources["default/test/dummy"] = b"x"
        with Guest(kbs.url, max_waiting=2, rest={"max_requests": 4}, kbs={"timeout_s": 20}) as guest:
            statuses: list[int] = []

            def ask() -> None:
                statuses.append(guest.get("/cdh/resource/default/test/dummy").status)

            waiting = [threading.Thread(target=ask) for _ in range(2)]
            for thread in waiting:
                thread.start()
            time.sleep(0.5)
            started = time.monotonic()
            assert guest.get("/info").status == 200
            assert code_of(guest.get("/cdh/resource/default/test/dummy")) == (503, "unavailable.busy")
            assert time.monotonic() - started < 2
            for thread in waiting:
                thread.join()
            assert statuses == [200, 200]


def test_a_kbs_that_does_not_answer_in_time_is_504():
    with Kbs() as kbs:
        kbs.delay_s = 30
        with Guest(kbs.url, attestation_service={"url": kbs.url, "timeout_s": 1}) as guest:
            assert code_of(guest.get("/aa/token?token_type=coco_as")) == (504, "unavailable.server_timeout")


def test_callers_who_send_nothing_take_no_more_than_their_places():
    members = {
        "max_waiting": 1,
        "rest": {"max_requests": 2, "read_timeout_s": 1},
        "grpc": {"enabled": False},
    }
    with Guest(**members) as guest:
        idle = [socket.create_connection(("127.0.0.1", guest.port)) for _ in range(2)]
        time.sleep(0.2)
        assert code_of(guest.get("/info")) == (503, "unavailable.busy")
        answers = [connection.recv(4096) for connection in idle]
        assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
        for connection in idle:
            connection.close()
        assert guest.get("/info").status == 200


def test_a_feature_that_is_not_served_is_not_there():
    with Guest(rest={"features": "resource"}, grpc={"enabled": False}) as guest:
        assert guest.get("/info").data == b'{"version":"0.1.0","feature":"resource"}'
        assert code_of(guest.get("/aa/token?token_type=kbs")) == (404, "input.not_found")
        assert code_of(guest.get("/cdh/resource/default/test/dummy")) == (501, "configuration.absent")
    with Guest(rest={"features": "attestation"}, grpc={"enabled": False}) as guest:
        assert code_of(guest.get("/cdh/resource/default/test/dummy")) == (404, "input.not_found")


def test_nothing_secret_is_logged(guest):
    guest.get("/cdh/resource/default/test/dummy")
    guest.get("/aa/token?token_type=kbs")
    text = guest.log_text()
    assert "1234567890" not in text
    assert "PRIVATE" not in text
    assert "eyJ" not in text
    for line in text.splitlines():
        assert {"time", "level", "logger", "message"} <= set(json.loads(line))


def test_devices_have_evidence_of_their_own():
    with Kbs() as kbs, Guest(kbs.url, allow_sample_device=True, grpc={"enabled": False}) as guest:
        assert json.loads(guest.get("/info").data)["additional_tees"] == ["sampledevice"]
        answer = guest.get("/aa/additional-evidence?runtime_data=xxxx").data
        assert answer == b'{"sampledevice":{"report_data":"eHh4eA==","svn":"1"}}'
        kbs.resources["default/test/dummy"] = b"x"
        assert guest.get("/cdh/resource/default/test/dummy").data == b"x"


def own_address() -> str | None:
    """An address of this machine beyond loopback; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = str(probe.getsockname()[0])
        return None if address.startswith("127.") else address


@pytest.mark.parametrize(("peers", "expected"), [("203.0.113.0/24", 403), ("own", 200)])
def test_callers_beyond_loopback(peers, expected):
    address = own_address()
    require(address, "this machine has no address beyond loopback")
    port = free_port()
    rest = {"listen": f"0.0.0.0:{port}", "peers": [f"{address}/32" if peers == "own" else peers]}
    with Guest(rest=rest, grpc={"enabled": False}) as guest:
        guest.url = f"http://{address}:{port}"
        response = guest.get("/info")
        assert response.status == expected
        if expected == 403:
            assert code_of(response) == (403, "access.peer")
        else:
            assert guest.get("/info", headers={"Host": "evil.example"}).status == 403
            assert guest.get("/info", headers={"Origin": "http://192.0.2.7"}).status == 403
