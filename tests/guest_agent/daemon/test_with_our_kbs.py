"""The guest's services against a real server of ours: attestation, policy, resource, unsealing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import grpc
import pytest
import urllib3

from guest_agent import sealed, sealed_keys
from tests.guest_agent.daemon.running import Guest
from tests.service.running import RunningServer
from wire.proto import confidential_data_hub_pb2, confidential_data_hub_pb2_grpc

SECRET = b"1234567890abcde\n"
KEY = sealed_keys.new_key()
# Sample evidence is never affirming as it is: the policy here looks at the path alone.
POLICY = """package policy

default allow := false

allow if data["resource-path"][2] != "denied"
"""


class Administrator:
    """Uses the KBS's own administration, with the server's token."""

    def __init__(self, server: RunningServer) -> None:
        self._url = f"{server.url}/kbs/v0/"
        self._token = (server.folder / "data" / "admin.token").read_text().strip()

    def post(self, path: str, body: bytes) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        answer = urllib3.request("POST", self._url + path, body=body, headers=headers, retries=False)
        assert answer.status == 200, answer.data


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    sections = {
        "profile": "development",
        "sample": {"enabled": True},
        "coco": {"lift_release_floors": True},
    }
    with RunningServer(tmp_path_factory.mktemp("server"), sections) as running:
        administrator = Administrator(running)
        policy = base64.urlsafe_b64encode(POLICY.encode()).rstrip(b"=").decode()
        administrator.post("resource-policy", json.dumps({"policy": policy}).encode())
        administrator.post("resource/default/test/dummy", SECRET)
        administrator.post("resource/default/test/denied", b"never")
        administrator.post("resource/default/sealing/key", sealed_keys.jwk_bytes(KEY, private=False))
        yield running


@pytest.fixture(scope="module")
def attested(server: RunningServer) -> Iterator[Guest]:
    with Guest(server.url) as running:
        yield running


def test_a_resource(attested: Guest) -> None:
    response = attested.get("/cdh/resource/default/test/dummy")
    assert (response.status, response.data) == (200, SECRET)


def test_a_denial_and_an_unknown_resource(attested: Guest) -> None:
    assert attested.get("/cdh/resource/default/test/denied").status == 403
    assert attested.get("/cdh/resource/default/test/nosuch").status == 404


def test_a_token(attested: Guest) -> None:
    document = json.loads(attested.get("/aa/token?token_type=kbs").data)
    assert document["token"].count(".") == 2
    assert "PRIVATE KEY" in document["tee_keypair"]


def test_unsealing(attested: Guest) -> None:
    text = sealed.seal(sealed.vault("kbs:///default/test/dummy"), KEY, "kbs:///default/sealing/key")
    with grpc.insecure_channel(f"unix:{attested.hub}") as channel:
        stub = confidential_data_hub_pb2_grpc.SealedSecretServiceStub(channel)
        answer = stub.UnsealSecret(confidential_data_hub_pb2.UnsealSecretInput(secret=text.encode()))
    assert answer.plaintext == SECRET
