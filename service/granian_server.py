"""granian, embedded: the faster of the two servers (``[server] engine = "granian"``).

It reads and writes HTTP outside the interpreter, so that a slow client holds no thread, and gives each
worker two threads that run requests. As with gunicorn, everything is prepared and built once before the
fork, and each worker builds its own parts; a stop by SIGTERM lets requests finish, writes the queued
appraisal records, and ends.

TLS files that change are noticed by a thread of the main process, which then has the workers replaced one
by one; requests under way are finished.

What it lacks: a worker that hangs inside a request is not noticed and replaced (gunicorn does that after
``timeout_s``); the application is not told the client's certificate, so that a certificate can be demanded
of every connection or of none (``service.profile``).
"""

from __future__ import annotations

import logging
import os
import threading
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any

from common.errors import DependencyMissing
from service import parent_death, profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from service.settings import Settings
    from service.tls import TlsWatch

_LOG = logging.getLogger("touchstone.server")
_MAX_HEADER_BYTES = 16 << 10  # request line and headers together
_HEADER_TIMEOUT_MS = 15_000
_CLOSE_PRIORITY = 10
_TLS_INTERVAL_S = 1.0


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        DependencyMissing: granian is not installed.
    """
    try:
        from granian.constants import HTTPModes, Interfaces, SSLProtocols  # noqa: PLC0415 (an optional dependency)
        from granian.http import HTTP1Settings  # noqa: PLC0415
        from granian.server import Server  # noqa: PLC0415
    except ImportError as error:
        raise DependencyMissing(
            "granian is not installed",
            advice='Install touchstone[granian], or set `engine = "gunicorn"` in [server].',
        ) from error
    server = settings.server
    host, port = profile.listen_address(server.listen)
    running = Server(
        "touchstone",
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=server.workers,
        blocking_threads=2,  # one computes while the other waits for the disk (storage.turns)
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=_HEADER_TIMEOUT_MS, max_buffer_size=_MAX_HEADER_BYTES
        ),
        websockets=False,
        log_enabled=False,
        ssl_cert=server.tls_certificate,
        ssl_key=server.tls_key,
        ssl_protocol_min=SSLProtocols(f"tls{server.tls_min_version}"),
        ssl_ca=server.tls_client_ca,
        ssl_client_verify=server.tls_client_certificates == "required",
        respawn_failed_workers=True,
        workers_kill_timeout=server.graceful_timeout_s,
    )
    running.on_startup(lambda: _LOG.info("listening", extra={"fields": {"listen": server.listen}}))
    if server.tls_certificate is not None and server.tls_key is not None:
        from service.tls import TlsWatch  # noqa: PLC0415 (imports metrics: after the folder is known)

        watch = TlsWatch(server.tls_certificate, server.tls_key, server.tls_client_ca)
        running.on_startup(lambda: _start_watching(watch, running.signal_handler_reload))
    running.serve(target_loader=_Loader(settings), wrap_loader=False)


def _start_watching(watch: TlsWatch, reload: Callable[[], None]) -> None:
    """Have the workers replaced whenever the TLS files changed and are good."""
    watch.changed()

    def look() -> None:
        while not stopping.wait(_TLS_INTERVAL_S):
            if watch.changed() is not None:
                reload()

    stopping = threading.Event()
    threading.Thread(target=look, name="tls-files", daemon=True).start()


class _Loader:
    """Builds a worker, in the process that serves it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._main = os.getpid()

    def __call__(self, *_: Any) -> Flask:
        # granian's workers do not look after their main process, as gunicorn's do.
        parent_death.end_with(self._main)
        from service.worker import Worker  # noqa: PLC0415 (imports metrics: after the folder is known)

        worker = Worker(self._settings)
        worker.settle()
        Finalize(None, worker.close, exitpriority=_CLOSE_PRIORITY)
        return worker.app
