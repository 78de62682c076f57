"""A KBS on loopback: real HTTP, real JWEs, a session per cookie; or recorded answers of the reference."""

from __future__ import annotations

import base64
import json
import re
import secrets
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self

from joserfc import jwe
from joserfc.jwk import ECKey, RSAKey

from common import runtime_data
from common.encoding import b64url_encode

SECRET = b"what only the guest may see"
ERRORS = "https://github.com/confidential-containers/kbs/errors/"


class Recorded(NamedTuple):
    """An answer: status, headers, body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Request(NamedTuple):
    """What came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cookie(self) -> str | None:
        return self.headers.get("cookie")


def error(status: int, variant: str, detail: str = "no") -> Recorded:
    body = json.dumps({"type": ERRORS + variant, "detail": detail}).encode()
    return Recorded(status, {}, body)


def answers(path: Path) -> list[Recorded]:
    """The recorded answers of a transcript of the client, in order."""
    found = []
    text = path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n")
    for part in re.split(r"\n===== .*? RESPONSE server -> client =====\n", text)[1:]:
        head, _, rest = part.partition("\n\n")
        first, *lines = head.split("\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = rest.encode()[: int(headers["content-length"])]
        kept = {name: headers[name] for name in ("content-type", "set-cookie") if name in headers}
        found.append(Recorded(int(first.split()[1]), kept, body))
    return found


def raw_answers(path: Path) -> dict[str, Recorded]:
    """Title to answer of a transcript of raw requests."""
    found = {}
    text = path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n")
    for part in re.split(r"\n## ", text)[1:]:
        title = part.partition("\n")[0]
        match = re.search(r"----- RESPONSE \(.*?\) -----\n(.*?)\n\n(.*)", part, re.DOTALL)
        if match is None:
            continue
        first, *lines = match[1].split("\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = match[2].encode()[: int(headers.get("content-length", 0))]
        kept = {name: headers[name] for name in ("content-type", "set-cookie") if name in headers}
        found[title] = Recorded(int(first.split()[1]), kept, body)
    return found


def encrypted(jwk: dict[str, str], plaintext: bytes = SECRET, **header: Any) -> bytes:
    """A flattened JWE to a guest's key, made by joserfc (its compact form has the same five parts)."""
    key = (ECKey if jwk["kty"] == "EC" else RSAKey).import_key(dict(jwk))
    protected = {"alg": jwk["alg"], "enc": "A256GCM"} | header
    algorithms = ["ECDH-ES+A256KW", "RSA-OAEP-256", "RSA1_5", "A256GCM", "A128GCM", "DEF"]
    registry = jwe.JWERegistry(algorithms=algorithms, strict_check_header=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # RSA1_5
        compact = jwe.encrypt_compact(protected, plaintext, key, registry=registry)
    names = ("protected", "encrypted_key", "iv", "ciphertext", "tag")
    return json.dumps(dict(zip(names, compact.split("."), strict=True))).encode()


class Kbs:
    """A KBS that checks what it can check without a TEE: nonce, cookie, binding of a sample's report data.

    ``scripted`` answers are given first, in order; ``bend`` maps ``auth``, ``attest`` or ``get`` to a
    change of the honest answer.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.scripted: Iterator[Recorded] = iter(())
        self.bend: dict[str, Callable[[Recorded], Recorded]] = {}
        self.requests: list[Request] = []
        self.extra: Any = ""
        self.hash = runtime_data.DEFAULT_HASH
        self.plugin: Recorded | None = None
        self._nonces: dict[str, str] = {}
        self._keys: dict[str, dict[str, str]] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = outer.answer(Request(self.command, self.path, headers, body))
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = handle_any  # noqa: N815

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        scheme = "http"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.port = self._server.server_port
        self.url = f"{scheme}://localhost:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def steps(self) -> list[str]:
        """Last path segment of auth and attest, ``get`` for the rest, in order."""
        return [self._step(request) for request in self.requests]

    @staticmethod
    def _step(request: Request) -> str:
        return request.target.rpartition("/")[2] if request.method == "POST" else "get"

    def answer(self, request: Request) -> Recorded | None:
        self.requests.append(request)
        for scripted in self.scripted:
            return scripted
        step = self._step(request)
        answer = getattr(self, f"_{step}")(request)
        return self.bend[step](answer) if step in self.bend else answer

    def _auth(self, request: Request) -> Recorded:
        if request.json["version"] != "0.4.0":
            return error(401, "AttestationError")
        session, nonce = secrets.token_hex(16), base64.b64encode(secrets.token_bytes(32)).decode()
        self._nonces[session] = nonce
        body = json.dumps({"nonce": nonce, "extra-params": self.extra}).encode()
        return Recorded(200, {"Set-Cookie": f"kbs-session-id={session}; Expires=x; Path=/kbs/v0"}, body)

    def _attest(self, request: Request) -> Recorded:
        session = str(request.cookie).removeprefix("kbs-session-id=")
        document = request.json
        data, evidence = document["runtime-data"], document["tee-evidence"]
        nonce = self._nonces.pop(session, None)
        additional = evidence["additional_evidence"]
        bound = runtime_data.primary(data["nonce"], data["tee-pubkey"], additional)
        report_data = base64.b64encode(runtime_data.digest(bound, self.hash)).decode()
        if nonce != data["nonce"] or evidence["primary_evidence"]["report_data"] != report_data:
            return error(401, "AttestationError")
        devices = json.loads(additional) if additional else {}
        bound = runtime_data.device(nonce, data["tee-pubkey"])
        report_data = base64.b64encode(runtime_data.digest(bound, self.hash)).decode()
        if any(device["report_data"] != report_data for device in devices.values()):
            return error(401, "AttestationError")
        self._keys[session] = data["tee-pubkey"]
        return Recorded(200, {}, json.dumps({"token": self.token(session)}).encode())

    def token(self, session: str) -> str:
        """Not signed by anybody: the guest does not check it."""
        return f"{b64url_encode(b'{}')}.{b64url_encode(session.encode())}.{b64url_encode(b's')}"

    def _get(self, request: Request) -> Recorded:
        session = str(request.cookie).removeprefix("kbs-session-id=")
        if "authorization" in request.headers:
            payload = request.headers["authorization"].split(".")[1]
            session = base64.urlsafe_b64decode(payload + "==").decode()
        key = self._keys.get(session)
        if key is None:
            return error(401, "TokenNotFound", "Attestation Token not found")
        if self.plugin is not None:
            return self.plugin
        return Recorded(200, {"Content-Type": "application/json"}, encrypted(key))
