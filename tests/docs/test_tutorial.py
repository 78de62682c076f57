"""Every command of docs/tutorial.md, in its order, in an empty folder; those marked as refused must be."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import urllib3

from testkit.daemon import free_port
from tests.components import require

_ROOT = Path(__file__).resolve().parents[2]
_TUTORIAL = _ROOT / "docs" / "tutorial.md"
_BLOCK = re.compile(r"^```sh( refused)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OVMF = Path("/usr/share/ovmf/OVMF.fd")


def script() -> str:
    """The blocks as one shell script; each block that should be refused must fail, every other succeed."""
    lines = ["set -e -o pipefail", f"touchstone_wait() {{ {sys.executable} -c '{_WAIT}' ; }}"]
    for number, (refused, text) in enumerate(_BLOCK.findall(_TUTORIAL.read_text(encoding="utf-8"))):
        block = text.replace("&\n", "&\ntouchstone_wait\n") if "serve" in text else text
        if refused:
            lines.append(f"if ( {block} ); then echo 'block {number} was not refused'; exit 90; fi")
        else:
            lines.append(f"echo '== block {number}'\n{block}")
    return "\n".join(lines)


_WAIT = """
import os, time, urllib3
for _ in range(300):
    try:
        if urllib3.request("GET", os.environ["TOUCHSTONE_SERVER"] + "/readyz").status == 200: break
    except urllib3.exceptions.HTTPError: pass
    time.sleep(0.1)
else: raise SystemExit("not ready")
""".strip()


def test_the_commands_do_what_the_text_says(tmp_path: Path) -> None:
    require(_OVMF.is_file(), f"{_OVMF} is not installed (Debian package ovmf)")
    (tmp_path / "examples").symlink_to(_ROOT / "examples")
    port = free_port()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("TOUCHSTONE_")
    } | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(_ROOT),
        "TOUCHSTONE_SERVER": f"http://127.0.0.1:{port}",
        "TOUCHSTONE_SERVER__LISTEN": f"127.0.0.1:{port}",
    }
    running = subprocess.Popen(
        ["bash", "-c", script()],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        os.killpg(running.pid, signal.SIGTERM)  # the server that the script left running
    text, _ = running.communicate(timeout=30)
    assert running.returncode == 0, text[-4000:]
    assert "the disk key" in text
    assert "statement.untrusted_signer" in text
    assert "release.denied" in text
    with pytest.raises(urllib3.exceptions.HTTPError):
        urllib3.request("GET", f"http://127.0.0.1:{port}/readyz", retries=False)
