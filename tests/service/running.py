"""A real ``touchstone serve`` on loopback: started, watched, stopped or killed."""

from __future__ import annotations

import ipaddress
import os
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from guest_agent.attesters import Attester
from service.client import ApiClient, read_token
from testkit.daemon import free_port
from testkit.snp_firmware import SnpFirmware
from tests.service.world import GOOD
from wire.evidence import Evidence
from wire.rcar import Challenge, TpmEndorsement

_READY_TIMEOUT_S = 60


class FirmwareAttester:
    """An attester on test firmware, as ``guest_agent.attesters.Attester`` wants it."""

    tee = "snp"
    binding_size = 64

    def __init__(self, firmware: SnpFirmware, measurement: bytes = GOOD) -> None:
        self._firmware = firmware
        self._measurement = measurement

    def collect(self, report_data: bytes, challenge: Challenge) -> Evidence:
        return self._firmware.evidence(report_data, measurement=self._measurement)

    def endorsement(self) -> TpmEndorsement | None:
        return None


_: type[Attester] = FirmwareAttester


class Authority:
    """A self-signed certificate for 127.0.0.1."""

    def write(self, folder: Path) -> Path:
        """Write ``tls.pem`` and ``tls.key``; the certificate's path."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "touchstone test")])
        now = datetime.now(UTC)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        (folder / "tls.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        (folder / "tls.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        (folder / "tls.key").chmod(0o600)
        return folder / "tls.pem"


def gone(pid: int) -> bool:
    """Whether the process has ended; one that nobody reaped yet has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in {"Z", "X"}


class RunningServer:
    """The server process; a second ``start`` continues on the same data."""

    def __init__(
        self,
        folder: Path,
        sections: dict[str, Any],
        *,
        workers: int = 2,
        tls: Authority | None = None,
        engine: str = "gunicorn",
        server: dict[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.ca_file = None if tls is None else tls.write(folder)
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"
        self.client_certificate: Path | None = None  # PEM with its key, for the wait until it is ready
        self.log = folder / "server.log"
        self.config = folder / "touchstone.toml"
        listen = f"127.0.0.1:{self.port}"
        options = {"listen": listen, "engine": engine, "workers": workers, "threads": 4}
        if tls is not None:
            options |= {"tls_certificate": str(folder / "tls.pem"), "tls_key": str(folder / "tls.key")}
        self._settings = {
            "server": options | (server or {}),
            "storage": {"data_dir": str(folder / "data")},
            "log": {"requests": True},
        }
        self.reconfigure(sections)
        self.process: subprocess.Popen[bytes] | None = None

    def reconfigure(self, sections: dict[str, Any]) -> None:
        """Settings for the next start."""
        self.config.write_text(_toml(self._settings | sections), encoding="utf-8")

    def start(self) -> Self:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TOUCHSTONE_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("touchstone"), "serve", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env=environ,
                start_new_session=True,
            )
        self._wait()
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def stop(self) -> int:
        """Ask to end; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

    def kill(self) -> None:
        """End every process of it at once, as a crash would; workers may have outlived the first one."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def admin(self) -> ApiClient:
        token = read_token(self.folder / "data" / "admin.token")
        return ApiClient(self.url, token=token, ca_file=self.ca_file)

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def _wait(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + _READY_TIMEOUT_S
        trust = {"ca_certs": self.ca_file, "cert_file": self.client_certificate}
        with urllib3.PoolManager(retries=False, timeout=5, **trust) as pool:
            while time.monotonic() < deadline:
                assert self.process.poll() is None, self.log_text()
                try:
                    if pool.request("GET", f"{self.url}/readyz").status == 200:
                        return
                except urllib3.exceptions.HTTPError:
                    pass
                time.sleep(0.05)
        raise AssertionError(f"not ready in time: {self.log_text()}")


def _toml(settings: dict[str, Any]) -> str:
    lines = [f"{key} = {_value(value)}" for key, value in settings.items() if not isinstance(value, dict)]
    for section, values in settings.items():
        if isinstance(values, dict):
            lines += [f"[{section}]", *(f"{key} = {_value(value)}" for key, value in values.items())]
    text = "\n".join(lines) + "\n"
    tomllib.loads(text)
    return text


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {_value(item)}' for key, item in value.items())}}}"
    return str(value) if isinstance(value, (int, float)) else f"'{value}'"
