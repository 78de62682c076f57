"""A real ``touchstone-guest serve`` on loopback and on sockets in a folder of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import urllib3

from testkit.daemon import free_port

_ROOT = Path(__file__).resolve().parents[3]
_READY_S = 30


class Guest:
    """The process. ``members`` is the configuration beside addresses and folders."""

    def __init__(self, kbs_url: str | None = None, **members: Any) -> None:
        # Not pytest's folder: the path of a socket has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="ts-guest-"))
        self.root = self.folder / "root"
        self.root.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.agent = self.folder / "aa" / "aa.sock"
        self.hub = self.folder / "cdh.sock"
        self.keys = self.folder / "sealed-secret"
        self.keys.mkdir()
        self.credentials = self.folder / "cdh" / "kbs"
        self.log = self.folder / "log"
        self.config = self.folder / "guest.toml"
        rest = {"listen": f"127.0.0.1:{self.port}", "features": "all"} | members.pop("rest", {})
        grpc = {
            "attestation_agent": f"unix://{self.agent}",
            "confidential_data_hub": f"unix://{self.hub}",
        } | members.pop("grpc", {})
        sealed = {"key_dir": str(self.keys)} | members.pop("sealed_secrets", {})
        kbs = ({"url": kbs_url} if kbs_url else {}) | members.pop("kbs", {})
        self.members: dict[str, Any] = {
            "allow_sample": True,
            "credentials_dir": str(self.credentials),
            **members,
            "rest": rest,
            "grpc": grpc,
            "sealed_secrets": sealed,
            "kbs": kbs,
        }
        self.environ: dict[str, str] = {}
        self.options: list[str] = ["--development"]
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> Self:
        """Start, and do not wait."""
        self.config.write_text(_toml(self.members), encoding="utf-8")
        environ = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    Path(sys.executable).with_name("touchstone-guest"),
                    *("serve", "--config", str(self.config), "--root", str(self.root), *self.options),
                ],
                stdout=log,
                stderr=log,
                env=environ | {"PYTHONPATH": str(_ROOT)} | self.environ,
            )
        return self

    def __enter__(self) -> Self:
        self.launch()
        assert self.process is not None
        deadline = time.monotonic() + _READY_S
        while '"message":"ready"' not in self.log_text():
            assert self.process.poll() is None, self.log_text()
            assert time.monotonic() < deadline, self.log_text()
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder)

    def stop(self) -> int:
        """Ask to end; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

    def ended(self) -> int:
        """Wait for a start that fails; the exit code."""
        assert self.process is not None
        return self.process.wait(30)

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def get(self, target: str, **options: Any) -> urllib3.BaseHTTPResponse:
        return self.request("GET", target, **options)

    def request(self, method: str, target: str, **options: Any) -> urllib3.BaseHTTPResponse:
        return urllib3.request(method, self.url + target, retries=False, timeout=30, **options)

    def raw(self, data: bytes, *, wait_s: float = 15) -> bytes:
        """Send bytes, read all that comes."""
        with socket.create_connection(("127.0.0.1", self.port), wait_s) as connection:
            connection.sendall(data)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        return answer


def _toml(members: dict[str, Any]) -> str:
    plain = [f"{name} = {_value(value)}" for name, value in members.items() if not isinstance(value, dict)]
    for part, values in members.items():
        if isinstance(values, dict):
            plain += [f"[{part}]", *(f"{name} = {_value(value)}" for name, value in values.items())]
    return "\n".join(plain) + "\n"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name} = {_value(item)}' for name, item in value.items())}}}"
    return str(value) if isinstance(value, (int, float)) else f"'{value}'"
