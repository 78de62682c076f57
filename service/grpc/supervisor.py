"""Starts the gRPC process beside the HTTP server, starts it anew when it dies, and ends it at the end.

It runs in a thread of the process that owns the HTTP workers, and executes a new interpreter: nothing of
gRPC is in this process, so that forking workers stays safe. The HTTP server reaps every child of the
process, this one too; the thread therefore waits on a process descriptor and never for an exit status.

* Died: started anew after 0.5 s, then after twice as long each time, at most 30 s; from the beginning again
  once it has lived for a minute.
* Stop: SIGTERM, and SIGKILL when it takes longer than ``[grpc] graceful_timeout_s`` and a little.
* HTTP workers are not forked while a child is being started: one forked then would hold the pipe by which
  ``Popen`` learns that the child runs, and ``Popen`` would wait for it to end.
* This process killed: the child sees that its parent is another one and ends (``service.grpc.process``).
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from service import tls

if TYPE_CHECKING:
    from service.settings import Settings

_LOG: Final = logging.getLogger("touchstone.grpc")
_FIRST_DELAY_S: Final = 0.5
_LONGEST_DELAY_S: Final = 30.0
_HEALTHY_S: Final = 60.0
_TICK_MS: Final = 500
_BEYOND_GRACE_S: Final = 5.0
_starting: Final = threading.Lock()
os.register_at_fork(
    before=_starting.acquire, after_in_parent=_starting.release, after_in_child=_starting.release
)


class GrpcSupervisor:
    """One child process, kept running.

    Args:
        settings: handed to the child.

    Raises:
        NotFound: a TLS file cannot be read.
        InvalidSetting: the TLS files are not usable.
    """

    def __init__(self, settings: Settings) -> None:
        """Check what can be checked without gRPC; nothing is started yet."""
        grpc = settings.grpc
        if grpc.tls_certificate is not None and grpc.tls_key is not None:
            tls.read_pair(grpc.tls_certificate, grpc.tls_key, grpc.tls_client_ca)
        self._settings = settings.model_dump_json().encode("utf-8") + b"\n"
        self._grace_s = grpc.graceful_timeout_s + _BEYOND_GRACE_S
        self._owner = os.getpid()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="grpc-supervisor", daemon=True)

    def start(self) -> None:
        """Start the child, and keep it running."""
        self._thread.start()

    def close(self) -> None:
        """End the child; nothing happens in a worker that was forked off."""
        if os.getpid() != self._owner:
            return
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        delay = _FIRST_DELAY_S
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                self._serve_once()
            except OSError:
                _LOG.exception("the gRPC process could not be started")
            if self._stopping.is_set():
                return
            if time.monotonic() - started >= _HEALTHY_S:
                delay = _FIRST_DELAY_S
            _LOG.error("the gRPC process ended; it is started anew", extra={"fields": {"after_s": delay}})
            self._stopping.wait(delay)
            delay = min(2 * delay, _LONGEST_DELAY_S)

    def _serve_once(self) -> None:
        """Start one, and return when it has ended, by itself or because we stop."""
        # A group of its own: Ctrl-C in a terminal is for the server, which then ends this one in order.
        with _starting:
            child = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
                [sys.executable, "-m", "service.grpc.child", str(os.getpid())],
                stdin=subprocess.PIPE,
                process_group=0,
            )
        descriptor = os.pidfd_open(child.pid)
        try:
            if child.stdin is not None:
                with suppress(BrokenPipeError), child.stdin as pipe:
                    pipe.write(self._settings)
            _LOG.info("gRPC process started", extra={"fields": {"pid": child.pid}})
            while not _ended(descriptor, _TICK_MS):
                if self._stopping.is_set():
                    self._end(descriptor)
                    break
        finally:
            os.close(descriptor)
            # Whoever else reaped it: no status is needed, only that nothing of it is left behind.
            child.poll()

    def _end(self, descriptor: int) -> None:
        _signal(descriptor, signal.SIGTERM)
        if not _ended(descriptor, int(self._grace_s * 1000)):
            _LOG.error("the gRPC process did not end in time and is killed")
            _signal(descriptor, signal.SIGKILL)
            _ended(descriptor, _TICK_MS)


def _ended(descriptor: int, timeout_ms: int) -> bool:
    """Whether the process has ended, after at most ``timeout_ms``."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout_ms))


def _signal(descriptor: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)
