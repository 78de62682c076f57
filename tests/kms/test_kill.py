"""``kill -9`` at any moment: the chain verifies, and whatever was acknowledged is in the log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import select

from kms.checkpoints import CheckpointKey, verify_checkpoints
from kms.tables import release_reference, secret_release

_ROOT = Path(__file__).resolve().parents[2]
_ROUNDS = 6
_PAUSE_S = 0.047


def test_killed_again_and_again_it_loses_no_acknowledged_release(world, tmp_path):
    acknowledged: set[int] = set()
    for number in range(_ROUNDS):
        acknowledged |= _killed_round(tmp_path, world.database.url, number * _PAUSE_S)
        verified = world.audit.verify()
        assert verified.holds, verified
        with world.database.read() as connection:
            recorded = {row.sequence for row in connection.execute(select(secret_release.c.sequence))}
            rested = {row.sequence for row in connection.execute(select(release_reference.c.sequence))}
        assert acknowledged <= recorded
        assert rested == recorded
        done = [
            entry["sequence"]
            for entry in _all_entries(world)
            if entry["action"] == "secret.release" and entry["outcome"] == "done"
        ]
        assert set(done) == recorded
    assert len(acknowledged) >= _ROUNDS
    signing = CheckpointKey.open_or_create(tmp_path / "checkpoint.pem")
    trail = tmp_path / "checkpoints.txt"
    assert verify_checkpoints(world.database, signing.public_jwk, trail).holds


def _killed_round(folder, url, pause) -> set[int]:
    """Start the program, let it acknowledge something, kill it; what it acknowledged."""
    command = [sys.executable, "-m", "tests.kms.releases_in_a_loop", str(folder), url]
    process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        lines = [process.stdout.readline()]
        time.sleep(pause)
        os.kill(process.pid, signal.SIGKILL)
        lines += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    # A line without its end was being printed when the program died.
    return {int(line) for line in lines if line.endswith("\n")}


def _all_entries(world):
    from kms.queries import audit_page

    before = None
    with world.database.read() as connection:
        while True:
            page = audit_page(connection, before=before, limit=500)
            yield from (item.entry for item in page.items)
            before = page.next
            if before is None:
                return
