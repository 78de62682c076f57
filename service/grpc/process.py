"""The gRPC process: builds its own parts, serves until it is told to stop or its parent is gone."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Final

from service import composition
from service.grpc.server import GrpcServers

if TYPE_CHECKING:
    from service.settings import Settings

_LOG: Final = logging.getLogger("touchstone.grpc")
_TICK_S: Final = 0.5
_LOOK_S: Final = 5.0


def run(settings: Settings, *, parent: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: what to serve, and what it is built from.
        parent: end, too, when the parent process is no longer this one: it was killed.

    Raises:
        ConfigurationError: something configured is not usable.
        UnavailableError: something depended on does not answer.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    services = composition.build(settings)
    try:
        servers = GrpcServers(services)
        servers.start()
        _wait(servers, stopping, parent)
        servers.stop(settings.grpc.graceful_timeout_s)
    finally:
        services.close()


def _wait(servers: GrpcServers, stopping: threading.Event, parent: int | None) -> None:
    look_at = time.monotonic() + _LOOK_S
    while not stopping.wait(_TICK_S):
        if parent is not None and os.getppid() != parent:
            _LOG.error("the server process is gone: the gRPC process ends")
            return
        if time.monotonic() >= look_at:
            servers.look()
            look_at = time.monotonic() + _LOOK_S
