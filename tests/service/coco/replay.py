"""Sends the exchanges of transcripts to a server of ours, with what must differ put in its place.

Ours instead of theirs, wherever it appears in a later request: session cookies, nonces, attestation tokens
(a forged signature stays forged), the TEE's keys, administrators' tokens (the same claims, signed anew by a
key that our server is told of). Sample evidence is made anew for our nonce and key; where the transcript's
was bound to something else, ours differs from the right one in the same bits.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from flask.testing import FlaskClient

from tests.service.coco.kbs import b64url, canonical, unb64url
from tests.service.coco.transcripts import Exchange

_EC = ec.generate_private_key(ec.SECP256R1())
_RSA = rsa.generate_private_key(65537, 2048)
_REPLACED = frozenset({"host", "connection", "content-length", "accept", "user-agent"})


@dataclass(frozen=True)
class Observed:
    """Our answer."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Replayer:
    """Keeps what is ours for what was theirs."""

    http: FlaskClient
    admin_key: ed25519.Ed25519PrivateKey
    own: dict[str, str] = field(default_factory=dict)
    tokens: list[tuple[str, str]] = field(default_factory=list)
    cookie: str | None = None

    def send(self, exchange: Exchange) -> Observed:
        """One exchange; what our answer brings is remembered for the next ones."""
        headers = {
            name: self._header(name, value)
            for name, value in exchange.request.headers.items()
            if name not in _REPLACED
        }
        body = self._body(exchange)
        got = self.http.open(exchange.target, method=exchange.method, data=body or None, headers=headers)
        ours = Observed(got.status_code, dict(got.headers), got.data)
        self._remember(exchange, ours)
        return ours

    def _header(self, name: str, value: str) -> str:
        if name == "cookie":
            key, _, session = value.partition("=")
            return f"{key}={self.own.get(session, session)}"
        if name == "authorization":
            return "Bearer " + self._token(value.removeprefix("Bearer "))
        return value

    def _token(self, token: str) -> str:
        signed, _, signature = token.rpartition(".")
        for theirs, ours in self.tokens:
            if theirs == token:
                return ours
            if theirs.startswith(signed + "."):
                return f"{ours.rpartition('.')[0]}.{signature}"
        try:
            header = json.loads(unb64url(token.split(".", maxsplit=1)[0]))
        except ValueError:
            return token
        if header["alg"] != "EdDSA":
            return token
        return f"{signed}.{b64url(self.admin_key.sign(signed.encode()))}"

    def _body(self, exchange: Exchange) -> bytes:
        body = exchange.request.body
        if not exchange.target.endswith("/attest") or not body.startswith(b"{"):
            return body
        document = json.loads(body)
        if "runtime-data" not in document:
            return body
        theirs = dict(document["runtime-data"])
        ours = {
            "nonce": self.own.get(theirs["nonce"], theirs["nonce"]),
            "tee-pubkey": _key(theirs["tee-pubkey"]),
        }
        document["runtime-data"] = ours
        evidence = document["tee-evidence"]["primary_evidence"]
        if "report_data" in evidence:
            additional = {"additional-evidence": document["tee-evidence"]["additional_evidence"]}
            wrong = _xor(base64.b64decode(evidence["report_data"]), _digest(theirs | additional))
            evidence["report_data"] = base64.b64encode(_xor(wrong, _digest(ours | additional))).decode()
        return json.dumps(document).encode()

    def _remember(self, exchange: Exchange, ours: Observed) -> None:
        theirs = exchange.response
        if theirs is None or exchange.status != ours.status or ours.status != 200:
            return
        if "set-cookie" in theirs.headers:
            self.own[_session(theirs.headers["set-cookie"])] = _session(ours.headers["Set-Cookie"])
        if exchange.target.endswith("/auth"):
            self.own[json.loads(theirs.body)["nonce"]] = json.loads(ours.body)["nonce"]
        if exchange.target.endswith("/attest"):
            self.tokens.append((json.loads(theirs.body)["token"], json.loads(ours.body)["token"]))


def private_key(jwk_kty: str) -> Any:
    """The key that stands for the transcripts' TEE keys of a type."""
    return _RSA if jwk_kty == "RSA" else _EC


def _key(theirs: dict[str, str]) -> dict[str, str]:
    if theirs["kty"] == "RSA":
        numbers = _RSA.public_key().public_numbers()
        return theirs | {"n": b64url(numbers.n.to_bytes(256, "big"))}
    point = _EC.public_key().public_numbers()
    return theirs | {name: b64url(getattr(point, name).to_bytes(32, "big")) for name in ("x", "y")}


def _digest(runtime: dict[str, Any]) -> bytes:
    return hashlib.sha384(canonical(runtime)).digest()


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _session(header: str) -> str:
    return header.split(";", maxsplit=1)[0].partition("=")[2]
