"""KBS handshakes without HTTP and without a client: what the protocol's own part of them comes to.

Two processes, as the server has workers, call the WSGI application on one database, one call at a time
each. Only the time inside of it counts, waits for the disk included: a server with threads overlaps these.
It is measured after the servers, in another minute of a machine whose speed varies.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec

from common.encoding import b64_encode, b64url_encode
from service import settings
from service.observability import MULTIPROCESS_VARIABLE

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

_PROCESSES = 2
_WARM_UP = 100
_RESOURCE = "resource/default/test/dummy"


def handshakes_per_second(config: Path, seconds: int) -> float:
    """Of both processes together, on the data that a server with these settings left."""
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        return sum(pool.starmap(_rate, [(config, seconds)] * _PROCESSES, chunksize=1))


def _rate(config: Path, seconds: int) -> float:
    metrics = config.with_name("metrics")
    metrics.mkdir(exist_ok=True)
    os.environ[MULTIPROCESS_VARIABLE] = str(metrics)
    from service.worker import Worker  # noqa: PLC0415 (the metrics library reads the variable when imported)

    worker = Worker(settings.load(config))
    worker.settle()
    guest = _Guest(worker.app)
    for _ in range(_WARM_UP):
        guest.handshake()
    guest.spent, done, end = 0.0, 0, time.monotonic() + seconds
    while time.monotonic() < end:
        guest.handshake()
        done += 1
    worker.close()
    return done / guest.spent


class _Guest:
    """Makes handshakes, and adds up the time that the application took for them."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self.spent = 0.0

    def handshake(self) -> None:
        """A new key, its attestation, the resource."""
        answer, cookie = self._call("POST", "auth", b'{"version":"0.4.0","tee":"sample","extra-params":{}}')
        runtime_data = {"nonce": json.loads(answer)["nonce"], "tee-pubkey": _new_key()}
        bound = json.dumps({"additional-evidence": ""} | runtime_data, separators=(",", ":"))
        digest = b64_encode(hashlib.sha384(bound.encode()).digest())
        evidence = {"primary_evidence": {"report_data": digest, "svn": "1"}, "additional_evidence": ""}
        attestation = {"init-data": None, "runtime-data": runtime_data, "tee-evidence": evidence}
        self._call("POST", "attest", json.dumps(attestation).encode(), cookie)
        self._call("GET", _RESOURCE, b"", cookie)

    def _call(self, method: str, path: str, body: bytes, cookie: str = "") -> tuple[bytes, str]:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": f"/kbs/v0/{path}",
            "QUERY_STRING": "",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
        }
        if cookie:
            environ["HTTP_COOKIE"] = cookie
        answered: list[Any] = []

        def start_response(*given: Any) -> Any:
            answered.extend(given)

        begun = time.perf_counter()
        answer = b"".join(self._app(environ, start_response))
        self.spent += time.perf_counter() - begun
        if answered[0] != "200 OK":
            raise RuntimeError(f"{method} {path}: {answered[0]}")
        return answer, dict(answered[1]).get("Set-Cookie", "").partition(";")[0]


def _new_key() -> dict[str, str]:
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    x, y = (b64url_encode(part.to_bytes(32, "big")) for part in (numbers.x, numbers.y))
    return {"alg": "ECDH-ES+A256KW", "crv": "P-256", "kty": "EC", "x": x, "y": y}
