"""The gRPC servers of the settings: what listens where, how much of it, and with which certificates.

The attestation service's address answers for reference values too, as the reference's does. Every address
answers the health protocol (``grpc.health.v1``), from the same checks as ``/readyz``.

Bounds: message size in both directions, metadata size, streams per connection, calls under way, threads;
a handshake takes 10 s at most, an idle connection is closed. Two processes never share an address.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from common.errors import InvalidSetting
from service import profile, tls
from service.grpc import attestation, reference
from service.readiness import check_readiness
from wire.proto import attestation_pb2_grpc, reference_pb2_grpc

if TYPE_CHECKING:
    import threading

    from service.composition import Services
    from service.sections_grpc import GrpcSection

_LOG: Final = logging.getLogger("touchstone.grpc")
_QUEUED_PER_THREAD: Final = 16
_MAX_METADATA: Final = 16 << 10
_MAX_STREAMS: Final = 128
_IDLE_MS: Final = 600_000
_HANDSHAKE_MS: Final = 10_000
_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING


class GrpcServers:
    """Everything that listens.

    Args:
        services: what the methods use.

    Raises:
        InvalidSetting: an address cannot be listened on, or the TLS files are not usable.
        NotFound: a TLS file cannot be read.
    """

    def __init__(self, services: Services) -> None:
        """Bind every address; nothing is answered before ``start``."""
        self._services = services
        settings = services.settings.grpc
        watch = watch_of(settings)
        self._pools: list[ThreadPoolExecutor] = []
        self._servers: list[tuple[grpc.Server, health.HealthServicer, tuple[str, ...]]] = []
        for key, host, port in profile.grpc_listeners(services.settings):
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            self._servers.append(self._server(key, address, watch))

    def start(self) -> None:
        """Answer."""
        self.look()
        for server, _, _ in self._servers:
            server.start()
        _LOG.info("listening", extra={"fields": {"grpc": [*self._addresses()]}})

    def look(self) -> None:
        """Tell the health protocol what is the case now."""
        ready = all(item.ok for item in check_readiness(self._services))
        for _, servicer, names in self._servers:
            for name in ("", *names):
                servicer.set(name, _SERVING if ready else _NOT_SERVING)

    def stop(self, grace_s: float) -> None:
        """Take no more calls, let those under way finish for so long, then cut them off."""
        stopped: list[threading.Event] = []
        for server, servicer, _ in self._servers:
            servicer.enter_graceful_shutdown()
            stopped.append(server.stop(grace_s))
        for event in stopped:
            event.wait(grace_s + 1)
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)

    def _addresses(self) -> tuple[str, ...]:
        settings = self._services.settings.grpc
        return tuple(item for item in (settings.attestation, settings.reference_values) if item)

    def _server(
        self, key: str, address: str, watch: tls.TlsWatch | None
    ) -> tuple[grpc.Server, health.HealthServicer, tuple[str, ...]]:
        settings = self._services.settings.grpc
        pool = ThreadPoolExecutor(settings.threads, thread_name_prefix=f"grpc-{key}")
        self._pools.append(pool)
        server = grpc.server(
            pool,
            options=_options(settings),
            maximum_concurrent_rpcs=settings.threads * _QUEUED_PER_THREAD,
        )
        names = [reference.SERVICE]
        reference_pb2_grpc.add_ReferenceValueProviderServiceServicer_to_server(  # type: ignore[no-untyped-call]
            reference.ReferenceServicer(self._services), server
        )
        if key == "attestation":
            names.append(attestation.SERVICE)
            attestation_pb2_grpc.add_AttestationServiceServicer_to_server(  # type: ignore[no-untyped-call]
                attestation.AttestationServicer(self._services), server
            )
        servicer = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        _bind(server, key, address, watch)
        return server, servicer, tuple(names)


def watch_of(settings: GrpcSection) -> tls.TlsWatch | None:
    """The TLS files of the settings; None where plain connections are served.

    Raises:
        NotFound: a file cannot be read.
        InvalidSetting: the files are not usable.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return tls.TlsWatch(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)


def _bind(server: grpc.Server, key: str, address: str, watch: tls.TlsWatch | None) -> None:
    try:
        if watch is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, _credentials(watch))
    except RuntimeError as error:
        raise InvalidSetting(f"[grpc] {key}: cannot listen on {address}") from error


def _credentials(watch: tls.TlsWatch) -> grpc.ServerCredentials:
    """Credentials that follow the files: the library asks before each handshake."""
    pair = watch.current()
    state: dict[str, tls.TlsPair] = {"pair": pair}

    def fetch() -> Any:
        present = watch.current()
        if present is state["pair"]:
            return None
        state["pair"] = present
        return _configuration(present)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(pair), fetch, require_client_authentication=pair.client_ca is not None
    )


def _configuration(pair: tls.TlsPair) -> Any:
    return grpc.ssl_server_certificate_configuration(
        [(pair.private_key, pair.certificate_chain)], root_certificates=pair.client_ca
    )


def _options(settings: GrpcSection) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_metadata_size", _MAX_METADATA),
        ("grpc.absolute_max_metadata_size", _MAX_METADATA),
        ("grpc.max_concurrent_streams", _MAX_STREAMS),
        ("grpc.max_connection_idle_ms", _IDLE_MS),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
    ]
