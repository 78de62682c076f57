"""Starts a real server on loopback and drives it with wrk; the parts that the HTTP figures share."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_READY_TIMEOUT_S = 60
# Requests are formatted once, and answers are not handed to Lua: the generator shares the server's cores.
_LUA = """
local requests = {}
local at = 0
function init(args)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  for line in io.lines(os.getenv("TOUCHSTONE_BODIES")) do
    requests[#requests + 1] = wrk.format(nil, nil, nil, line)
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
"""


@dataclass(frozen=True)
class Load:
    """What one run of wrk measured: requests per second, milliseconds, and answers other than 200."""

    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


@contextmanager
def server(config: Path, url: str) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """`touchstone serve` until the block ends; yields the process and the seconds until it was ready."""
    log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
    started = time.monotonic()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TOUCHSTONE_")}
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("touchstone")), "serve", "--config", str(config)],
        stderr=log,
        env=environment,
    )
    try:
        _wait_ready(process, url, started)
        yield process, time.monotonic() - started
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        log.close()


def wrk(url: str, bodies: Sequence[bytes], *, clients: int, seconds: int) -> Load:
    """Post the bodies in turn from ``clients`` connections."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed for this figure: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        script, lines = Path(folder, "post.lua"), Path(folder, "bodies")
        script.write_text(_LUA)
        lines.write_bytes(b"\n".join(bodies) + b"\n")
        run = subprocess.run(
            ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s", str(script), url],
            capture_output=True,
            check=True,
            text=True,
            env=os.environ | {"TOUCHSTONE_BODIES": str(lines)},
        )
    return Load(
        per_second=float(_find(r"Requests/sec:\s+([\d.]+)", run.stdout)),
        p50_ms=_milliseconds(_find(r"\n\s+50%\s+(\S+)", run.stdout)),
        p99_ms=_milliseconds(_find(r"\n\s+99%\s+(\S+)", run.stdout)),
        failed=int(_find(r"Non-2xx or 3xx responses: (\d+)|$", run.stdout) or 0),
    )


def resident_mib(pid: int) -> float:
    """Resident memory of a process, MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(_find(r"VmRSS:\s+(\d+) kB", status)) / 1024


def _wait_ready(process: subprocess.Popen[bytes], url: str, started: float) -> None:
    while time.monotonic() - started < _READY_TIMEOUT_S:
        if process.poll() is not None:
            sys.exit(f"the server ended at start with code {process.returncode}")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=1) as answer:  # noqa: S310 (loopback)
                json.load(answer)
                return
        except OSError:
            time.sleep(0.02)
    sys.exit("the server was not ready in time")


def _find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        sys.exit(f"wrk printed no {pattern!r}:\n{text}")
    return match.group(1) or ""


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]
