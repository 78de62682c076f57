"""A real OPA server for tests and the demo: ``opa run --server`` on a free loopback port.

The binary is looked for in the environment variable ``TOUCHSTONE_OPA``, then ``.tools/bin/opa`` below
the project (``make opa`` builds it there), then on ``PATH``.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

import urllib3

from common.errors import UnavailableError
from testkit.daemon import Daemon, find_binary

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
    return find_binary("opa")


class OpaServer(Daemon):
    """Runs an OPA server while its ``with`` block does.

    Args:
        token: demand this bearer token on every call.
        certificate: PEM certificate and key files, to serve TLS.
        port: fixed port; a free one otherwise.
    """

    program = "opa"
    install = "Run `make opa`, or set TOUCHSTONE_OPA."
    not_ready = OpaNotReady

    def __init__(
        self,
        *,
        token: str | None = None,
        certificate: tuple[Path, Path] | None = None,
        port: int | None = None,
    ) -> None:
        """Choose the port; nothing runs yet."""
        super().__init__(port)
        self.token = token
        self._certificate = certificate

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``, or ``https://localhost:<port>`` with TLS."""
        return f"https://localhost:{self.port}" if self._certificate else f"http://127.0.0.1:{self.port}"

    def _binary(self) -> Path | None:
        return find_opa()

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
