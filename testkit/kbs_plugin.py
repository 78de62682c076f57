"""A real plugin server of the KBS (``kbs.plugin.v1``) for tests and the demo, in this process.

What it answers is read from the path:

* ``admin/...`` is for administrators, the rest is not; ``open/...`` needs no encryption, the rest does;
* ``status/<code>`` answers with that status, ``hang`` answers late, ``crash`` ends the call with an
  exception, ``big`` answers more than a client takes, ``type/<name>`` with a content type of ``TYPES``;
* everything else is told back: method, path, query and body.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Self

import grpc

from wire.proto import plugin_pb2, plugin_pb2_grpc

if TYPE_CHECKING:
    from types import TracebackType

TYPES: Final = {"html": "text/html; charset=utf-8", "split": "text/plain\r\nSet-Cookie: a=b"}
HANG_S: Final = 1.5
_BIG: Final = 5 << 20


class _Plugin(plugin_pb2_grpc.KbsPluginServicer):
    def Handle(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        first, second = (*request.path, "", "")[:2]
        _misbehave(first)
        if first == "status":
            return plugin_pb2.PluginResponse(status_code=int(second), body=b"what the plugin says")
        if first == "big":
            return plugin_pb2.PluginResponse(body=bytes(_BIG))
        told = {
            "method": request.method,
            "path": list(request.path),
            "query": dict(request.query),
            "body": request.body.decode("utf-8"),
        }
        return plugin_pb2.PluginResponse(
            body=json.dumps(told).encode("utf-8"), content_type=TYPES.get(second, "application/json")
        )

    def ValidateAuth(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        first = (*request.path, "")[0]
        _misbehave(first)
        return plugin_pb2.ValidateAuthResponse(requires_admin_auth=first == "admin")

    def NeedsEncryption(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        first = (*request.path, "")[0]
        _misbehave(first)
        return plugin_pb2.NeedsEncryptionResponse(requires_payload_encryption=first != "open")


class KbsPluginServer:
    """Runs while its ``with`` block does, on a free loopback port.

    Args:
        certificate: PEM chain and key, to serve TLS as ``localhost``.
        client_ca: PEM authorities; clients must present a certificate of theirs.
        port: a fixed port; a free one otherwise.
    """

    def __init__(
        self,
        *,
        certificate: tuple[bytes, bytes] | None = None,
        client_ca: bytes | None = None,
        port: int = 0,
    ) -> None:
        """Choose; nothing runs yet."""
        self._certificate = certificate
        self._client_ca = client_ca
        self.port = port
        self._server: Any = None

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"{'https' if self._certificate else 'http'}://localhost:{self.port}"

    def __enter__(self) -> Self:
        """Start."""
        self._server = grpc.server(ThreadPoolExecutor(max_workers=4))
        plugin_pb2_grpc.add_KbsPluginServicer_to_server(_Plugin(), self._server)  # type: ignore[no-untyped-call]
        address = f"localhost:{self.port}"
        if self._certificate is None:
            self.port = self._server.add_insecure_port(address)
        else:
            chain, key = self._certificate
            credentials = grpc.ssl_server_credentials(
                [(key, chain)], self._client_ca, require_client_auth=self._client_ca is not None
            )
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop at once, calls under way included."""
        self.stop()

    def stop(self) -> None:
        """Stop at once; harmless when it is stopped already."""
        if self._server is not None:
            self._server.stop(grace=None).wait()
            self._server = None


def _misbehave(what: str) -> None:
    if what == "hang":
        time.sleep(HANG_S)
    if what == "crash":
        raise RuntimeError("the plugin broke; its secret is 4711")
