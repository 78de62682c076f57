"""Every route of the KBS API by every method and caller, in both manners of statuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.coco.conformance import CASES, Case
from tests.service.coco.conftest import DEVELOPMENT, SECRET, Kbs, make
from tests.service.coco.kbs import SVN, Administrator, Answer, Guest, b64, b64url
from tests.service.harness import NOW

ALLOW_BUT_ONE = """package policy
default allow := false
allow if {
	data.plugin == "resource"
	data["resource-path"] != ["default", "test", "denied"]
}
"""
TRUST = 'package policy\ntrust_claims := {"hardware": 2}\n'
REQUEST: dict[str, Any] = {"version": "0.4.0", "tee": "sample", "extra-params": ""}
MESSAGE = {"version": "0.1.0", "type": "sample", "payload": b64(json.dumps(SVN).encode())}
BODIES: dict[str, object] = {
    "nothing": None,
    "not JSON": b"{",
    "too much": b"x" * ((2 << 20) + 1),
    "a secret": SECRET,
    "request": REQUEST,
    "request, version 0.4.1": REQUEST | {"version": "0.4.1"},
    "request, version 0.5.0": REQUEST | {"version": "0.5.0"},
    "request, unknown TEE": REQUEST | {"tee": "nosuch"},
    "request, TEE of a device": REQUEST | {"tee": "nvidia"},
    "policy": {"policy": b64url(ALLOW_BUT_ONE.encode())},
    "policy in standard base64": {"policy": b64(ALLOW_BUT_ONE.encode())},
    "policy that does not compile": {"policy": b64url(b"package policy\nallow {{{")},
    "policy that is not base64": {"policy": "***"},
    "no policy": {},
    "attestation policy": {"type": "rego", "policy_id": "mine_cpu", "policy": b64url(TRUST.encode())},
    "attestation policy, bad id": {"policy_id": "../x_cpu", "policy": b64url(TRUST.encode())},
    "message": MESSAGE,
    "message, version 0.2.0": MESSAGE | {"version": "0.2.0"},
    "message, unknown type": MESSAGE | {"type": "nosuch"},
}


class Scene:
    """A server and everybody who calls."""

    def __init__(self, folder: Path, statuses: str) -> None:
        self.manner = statuses
        self.kbs: Kbs = make(folder, DEVELOPMENT | {"coco": DEVELOPMENT["coco"] | {"statuses": statuses}})
        admin = self.kbs.admin
        self.contraindicated = self.kbs.guest()
        assert admin.resource_policy(ALLOW_BUT_ONE).status == 200
        for name in ("dummy", "denied", "doomed"):
            assert admin.call("POST", f"resource/default/test/{name}", SECRET).status == 200
        assert self.contraindicated.attest().status == 200
        assert admin.reference_values(SVN).status == 200
        self.guest = self.kbs.guest()
        self.token = self.guest.attest().json["token"]
        services = self.kbs.services
        self.auditor, _ = services.tokens.create(label="a", roles=("auditor",), by="t", now=NOW)

    def call(self, case: Case) -> Answer:
        method, _, path = case.call.partition(" ")
        http = self.kbs.http
        if case.who == "administrator":
            caller: Guest | Administrator = self.kbs.admin
        elif case.who == "auditor":
            caller = Administrator(http, self.auditor)
        elif case.who == "forged token":
            caller = Administrator(http, self.token[:-8] + "AAAAAAAA")
        elif case.who == "forged cookie":
            caller = Guest(http, cookie="A" * 51)
        elif case.who == "nobody":
            caller = Guest(http)
        else:
            caller = self.guest if case.who == "guest" else self.contraindicated
            if case.who == "new session":
                caller = self.kbs.guest()
                assert caller.auth().status == 200
        body = self.body(case, caller)
        if isinstance(caller, Guest):
            cookie, answer = caller.cookie, caller.call(method, path, body)
            caller.cookie = cookie
            return answer
        return caller.call(method, path, body)

    def body(self, case: Case, caller: Guest | Administrator) -> object:
        if not case.sends.startswith("attestation") or "policy" in case.sends:
            return BODIES[case.sends]
        guest = caller if isinstance(caller, Guest) else self.kbs.guest()
        _, _, change = case.sends.partition(", ")
        if change == "other evidence":
            return guest.attestation(evidence={"x": 1})
        if change == "other report data":
            return guest.attestation(evidence={"svn": "1", "report_data": b64(bytes(48))})
        if change == "sampledevice":
            return guest.attestation(additional='{"sampledevice": {"svn": "1", "report_data": ""}}')
        document = guest.attestation()
        if change == "other nonce":
            document["runtime-data"]["nonce"] = b64(bytes(32))
        return document


@pytest.fixture(scope="module", params=["accurate", "reference"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp(request.param), request.param)
    yield made
    made.kbs.services.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_call_is_answered_as_the_table_says(scene: Scene, case: Case) -> None:
    answer = scene.call(case)
    expected = case.accurate if scene.manner == "accurate" else case.reference
    assert answer.status == expected, answer.body
    if case.variant:
        assert answer.variant == case.variant
        assert answer.headers["Content-Type"] == "application/json"
        assert set(answer.json) == {"type", "detail"}
    assert answer.headers["X-Request-Id"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert SECRET not in answer.body
    assert scene.kbs.admin.token.encode() not in answer.body
