"""Run as a program by test_kill: releases for ever, and prints each one once it was acknowledged."""

from __future__ import annotations

import sys
from pathlib import Path

from kms.checkpoints import Checkpointer, CheckpointKey
from storage.database import Database
from tests.kms.world import NOW, REF, World, guest_key


def main() -> None:
    folder = Path(sys.argv[1])
    world = World(folder, Database(sys.argv[2]))
    signing = CheckpointKey.open_or_create(folder / "checkpoint.pem")
    checkpointer = Checkpointer(world.database, signing, folder / "checkpoints.txt", every=8)
    service = world.release_service(checkpointer=checkpointer)
    key = guest_key()
    while True:
        token = world.token(key)
        release = service.release(token, REF, NOW)
        sys.stdout.write(f"{release.sequence}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
