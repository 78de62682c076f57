"""A real server for the demonstration: `touchstone serve` on loopback with its own data folder."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import narrator as tell
from cryptography.hazmat.primitives.serialization import Encoding
from provenance_steps import Build

from common.encoding import b64url_encode
from common.errors import FetchFailed
from service.client import ApiClient, read_token
from testkit.authority import TestKey
from testkit.snp_firmware import SnpFirmware

_READY_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 30


class Deployment:
    """The server process and the clients that talk to it.

    Args:
        folder: where its data and configuration go.
        firmware: test firmware whose root is trusted, by explicit configuration of a development profile.
        ek_root: PEM of the root of the TPM's endorsement key.
    """

    def __init__(self, folder: Path, firmware: SnpFirmware, ek_root: bytes | None) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._config = folder / "touchstone.toml"
        (folder / "test-ark.pem").write_bytes(firmware.ark.public_bytes(Encoding.PEM))
        lines = [
            'profile = "development"',
            "[server]",
            f'listen = "{self.url.removeprefix("http://")}"',
            "workers = 1",
            'audience = "https://kbs.demo.example"',
            "[storage]",
            f'data_dir = "{folder / "data"}"',
            "[snp]",
            'revocation = "if-present"',
            f'extra_anchors = ["{folder / "test-ark.pem"}"]',
        ]
        if ek_root is not None:
            (folder / "ek-root.pem").write_bytes(ek_root)
            lines += ["[tpm]", f'ek_roots = ["{folder / "ek-root.pem"}"]', "require_event_log = true"]
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with (self.folder / "server.log").open("wb") as log:
            environment = {k: v for k, v in os.environ.items() if not k.startswith("TOUCHSTONE_")}
            self._process = subprocess.Popen(
                [Path(sys.executable).with_name("touchstone"), "serve", "--config", self._config],
                stderr=log,
                stdout=log,
                env=environment,
            )
        self.guest_api = ApiClient(self.url)
        self._wait()
        self.admin = ApiClient(self.url, token=read_token(self.folder / "data" / "admin.token"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_STOP_TIMEOUT_S)

    def put_trust_policies(self, policy: dict[str, Any], release_key: TestKey) -> None:
        """Activate step b's trust policy, and one that names the key of reference-value statements."""
        statements = {
            "version": 1,
            "name": "statements",
            "roots": [release_key.root("release-key")],
            "signers": [{"name": "release", "root": "release-key"}],
            "predicate_types": ["urn:touchstone:reference-values:v1"],
        }
        for name, document in (("default", policy), ("statements", statements)):
            body = {"text": json.dumps(document), "activate": True}
            self.admin.call("PUT", f"/v1/policies/trust/{name}", body=body)

    def submit(self, build: Build) -> int:
        """Submit step b's attestation with its artefacts; the number of values stored."""
        answer = self.admin.call(
            "POST",
            "/v1/attestations",
            body={
                "envelope": b64url_encode(build.envelope),
                "artifacts": [
                    {"role": item.role, "name": item.name, "data": b64url_encode(item.data)}
                    for item in build.artifacts
                ],
                "derivation": msgspec.to_builtins(build.request),
            },
        )
        return len(answer["reference_values"])

    def submit_statement(self, envelope: bytes) -> int:
        """Submit a signed reference-value statement; the number of values stored."""
        answer = self.admin.call(
            "POST",
            "/v1/attestations",
            body={
                "envelope": b64url_encode(envelope),
                "derivation": {"rule": "reference-values"},
                "trust_policy": "statements",
            },
        )
        return len(answer["reference_values"])

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                tell.broken(f"the server did not start:\n{(self.folder / 'server.log').read_text()}")
            try:
                self.guest_api.call("GET", "/readyz")
            except FetchFailed:
                time.sleep(0.05)
            else:
                return
        tell.broken("the server was not ready in time")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
