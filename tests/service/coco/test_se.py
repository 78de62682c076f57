"""IBM Secure Execution by the KBS protocol: the challenge is the verifier's attestation request."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from testkit.se_host import Host, SeAuthority, Ultravisor, image_header
from tests.service.coco.conftest import SECRET, Kbs, make
from tests.service.coco.kbs import Guest, canonical, claims_of

ALGORITHMS = ["sha256", "sha384", "sha512", "sm3"]
PATH = "resource/default/test/dummy"
ALLOW_ATTESTED = """package policy

default allow := false

allow if input.submods.cpu0["ear.veraison.annotated-evidence"].se
"""


@pytest.fixture(scope="module")
def machine() -> tuple[SeAuthority, Host]:
    authority = SeAuthority()
    return authority, authority.host()


@pytest.fixture
def kbs(tmp_path: Path, machine: tuple[SeAuthority, Host]) -> Iterator[Kbs]:
    authority, host = machine
    store = tmp_path / "data" / "collateral" / "se"
    for name in ("hkds", "certs", "crls"):
        (store / name).mkdir(parents=True)
    (store / "hkds" / "host.crt").write_bytes(host.document)
    (store / "certs" / "signing.pem").write_bytes(authority.signing.pem)
    (store / "certs" / "intermediate.pem").write_bytes(authority.intermediate.pem)
    for number, data in enumerate(authority.lists()):
        (store / "crls" / f"{number}.crl").write_bytes(data)
    key, root, header = (tmp_path / name for name in ("seal.key", "root.pem", "image.hdr"))
    key.write_bytes(bytes(range(32)))
    key.chmod(0o600)
    root.write_bytes(authority.root.certificate.public_bytes(Encoding.PEM))
    header.write_bytes(image_header())
    section = {
        "enabled": True,
        "challenge_key_file": str(key),
        "extra_roots": [str(root)],
        "image_headers": [str(header)],
    }
    made = make(tmp_path, {"profile": "development", "se": section, "coco": {"lift_release_floors": True}})
    yield made
    made.services.close()


class SeGuest(Guest):
    """Answers with a test Ultravisor."""

    def begin(self, extra: Any) -> Any:
        answer = self.call("POST", "auth", {"version": "0.4.0", "tee": "se", "extra-params": extra})
        if answer.status == 200:
            self.nonce = answer.json["nonce"]
        return answer

    def answered(self, ultravisor: Ultravisor, nonce: str | None = None) -> Any:
        given = self.nonce if nonce is None else nonce
        runtime = {"nonce": given, "tee-pubkey": self.jwk}
        digest = hashlib.sha512(canonical(runtime | {"additional-evidence": ""})).digest()
        document = {
            "runtime-data": runtime,
            "init-data": None,
            "tee-evidence": {
                "primary_evidence": ultravisor.evidence(given, digest),
                "additional_evidence": "",
            },
        }
        answer = self.call("POST", "attest", document)
        if answer.status == 200:
            self.token = answer.json["token"]
        return answer


def guest(kbs: Kbs) -> SeGuest:
    return SeGuest(kbs.http, "se")


def test_a_guest_answers_the_request_and_gets_its_resource(
    kbs: Kbs, machine: tuple[SeAuthority, Host]
) -> None:
    kbs.admin.call("POST", PATH, SECRET)
    assert kbs.admin.resource_policy(ALLOW_ATTESTED).status == 200
    one = guest(kbs)
    challenge = one.begin({"supported-hash-algorithms": ALGORITHMS})
    assert challenge.json["extra-params"] == {"selected-hash-algorithm": "sha512"}
    assert {"request_blob", "image_hdr_tags"} <= set(json.loads(one.nonce))
    assert one.answered(Ultravisor(machine[1])).status == 200
    claims = claims_of(one.token)
    assert claims["touchstone"]["bound"] == "session"
    assert "se" in claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"]
    assert len(base64.b64decode(claims["eat_nonce"])) == 32
    got = one.call("GET", PATH)
    assert got.status == 200, got.body
    assert one.open(got.json) == SECRET
    # The nonce is spent, as every other.
    assert one.answered(Ultravisor(machine[1])).status == 401


def test_the_request_of_another_session_is_refused(kbs: Kbs, machine: tuple[SeAuthority, Host]) -> None:
    one, other = guest(kbs), guest(kbs)
    for each in (one, other):
        assert each.begin({"supported-hash-algorithms": ALGORITHMS}).status == 200
    assert one.nonce != other.nonce
    assert one.answered(Ultravisor(machine[1]), other.nonce).status == 401


@pytest.mark.parametrize(
    "extra", ["", {}, {"supported-hash-algorithms": ["sha384"]}, {"supported-hash-algorithms": 1}]
)
def test_a_client_that_does_not_know_the_hash_is_told_at_once(kbs: Kbs, extra: Any) -> None:
    assert guest(kbs).begin(extra).status == 401


def test_a_cookie_with_another_challenge_is_none_of_ours(
    kbs: Kbs, machine: tuple[SeAuthority, Host]
) -> None:
    one = guest(kbs)
    one.begin({"supported-hash-algorithms": ALGORITHMS})
    assert one.cookie is not None
    data = bytearray(base64.urlsafe_b64decode(one.cookie + "=" * (-len(one.cookie) % 4)))
    data[30] ^= 1
    one.cookie = base64.urlsafe_b64encode(bytes(data)).rstrip(b"=").decode()
    assert one.answered(Ultravisor(machine[1])).status == 401


def test_the_attestation_service_gives_the_request_too(kbs: Kbs) -> None:
    answer = kbs.http.post("/challenge", json={"tee": "se", "tee_params": ""})
    assert answer.status_code == 200
    assert "request_blob" in json.loads(answer.data)
