"""The ``external`` plugin: requests under ``/kbs/v0/external/<name>/`` go to gRPC servers of others.

The wire is ``kbs.plugin.v1.KbsPlugin`` (wire/proto/plugin.proto); the path goes on without the name. An
answer's status 0, the default of the wire, is 200; one outside 200 to 299 is a refusal.

Invariants:

* A server that does not answer in time, breaks off, or lacks a method gives an error: neither "no
  administrator is needed" nor "no encryption is needed" is ever assumed.
* https demands the authority's certificate, and may present one of ours; http beyond loopback is for the
  development profile (``service.coco_admin``). No proxy of the environment is used, nothing is retried.
* A process makes its own channel, at the first call: one does not survive a fork.
* What a server says in its errors is in no error of ours; its content type passes if it is one.
* Each call is recorded before it is made (``requested``): what the server does is no transaction of ours.
"""

from __future__ import annotations

import os
import re
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import grpc
import msgspec

from coco.errors import CocoSetting, PluginFailed, PluginUnavailable, PluginUnknown
from coco.plugins.port import OCTETS, PluginAnswer, PluginCall
from common.errors import TouchstoneError
from common.files import read_limited, read_private
from kms.audit import AuditEvent, AuditLog
from wire.proto import plugin_pb2, plugin_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from pathlib import Path

DEFAULT_TIMEOUT_MS: Final = 5000
MAX_ANSWER: Final = 4 << 20
_MAX_CERTIFICATES: Final = 1 << 20
_OK: Final = range(200, 300)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")
_MEDIA_TYPE: Final = re.compile(r"[\w.+-]{1,64}/[\w.+-]{1,64}(; ?charset=[\w-]{1,32})?\Z", re.ASCII)
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_ANSWER),
    ("grpc.max_send_message_length", MAX_ANSWER),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
)


class ExternalBackend(msgspec.Struct, frozen=True):
    """A server, as it is configured.

    Attributes:
        name: the segment after ``external/``.
        endpoint: ``https://host:port``, or ``http://`` without TLS.
        ca_certificate: PEM authorities for the server's certificate; https demands it.
        client_certificate: PEM chain that we present.
        client_key: its PEM key, mode 0600.
        timeout_ms: of one call.
    """

    name: str
    endpoint: str
    ca_certificate: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    timeout_ms: int = DEFAULT_TIMEOUT_MS

    @property
    def encrypted(self) -> bool:
        """Whether TLS is spoken."""
        return self.endpoint.startswith("https://")

    @property
    def host(self) -> str:
        """The host of the endpoint."""
        return urlsplit(self.endpoint).hostname or ""


class ExternalPlugin:
    """Hands requests on.

    Args:
        backends: with names of their own.
        audit: where calls are recorded.

    Raises:
        CocoSetting: no backend, one name twice, or a backend that is not usable.
    """

    name = "external"

    def __init__(self, backends: Iterable[ExternalBackend], audit: AuditLog) -> None:
        """Check the configuration; nothing is connected yet."""
        configured = tuple(backends)
        self._servers = {backend.name: _Server(backend) for backend in configured}
        if not configured or len(self._servers) != len(configured):
            raise CocoSetting("the external plugin has no backend, or two of one name")
        self._audit = audit

    def validate_auth(self, call: PluginCall) -> bool:
        """What the server says.

        Raises:
            PluginUnknown: no such backend.
            PluginFailed: path or query is not text.
            PluginUnavailable: the server does not say.
        """
        server, message = self._request(call, plugin_pb2.ValidateAuthRequest)
        return bool(server.ask("ValidateAuth", message).requires_admin_auth)

    def needs_encryption(self, call: PluginCall) -> bool:
        """What the server says; errors as ``validate_auth``."""
        server, message = self._request(call, plugin_pb2.NeedsEncryptionRequest)
        return bool(server.ask("NeedsEncryption", message).requires_payload_encryption)

    def handle(self, call: PluginCall, *, by: str, now: datetime) -> PluginAnswer:
        """Let the server do it.

        Raises:
            PluginUnknown: no such backend.
            PluginFailed: the server refuses; ``details`` has its status.
            PluginUnavailable: the server does not answer.
            AuditUnavailable: the record could not be written; nothing was done.
        """
        server, message = self._request(call, plugin_pb2.PluginRequest)
        target = "/".join((self.name, *call.path))
        details: dict[str, object] = {"method": call.method, "size": len(call.body)}
        self._audit.record(AuditEvent("plugin.call", by, target, "requested", now, details))
        answer = server.ask("Handle", message)
        status = answer.status_code or _OK.start
        if status not in _OK:
            raise PluginFailed(
                f"the plugin {server.name} refuses with status {status}", details={"status": status}
            )
        media_type = answer.content_type if _MEDIA_TYPE.match(answer.content_type) else OCTETS
        return PluginAnswer(status, answer.body, media_type)

    def close(self) -> None:
        """Close the channels."""
        for server in self._servers.values():
            server.close()

    def _request(self, call: PluginCall, kind: Callable[..., Any]) -> tuple[_Server, Any]:
        server = self._servers.get(call.path[0]) if call.path else None
        if server is None:
            raise PluginUnknown("no external plugin of that name is configured")
        try:
            message = kind(body=call.body, query=call.query, path=call.path[1:], method=call.method)
        except ValueError as error:  # text that has no UTF-8
            raise PluginFailed("path or query is not text") from error
        return server, message


