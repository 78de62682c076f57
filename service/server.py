"""gunicorn, embedded: one process that owns the configuration, workers that serve.

Before the fork everything is prepared and built once, so that what is wrong with the configuration is
said at start with its own exit code; it is then closed again. Each worker builds its own: no connection,
thread or engine state crosses a fork, while the imported code is shared memory. A stop by SIGTERM lets
requests finish, writes the queued appraisal records, and ends.

gthread is the default worker: it keeps connections alive, and a slow client holds a thread, not a whole
process. A connection is closed after ``_REQUESTS_A_CONNECTION`` requests: one worker that happened to
accept most of the connections would otherwise serve most of the load for as long as they live
(docs/adr/0009-http-server.md has the measurement).
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

from service import granian_server, profile, tls
from service.grpc.supervisor import GrpcSupervisor
from service.observability import MULTIPROCESS_VARIABLE, configure

if TYPE_CHECKING:
    from flask import Flask

    from service.settings import Settings
    from service.worker import Worker

_LOG = logging.getLogger("touchstone.server")
_MEMORY_FOLDER = "/dev/shm"  # noqa: S108 (heartbeat files of the workers, no data)
_MAX_HEADER_FIELDS = 64
_MAX_HEADER_BYTES = 8190
_MAX_REQUEST_LINE = 4094
_REQUESTS_A_CONNECTION = 100


class Server(BaseApplication):  # type: ignore[misc]
    """Runs workers until it is told to stop.

    Args:
        settings: what to listen on, with how many workers, and what each worker builds.
    """

    def __init__(self, settings: Settings) -> None:
        """Keep the settings; gunicorn asks for the rest."""
        self._settings = settings
        self._worker: Worker | None = None
        super().__init__()

    def load_config(self) -> None:
        """Give gunicorn its configuration; nothing is read from its own files or environment."""
        for name, value in gunicorn_options(self._settings).items():
            self.cfg.set(name, value)
        self.cfg.set("pre_request", _pre_request)
        self.cfg.set("worker_exit", self._worker_exit)
        self.cfg.set("child_exit", _child_exit)
        self.cfg.set("when_ready", self._when_ready)

    def load(self) -> Flask:
        """Build the application, in the worker that serves it."""
        from service.worker import Worker  # noqa: PLC0415 (see serve)

        self._worker = Worker(self._settings)
        self._worker.settle()
        return self._worker.app

    def _worker_exit(self, _server: object, _arbiter_worker: object) -> None:
        if self._worker is not None:
            self._worker.close()

    def _when_ready(self, _server: object) -> None:
        _LOG.info("listening", extra={"fields": {"listen": self._settings.server.listen}})


def gunicorn_options(settings: Settings) -> dict[str, Any]:
    """Gunicorn's settings, every one that matters stated.

    Raises:
        NotFound: a TLS file cannot be read.
        InvalidSetting: the TLS files are not usable.
    """
    server = settings.server
    host, port = profile.listen_address(server.listen)
    options: dict[str, Any] = {
        "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        "workers": server.workers,
        "worker_class": "sync" if server.threads == 1 else "gthread",
        "threads": server.threads,
        "timeout": server.timeout_s,
        "graceful_timeout": server.graceful_timeout_s,
        "keepalive": server.keep_alive_s,
        "preload_app": False,
        "worker_tmp_dir": _MEMORY_FOLDER if Path(_MEMORY_FOLDER).is_dir() else None,
        "accesslog": None,
        "errorlog": "-",
        "loglevel": settings.log.level,
        "logger_class": "service.gunicorn_log.JsonLogger",
        "proc_name": "touchstone",
        "control_socket_disable": True,
        "limit_request_fields": _MAX_HEADER_FIELDS,
        "limit_request_field_size": _MAX_HEADER_BYTES,
        "limit_request_line": _MAX_REQUEST_LINE,
        "forwarded_allow_ips": "",
    }

    contexts = tls.contexts_of(server)
    if contexts is not None:
        # The file names only say that there is TLS: each connection asks the hook for its context.
        options |= {
            "certfile": str(server.tls_certificate),
            "keyfile": str(server.tls_key),
            "ssl_context": lambda _config, _default: contexts.current(),
        }
    return options


def serve(settings: Settings) -> None:
    """Build everything and serve until SIGTERM or SIGINT; then returns through ``SystemExit``.

    Raises:
        ConfigurationError: something configured is not usable.
        UnavailableError: something depended on does not answer.
    """
    configure(settings.log.level)
    announce(settings)
    folder = tempfile.mkdtemp(prefix="touchstone-metrics-")
    owner = os.getpid()
    # The metrics library reads this when it is imported, which service.composition and app bring about.
    os.environ[MULTIPROCESS_VARIABLE] = folder
    beside: GrpcSupervisor | None = None
    try:
        from service import composition, worker  # noqa: F401, PLC0415 (worker: imported before the fork)

        composition.prepare(settings)
        composition.build(settings).close()
        if settings.grpc.enabled:
            beside = GrpcSupervisor(settings)
            beside.start()
        if settings.server.engine == "granian":
            granian_server.serve(settings)
        else:
            Server(settings).run()
    finally:
        # A worker ends through here too: what belongs to the server stays.
        if os.getpid() == owner:
            if beside is not None:
                beside.close()
            shutil.rmtree(folder, ignore_errors=True)


def announce(settings: Settings) -> None:
    """Say at start what is insecure, loudly, before anything is served."""
    if settings.profile != "production":
        _LOG.warning("DEVELOPMENT PROFILE: do not put real secrets into this server")
    for switch in profile.insecure_switches(settings):
        _LOG.warning("INSECURE: %s", switch)
    for warning in profile.warnings(settings):
        _LOG.warning("%s", warning)


def _pre_request(_worker: object, request: Any) -> None:
    if request.req_number >= _REQUESTS_A_CONNECTION:
        request.force_close()


def _child_exit(_server: object, worker: Any) -> None:
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
