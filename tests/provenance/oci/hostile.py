"""A registry that does what the test says: real HTTP on loopback, answers scripted, requests kept."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from provenance.oci import manifest
from provenance.oci.credentials import ANONYMOUS, Credentials
from provenance.oci.registry import RegistryClient
from provenance.oci.transport import Transport, TransportOptions

Respond = Callable[[str, dict[str, str]], "Reply"]


@dataclass
class Reply:
    """One answer; ``length`` states another Content-Length than the body has."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def descriptor(data: bytes, media_type: str = "application/x", **members: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)} | members


def image_manifest(**changes: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": manifest.IMAGE_MANIFEST,
        "config": descriptor(b"{}"),
        "layers": [],
    }
    return json.dumps(document | changes).encode()


def index_of(*entries: dict[str, Any]) -> bytes:
    document = {"schemaVersion": 2, "mediaType": manifest.IMAGE_INDEX, "manifests": list(entries)}
    return json.dumps(document).encode()


class Hostile:
    """Serves while its ``with`` block runs. Paths are answered by ``routes``, or by 404.

    Args:
        context: serve TLS.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.routes: dict[str, Reply | Respond] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                self._answer()

            def _answer(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.seen.append((self.path, headers))
                found = outer.routes.get(self.path) or outer.routes.get(self.path.partition("?")[0])
                reply = found if isinstance(found, Reply) else None
                if found is not None and reply is None:
                    reply = found(self.path, headers)  # type: ignore[operator]
                reply = reply or Reply(status=404)
                self.send_response(reply.status)
                for name, value in ({"Content-Length": str(len(reply.body))} | reply.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(reply.body)
                except OSError:
                    pass

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                pass  # a client that breaks off is what some tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'http' if context is None else 'https'}://{self.host}"
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def serve_image(self, data: bytes, tag: str = "v1", repository: str = "acme/cvm") -> str:
        """Serve a manifest under tag and digest; its digest."""
        for name in (tag, digest_of(data)):
            self.routes[f"/v2/{repository}/manifests/{name}"] = Reply(data)
        return digest_of(data)


@dataclass
class Sleeps:
    """Keeps pauses in place of making them."""

    made: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.made.append(seconds)


def client(
    *hosts: str,
    credentials: Credentials = ANONYMOUS,
    plain_http: bool = True,
    sleep: Sleeps | None = None,
    timeout_s: float = 5.0,
    ca_file: Path | None = None,
) -> RegistryClient:
    options = TransportOptions(
        allowed_hosts=hosts, plain_http=plain_http, timeout_s=timeout_s, ca_file=ca_file
    )
    return RegistryClient(Transport(options, sleep=sleep or Sleeps()), credentials)
