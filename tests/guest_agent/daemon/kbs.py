"""A KBS and an attestation service on loopback, for guests on `sample`: real binding, tokens and JWEs.

Answers have the forms and statuses of the reference as recorded; ``delay_s`` makes it slow, ``denied`` and
``refuse_evidence`` make it refuse.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwe, jwt
from joserfc.jwk import ECKey

from common import runtime_data
from common.encoding import b64_decode, b64_encode, b64url_decode
from wire.kbs import ERROR_TYPE_PREFIX

TOKEN_LIFE_S = 300


class Kbs:
    """Started by ``with``; ``resources`` is path to bytes."""

    def __init__(self) -> None:
        self.resources: dict[str, bytes] = {}
        self.denied: set[str] = set()
        self.refuse_evidence = False
        self.delay_s = 0.0
        self.token_life_s = TOKEN_LIFE_S
        self.attestations = 0
        self.appraised: list[dict[str, Any]] = []
        self.signer = ECKey.import_key(ec.generate_private_key(ec.SECP256R1()))
        self._nonces: dict[str, str] = {}
        self._keys: dict[str, dict[str, str]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, path: str, cookie: str, body: bytes) -> tuple[int, bytes, str | None]:
        """Status, body, and a session id to set."""
        time.sleep(self.delay_s)
        if (method, path) == ("POST", "/attestation"):
            return self._appraise(json.loads(body))
        if (method, path) == ("POST", "/kbs/v0/auth"):
            session = secrets.token_hex(16)
            self._nonces[session] = b64_encode(secrets.token_bytes(32))
            return 200, _json({"nonce": self._nonces[session], "extra-params": ""}), session
        if (method, path) == ("POST", "/kbs/v0/attest"):
            return self._attest(cookie, json.loads(body))
        if method == "GET" and path.startswith("/kbs/v0/resource/"):
            return self._resource(cookie, path.removeprefix("/kbs/v0/resource/"))
        return _refused(404, "PluginNotFound", "no such path")

    def _attest(self, session: str, document: dict[str, Any]) -> tuple[int, bytes, str | None]:
        runtime = document["runtime-data"]
        evidence = document["tee-evidence"]
        bound = runtime_data.digest(
            runtime_data.primary(runtime["nonce"], runtime["tee-pubkey"], evidence["additional_evidence"])
        )
        held = b64_decode(evidence["primary_evidence"]["report_data"]).rstrip(b"\0")
        fresh = self._nonces.pop(session, None) == runtime["nonce"]
        if self.refuse_evidence or not fresh or held != bound.rstrip(b"\0"):
            return _refused(401, "AttestationError", "RCAR handshake Attest failed")
        self.attestations += 1
        self._keys[session] = runtime["tee-pubkey"]
        return 200, _json({"token": self._token({"runtime_data_claims": runtime})}), session

    def _resource(self, session: str, path: str) -> tuple[int, bytes, str | None]:
        if session not in self._keys:
            return _refused(401, "TokenNotFound", "Attestation Token not found")
        if path in self.denied:
            return _refused(401, "PolicyDeny", "Access denied by policy")
        if path not in self.resources:
            return _refused(401, "PluginInternalError", "Plugin internal error")
        jwk = {name: self._keys[session][name] for name in ("kty", "crv", "x", "y")}
        header = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM"}
        compact = jwe.encrypt_compact(header, self.resources[path], ECKey.import_key(jwk))
        names = ("protected", "encrypted_key", "iv", "ciphertext", "tag")
        return 200, _json(dict(zip(names, compact.split("."), strict=True))), None

    def _appraise(self, document: dict[str, Any]) -> tuple[int, bytes, str | None]:
        """What an attestation service does; every failure is 500 and text."""
        (request,) = document["verification_requests"]
        assert document["policy_ids"] == []
        self.appraised.append(request)
        evidence = json.loads(b64url_decode(request["evidence"]))
        bound = runtime_data.digest(
            request["runtime_data"]["structured"], request["runtime_data_hash_algorithm"]
        )
        if self.refuse_evidence or b64_decode(evidence["report_data"]).rstrip(b"\0") != bound.rstrip(b"\0"):
            return 500, b"verifier evaluate failed\n\nCaused by: secret internals", None
        return (
            200,
            self._token({"runtime_data_claims": request["runtime_data"]["structured"]}).encode(),
            None,
        )

    def _token(self, claims: dict[str, Any]) -> str:
        now = int(time.time())
        lasting = {"iat": now, "exp": now + self.token_life_s, "jti": secrets.token_hex(8)}
        return jwt.encode({"alg": "ES256"}, lasting | claims, self.signer)


def _handler(kbs: Kbs) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            cookie = self.headers.get("Cookie", "").partition("kbs-session-id=")[2].partition(";")[0]
            status, answer, session = kbs.answer(self.command, self.path, cookie, body)
            self.send_response(status)
            if session is not None:
                self.send_header(
                    "Set-Cookie", f"kbs-session-id={session}; Expires=Fri, 01 Jan 2038 00:00:00 GMT"
                )
            self.send_header(
                "Content-Type", "text/plain" if self.path == "/attestation" else "application/json"
            )
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            pass

    return Handler


def _json(document: object) -> bytes:
    return json.dumps(document).encode()


def _refused(status: int, variant: str, detail: str) -> tuple[int, bytes, None]:
    return status, _json({"type": ERROR_TYPE_PREFIX + variant, "detail": detail}), None
