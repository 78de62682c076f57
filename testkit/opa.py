"""A real OPA server for tests and the demo: ``opa run --server`` on a free loopback port.

The binary is looked for in the environment variable ``TOUCHSTONE_OPA``, then ``.tools/bin/opa`` below
the project (``make opa`` builds it there), then on ``PATH``.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import urllib3

from common.errors import DependencyMissing, UnavailableError

if TYPE_CHECKING:
    from types import TracebackType

_READY_S: Final = 20.0
_STOP_S: Final = 10.0
_POLL_S: Final = 0.05
_PROJECT: Final = Path(__file__).resolve().parent.parent
_AUTHZ: Final = """package system.authz

default allow := false

allow if input.identity == {token}
"""


class OpaNotReady(UnavailableError):
    """The test OPA server did not come up."""

    code = "unavailable.test_opa"
    advice = "Run the binary by hand: `opa run --server --addr 127.0.0.1:8181`."


def find_opa() -> Path | None:
    """The OPA binary, or None."""
    named = os.environ.get("TOUCHSTONE_OPA")
    if named:
        return Path(named) if Path(named).is_file() else None
    local = _PROJECT / ".tools" / "bin" / "opa"
    if local.is_file():
        return local
    found = shutil.which("opa")
    return Path(found) if found else None


class OpaServer:
    """Runs an OPA server while its ``with`` block does.

    Args:
        token: demand this bearer token on every call.
        certificate: PEM certificate and key files, to serve TLS.
        port: fixed port; a free one otherwise.
    """

    def __init__(
        self,
        *,
        token: str | None = None,
        certificate: tuple[Path, Path] | None = None,
        port: int | None = None,
    ) -> None:
        """Choose the port; nothing runs yet."""
        self.token = token
        self.port = port or free_port()
        self._certificate = certificate
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``, or ``https://localhost:<port>`` with TLS."""
        return f"https://localhost:{self.port}" if self._certificate else f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Start and wait until it answers.

        Raises:
            DependencyMissing: no OPA binary.
            OpaNotReady: it did not come up.
        """
        binary = find_opa()
        if binary is None:
            raise DependencyMissing(
                "there is no OPA binary", advice="Run `make opa`, or set TOUCHSTONE_OPA."
            )
        self._folder = tempfile.TemporaryDirectory(prefix="touchstone-opa-")
        folder = Path(self._folder.name)
        self._process = subprocess.Popen(
            [str(binary), *self._arguments(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server and remove its folder."""
        self.stop()

    def stop(self) -> None:
        """Stop the server; harmless when it is stopped already."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _arguments(self, folder: Path) -> list[str]:
        arguments = [
            "run", "--server", "--disable-telemetry",
            "--addr", f"127.0.0.1:{self.port}",
            "--log-level", "error",
        ]  # fmt: skip
        if self.token is not None:
            policy = folder / "authz.rego"
            policy.write_text(_AUTHZ.replace("{token}", f'"{self.token}"'), encoding="utf-8")
            arguments += ["--authentication=token", "--authorization=basic", str(policy)]
        if self._certificate is not None:
            certificate, key = self._certificate
            arguments += ["--tls-cert-file", str(certificate), "--tls-private-key-file", str(key)]
        return arguments

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise OpaNotReady(f"opa ended with status {self._process.returncode}")
            if self._answers():
                return
            time.sleep(_POLL_S)
        raise OpaNotReady(f"opa did not answer within {_READY_S:.0f} s")

    def _answers(self) -> bool:
        if self._certificate is not None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                return False
            return True
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        try:
            response = urllib3.request(
                "GET", f"{self.url}/health", headers=headers, retries=False, timeout=1.0
            )
        except urllib3.exceptions.HTTPError:
            return False
        return response.status == 200


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