class _Server:
    """One backend and this process's channel to it."""

    def __init__(self, backend: ExternalBackend) -> None:
        self.name = backend.name
        self._backend = backend
        self._target = _target(backend)
        self._lock = threading.Lock()
        self._channel: Any = None
        this = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _after_fork(this()))

    def ask(self, method: str, message: Any) -> Any:
        """One call within the time limit.

        Raises:
            PluginUnavailable: no answer.
        """
        stub = plugin_pb2_grpc.KbsPluginStub(self._opened())  # type: ignore[no-untyped-call]
        try:
            return getattr(stub, method)(message, timeout=self._backend.timeout_ms / 1000)
        except grpc.RpcError as error:
            status = error.code().name if isinstance(error, grpc.Call) else "UNKNOWN"
            raise PluginUnavailable(
                f"the plugin {self.name} does not answer: {status}", details={"grpc": status}
            ) from error

    def close(self) -> None:
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def forget(self) -> None:
        """In a child: neither lock nor channel of the parent is of use here."""
        self._lock = threading.Lock()
        self._channel = None

    def _opened(self) -> Any:
        with self._lock:
            if self._channel is None:
                if self._backend.encrypted:
                    credentials = _credentials(self._backend)
                    self._channel = grpc.secure_channel(self._target, credentials, options=_OPTIONS)
                else:
                    self._channel = grpc.insecure_channel(self._target, options=_OPTIONS)
            return self._channel


def _after_fork(server: _Server | None) -> None:
    if server is not None:
        server.forget()


def _target(backend: ExternalBackend) -> str:
    """``host:port`` for gRPC.

    Raises:
        CocoSetting: the backend is not usable.
    """
    where = f"external plugin {backend.name[:64]!a}"
    if not _NAME.match(backend.name):
        raise CocoSetting(f"{where}: a name has letters, digits, - and _")
    parts = urlsplit(backend.endpoint)
    try:
        port = parts.port
    except ValueError:
        port = None
    plain = not parts.path.strip("/") and not parts.query and not parts.fragment and "@" not in parts.netloc
    if parts.scheme not in {"http", "https"} or not parts.hostname or port is None or not plain:
        raise CocoSetting(f"{where}: endpoint is https://host:port, or http://host:port")
    certificates = (backend.ca_certificate, backend.client_certificate, backend.client_key)
    if not backend.encrypted and any(certificates):
        raise CocoSetting(f"{where}: http speaks no TLS and takes no certificates")
    if backend.encrypted and backend.ca_certificate is None:
        raise CocoSetting(f"{where}: https demands ca_certificate")
    if (backend.client_certificate is None) != (backend.client_key is None):
        raise CocoSetting(f"{where}: client_certificate and client_key go together")
    if backend.timeout_ms < 1:
        raise CocoSetting(f"{where}: timeout_ms is positive")
    return f"dns:///{parts.netloc}"


def _credentials(backend: ExternalBackend) -> Any:
    """What TLS needs, out of the files.

    Raises:
        PluginUnavailable: a file cannot be read.
    """

    def read(path: Path | None) -> bytes | None:
        if path is None:
            return None
        return read_limited(path, what="certificate", max_bytes=_MAX_CERTIFICATES)

    try:
        authorities, chain = read(backend.ca_certificate), read(backend.client_certificate)
        key = None if backend.client_key is None else read_private(backend.client_key, what="client key")
    except TouchstoneError as error:  # names a path of ours, which is not for the caller
        raise PluginUnavailable(
            f"the certificates for plugin {backend.name} cannot be read, or others can read the key"
        ) from error
    return grpc.ssl_channel_credentials(authorities, key, chain)
