"""Administrators of identity providers over HTTP: by role, method and path, and nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from werkzeug.test import EnvironBuilder, run_wsgi_app

from tests.service.coco.conftest import DEVELOPMENT, SECRET, Kbs, make
from tests.service.coco.kbs import SVN, Administrator, Answer, b64, b64url, claims_of

ALLOW = {"policy": b64url(b"package policy\nallow := true\n")}
VALUES = {"version": "0.1.0", "type": "sample", "payload": b64(json.dumps(SVN).encode())}
ROUTES: dict[str, tuple[str, str, object]] = {
    "read policies": ("GET", "resource-policy", None),
    "write the resource policy": ("POST", "resource-policy", ALLOW),
    "write attestation policies": (
        "POST",
        "attestation-policy",
        {"policy_id": "x_cpu", "policy": b64url(b"package policy\ntrust_claims := {}\n")},
    ),
    "read values": ("GET", "reference-value/svn", None),
    "write values": ("POST", "reference-value", VALUES),
    "write a": ("POST", "resource/team-a/key/1", SECRET),
    "write b": ("POST", "resource/team-b/key/1", SECRET),
    "delete a": ("DELETE", "resource/team-a/key/0", None),
    "list": ("GET", "resource", None),
}
RULES = [
    {"role": "admin", "allowed_endpoints": "^/kbs/.+$"},
    {"role": "team-a", "methods": ["POST"], "allowed_endpoints": "^/kbs/v0/resource/team-a/[^/]+/[^/]+$"},
    {"role": "author", "methods": ["GET"], "allowed_endpoints": "^/kbs/v0/(resource-policy)$"},
    {"role": "one", "allowed_endpoints": "^/kbs/v0/resource/team-a/key/0$"},
]
MAY = {
    "admin": set(ROUTES),
    "team-a": {"write a"},
    "author": {"read policies"},
    "one": {"delete a"},
    "nobody": set(),
}


@dataclass
class Provided:
    """A server with an identity provider."""

    kbs: Kbs
    key: ed25519.Ed25519PrivateKey

    def token(self, role: object = "admin", key: Any = None, **claims: Any) -> str:
        body = {"iss": "idp", "aud": "KBS", "exp": int(self.kbs.clock.now.timestamp()) + 60, "role": role}
        body = {name: value for name, value in (body | claims).items() if value is not None}
        parts = [b64url(json.dumps(part).encode()) for part in ({"alg": "EdDSA", "typ": "JWT"}, body)]
        signature = (key or self.key).sign(".".join(parts).encode())
        return ".".join([*parts, b64url(signature)])

    def call(self, token: str | None, route: str) -> Answer:
        return Administrator(self.kbs.http, token).call(*ROUTES[route])


@pytest.fixture(scope="module")
def provided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provided]:
    folder: Path = tmp_path_factory.mktemp("provided")
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "idp.pem").write_bytes(public)
    provider = {"name": "idp", "issuer": "idp", "audience": "KBS", "public_key": str(folder / "idp.pem")}
    admin = {"providers": [provider], "acls": RULES, "revoked_token_ids": ["gone"], "native_tokens": True}
    kbs = make(folder, DEVELOPMENT | {"coco": DEVELOPMENT["coco"] | {"admin": admin}})
    kbs.admin.reference_values(SVN)
    yield Provided(kbs, key)
    kbs.services.close()


def refused(answer: Answer) -> None:
    assert (answer.status, answer.variant) == (401, "AdminAuthAccess"), answer.body


@pytest.mark.parametrize("role", MAY)
@pytest.mark.parametrize("route", ROUTES)
def test_a_role_may_what_its_rules_say(provided: Provided, role: str, route: str) -> None:
    provided.kbs.admin.call("POST", "resource/team-a/key/0", SECRET)
    answer = provided.call(provided.token(role), route)
    if route in MAY[role]:
        assert answer.status == 200, answer.body
    else:
        refused(answer)


@pytest.mark.parametrize("route", ROUTES)
def test_no_route_is_open(provided: Provided, route: str) -> None:
    other = ed25519.Ed25519PrivateKey.generate()
    guest = provided.kbs.guest()
    guest.attest()
    assert claims_of(guest.token)["submods"]
    for token in (
        None,
        "",
        "x",
        guest.token,
        provided.kbs.admin.token[:-1],
        provided.token(key=other),
        provided.token(exp=1),
        provided.token(exp=None),
        provided.token(iss="other"),
        provided.token(aud="other"),
        provided.token(aud=None),
        provided.token(jti="gone"),
        provided.token(nbf=2**33),
        provided.token(None),
        provided.token(["admin"]),
        provided.token("Admin"),
        provided.token("admin\n"),
    ):
        refused(provided.call(token, route))


def test_an_escaped_question_mark_does_not_shorten_the_path(provided: Provided) -> None:
    """Also where the server front end does not tell what was sent."""
    provided.kbs.admin.call("POST", "resource/team-a/key/0", SECRET)
    builder = EnvironBuilder(
        path="/kbs/v0/resource/team-a/key/0%3Fx",
        method="DELETE",
        headers={"Authorization": f"Bearer {provided.token('one')}"},
    )
    for told in (True, False):
        environ = builder.get_environ()
        if not told:
            environ.pop("RAW_URI", None)
            environ.pop("REQUEST_URI", None)
            assert environ["PATH_INFO"].endswith("/0?x")
        body, status, _ = run_wsgi_app(provided.kbs.http.application.wsgi_app, environ)
        assert status.startswith("401")
        assert b"AdminAuthAccess" in b"".join(body)
    assert provided.call(provided.token("one"), "delete a").status == 200


def test_the_record_names_the_administrator(provided: Provided) -> None:
    assert provided.call(provided.token("admin", sub="alice"), "write the resource policy").status == 200
    headers = {"Authorization": f"Bearer {provided.kbs.admin.token}"}
    items = provided.kbs.http.get("/v1/audit?limit=500", headers=headers).json["items"]
    actors = {item["entry"]["actor"] for item in items if item["entry"]["action"] == "policy.put"}
    assert any("alice" in actor and "idp" in actor for actor in actors), actors
