"""A guest and an administrator of the KBS protocol, written from the specification, for tests.

Nothing of the guest agent is used: the server is held against the protocol, not against ourselves.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tomllib
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from flask.testing import FlaskClient

SVN = {"svn": ["1"], "launch_digest": ["abcde"], "major_version": 1, "minimum_minor_version": 1}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def canonical(value: Any) -> bytes:
    """RFC 8785 for objects of text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def variant(self) -> str:
        return str(self.json["type"]).removeprefix("https://github.com/confidential-containers/kbs/errors/")


@dataclass
class Guest:
    """Attests with the sample TEE, or with what ``evidence`` makes of the digest."""

    http: FlaskClient
    tee: str = "sample"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    cookie: str | None = None
    nonce: str = ""
    token: str = ""

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        sent = dict(headers)
        if self.cookie is not None:
            sent.setdefault("Cookie", f"kbs-session-id={self.cookie}")
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        got = self.http.open(f"/kbs/v0/{path}", method=method, data=data, headers=sent)
        answer = Answer(got.status_code, got.data, dict(got.headers))
        if "Set-Cookie" in answer.headers:
            self.cookie = answer.headers["Set-Cookie"].split(";")[0].split("=", 1)[1]
        return answer

    @property
    def jwk(self) -> dict[str, str]:
        numbers = self.key.public_key().public_numbers()
        x, y = (b64url(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": x, "y": y}

    def auth(self) -> Answer:
        body = {"version": "0.4.0", "tee": self.tee, "extra-params": ""}
        answer = self.call("POST", "auth", body)
        if answer.status == 200:
            self.nonce = answer.json["nonce"]
        return answer

    def attestation(
        self, *, evidence: Any = None, init_data: str | None = None, additional: str = ""
    ) -> dict[str, Any]:
        runtime = {"nonce": self.nonce, "tee-pubkey": self.jwk}
        digest = hashlib.sha384(canonical(runtime | {"additional-evidence": additional})).digest()
        if evidence is None:
            evidence = {"svn": "1", "report_data": b64(digest)}
        elif callable(evidence):
            evidence = evidence(digest)
        document: dict[str, Any] = {
            "runtime-data": runtime,
            "tee-evidence": {"primary_evidence": evidence, "additional_evidence": additional},
        }
        document["init-data"] = None if init_data is None else {"format": "toml", "body": init_data}
        return document

    def attest(self, **options: Any) -> Answer:
        """A whole handshake."""
        assert self.auth().status == 200
        answer = self.call("POST", "attest", self.attestation(**options))
        if answer.status == 200:
            self.token = answer.json["token"]
        return answer

    def open(self, document: dict[str, str]) -> bytes:
        """Open a flattened JWE: RFC 7518 section 4.6 by hand."""
        header = json.loads(unb64url(document["protected"]))
        assert list(header) == ["alg", "enc", "epk"]
        epk = header["epk"]
        x, y = (int.from_bytes(unb64url(epk[name]), "big") for name in ("x", "y"))
        peer = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        name = b"ECDH-ES+A256KW"
        info = len(name).to_bytes(4, "big") + name + bytes(8) + (256).to_bytes(4, "big")
        secret = self.key.exchange(ec.ECDH(), peer)
        kek = ConcatKDFHash(SHA256(), 32, info).derive(secret)
        key = aes_key_unwrap(kek, unb64url(document["encrypted_key"]))
        sealed = unb64url(document["ciphertext"]) + unb64url(document["tag"])
        return AESGCM(key).decrypt(unb64url(document["iv"]), sealed, document["protected"].encode())


@dataclass
class Administrator:
    """Calls the administrators' routes with a token."""

    http: FlaskClient
    token: str | None

    def call(self, method: str, path: str, body: object = None) -> Answer:
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        got = self.http.open(f"/kbs/v0/{path}", method=method, data=data, headers=headers)
        return Answer(got.status_code, got.data, dict(got.headers))

    def resource_policy(self, text: str) -> Answer:
        return self.call("POST", "resource-policy", {"policy": b64url(text.encode())})

    def attestation_policy(self, policy_id: str, text: str) -> Answer:
        body = {"type": "rego", "policy_id": policy_id, "policy": b64url(text.encode())}
        return self.call("POST", "attestation-policy", body)

    def reference_values(self, values: dict[str, Any]) -> Answer:
        payload = b64(json.dumps(values).encode())
        return self.call(
            "POST", "reference-value", {"version": "0.1.0", "type": "sample", "payload": payload}
        )


def claims_of(token: str) -> dict[str, Any]:
    claims = json.loads(unb64url(token.split(".")[1]))
    assert isinstance(claims, dict)
    return claims


def toml(text: str) -> dict[str, Any]:
    return tomllib.loads(text)
