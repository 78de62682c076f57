"""The server's side of the exchange on loopback: real EARs and real JWEs, answers that tests can bend."""

from __future__ import annotations

import json
import secrets
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from common.binding import binding_digest
from common.encoding import b64url_decode, b64url_encode
from kms import jwe
from verifier.ear import EarSigner, EarVerifier, new_jti
from wire.evidence import SnpEvidence
from wire.rcar import AppraisalRequest, Challenge, ReleaseRequest

AUDIENCE = "https://kbs.example"
SECRET = b"what only the guest may see"
Bend = Callable[[dict[str, Any]], Any]


class EchoAttester:
    """Evidence that is its report data and nothing else."""

    tee = "snp"
    binding_size = 64

    def endorsement(self):
        return None

    def collect(self, report_data, challenge):
        return SnpEvidence(report=b64url_encode(report_data))


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_arguments):
        pass


class Exchange:
    """A server in a thread. ``bend`` maps a step to a change of its answer; ``raw`` replaces it."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._signer = EarSigner(
            ec.generate_private_key(ec.SECP256R1()), issuer="t", developer="t", build="0"
        )
        self._ears = EarVerifier([self._signer.public_jwk], issuer="t", audience=AUDIENCE)
        self._nonces: set[str] = set()
        self.bend: dict[str, Bend] = {}
        self.raw: dict[str, tuple[str, list[tuple[str, str]], Any]] = {}
        self.status = "affirming"
        self.released = {"version": 1}
        self.keys: list[dict[str, str]] = []
        self.requests: list[str] = []
        self._server: WSGIServer = make_server("127.0.0.1", 0, self._answer, handler_class=_Quiet)
        scheme = "http"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://localhost:{self._server.server_port}"
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ, start_response):
        path = environ["PATH_INFO"]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        self.requests.append(path)
        step = {"/v1/challenges": "challenge", "/v1/appraisals": "appraisal"}.get(path, "release")
        if step in self.raw:
            status, headers, content = self.raw[step]
            start_response(status, headers)
            return [content] if isinstance(content, bytes) else content
        answer = getattr(self, f"_{step}")(path, body)
        if step in self.bend:
            answer = self.bend[step](answer) or answer
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    def _challenge(self, _path, _body):
        nonce = b64url_encode(secrets.token_bytes(32))
        self._nonces.add(nonce)
        return msgspec.to_builtins(Challenge(nonce=nonce, audience=AUDIENCE, expires_at=""))

    def _appraisal(self, _path, body):
        request = msgspec.json.decode(body, type=AppraisalRequest)
        self._nonces.remove(request.nonce)
        expected = binding_digest(
            nonce=b64url_decode(request.nonce), tee_pubkey=request.tee_pubkey, audience=AUDIENCE, size=64
        )
        assert b64url_decode(request.evidence.report) == expected
        self.keys.append(request.tee_pubkey)
        return {"status": self.status, "token": self.token(request.nonce, request.tee_pubkey)}

    def token(self, nonce, jwk, **changes) -> str:
        now = datetime.now(UTC)
        claims = {"aud": AUDIENCE, "jti": new_jti(now), "eat_nonce": nonce, "cnf": {"jwk": jwk}} | changes
        return self._signer.sign(claims, now=now, expires=now + timedelta(minutes=5))

    def _release(self, path, body):
        request = msgspec.json.decode(body, type=ReleaseRequest)
        claims = self._ears.verify(request.token, datetime.now(UTC))
        _, _, kind, *rest = path.split("/")
        name = f"{kind.removesuffix('s')}/{'/'.join(rest[:-1])}"
        named = {"resource": name, "version": 1, "ear_jti": claims["jti"]} | self.released
        return {"jwe": jwe.encrypt(jwe.recipient(claims["cnf"]["jwk"]), SECRET, **named)}
