"""The KBS protocol: handshakes with a resource, and resources by bearer token; 8 clients, two workers.

A client in Go, built here, shares the two cores with the server: it makes a key for each handshake, attests
with the sample TEE, fetches the resource, opens it and compares it. Before and after stands what bare P-256
and P-384 operations come to on this machine at this moment; beside them what the protocol's own part of a
handshake comes to (``kbs_in_process``).
"""

from __future__ import annotations

import base64
import json
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from http_load import server
from kbs_in_process import handshakes_per_second

from testkit.daemon import free_port

_CLIENTS = 8
_SECONDS = 8
_BARE_SECONDS = 2
_SECRET = "1234567890abcde"  # noqa: S105 (what the generator expects to open)
_SOURCE = Path(__file__).with_name("kbs_load")
_VALUES = {"svn": ["1"], "launch_digest": ["abcde"], "major_version": 1, "minimum_minor_version": 1}
_POLICY = """package policy

default allow := false

allow if {
	data.plugin == "resource"
	input.submods.cpu0["ear.status"] == "affirming"
}
"""


def run() -> list[str]:
    """The figures, as lines of text."""
    if shutil.which("go") is None:
        sys.exit("Go is needed for this figure: the load generator is built with it")
    lines = [_bare()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generator = folder / "kbs_load"
        subprocess.run(["go", "build", "-C", str(_SOURCE), "-o", str(generator), "."], check=True)
        for engine in ("granian", "gunicorn"):
            lines += _measure(folder / engine, generator, engine)
        rate = handshakes_per_second(folder / "granian" / "touchstone.toml", _SECONDS)
        lines.append(f"two processes without HTTP and client, handshake: {rate:,.0f}/s")
    lines.append(_bare())
    return lines


def _measure(folder: Path, generator: Path, engine: str) -> list[str]:
    folder.mkdir()
    url = f"http://127.0.0.1:{free_port()}"
    config = folder / "touchstone.toml"
    config.write_text(
        'profile = "development"\n[log]\nlevel = "warning"\n'
        f'[server]\nlisten = "{url.removeprefix("http://")}"\nengine = "{engine}"\n'
        f'[storage]\ndata_dir = "{folder}/data"\n'
        "[sample]\nenabled = true\n[coco]\ndeclared_reference_values = true\n"
    )
    with server(config, url):
        _prepare(url, (folder / "data" / "admin.token").read_text().strip())
        _load(generator, url, "handshake", seconds=2)
        found = {mode: _load(generator, url, mode) for mode in ("handshake", "bearer")}
    return [
        f"{engine}, {mode}: {figures['per_second']:,.0f}/s, p50 {figures['p50_ms']:.1f} ms,"
        f" p99 {figures['p99_ms']:.1f} ms, {figures['failed']} failed"
        for mode, figures in found.items()
    ]


def _load(generator: Path, url: str, mode: str, seconds: int = _SECONDS) -> dict[str, Any]:
    command = [str(generator), url, mode, str(_CLIENTS), str(seconds), _SECRET]
    figures: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return figures


def _prepare(url: str, token: str) -> None:
    payload = base64.b64encode(json.dumps(_VALUES).encode()).decode()
    message = {"version": "0.1.0", "type": "sample", "payload": payload}
    policy = base64.urlsafe_b64encode(_POLICY.encode()).decode().rstrip("=")
    for path, body in (
        ("reference-value", json.dumps(message).encode()),
        ("resource/default/test/dummy", _SECRET.encode()),
        ("resource-policy", json.dumps({"policy": policy}).encode()),
    ):
        request = urllib.request.Request(  # noqa: S310 (loopback)
            f"{url}/kbs/v0/{path}", body, {"Authorization": f"Bearer {token}"}, method="POST"
        )
        urllib.request.urlopen(request).close()  # noqa: S310


def _bare() -> str:
    """What this machine does at this moment without any server, on both cores."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        signed, verified = (sum(pool.map(work, range(2))) for work in (_sign_p256, _verify_p384))
    return f"bare, both cores: {signed:,.0f} P-256 signatures/s, {verified:,.0f} P-384 verifications/s"


def _sign_p256(_: int) -> float:
    key, data = ec.generate_private_key(ec.SECP256R1()), bytes(64)
    return _rate(lambda: key.sign(data, ec.ECDSA(hashes.SHA256())))


def _verify_p384(_: int) -> float:
    key, data = ec.generate_private_key(ec.SECP384R1()), bytes(64)
    signature = key.sign(data, ec.ECDSA(hashes.SHA384()))
    public = key.public_key()
    return _rate(lambda: public.verify(signature, data, ec.ECDSA(hashes.SHA384())))


def _rate(act: Any) -> float:
    done, end = 0, time.monotonic() + _BARE_SECONDS
    while time.monotonic() < end:
        act()
        done += 1
    return done / _BARE_SECONDS
