"""Starting the gRPC process while HTTP workers are forked."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from service import settings
from service.grpc import supervisor as module
from service.grpc.supervisor import GrpcSupervisor

_SECONDS = 20


def test_no_worker_is_forked_while_the_process_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker forked then would hold ``Popen``'s own pipe, and ``Popen`` wait until that worker ends."""
    built = settings.build({"storage": {"data_dir": str(tmp_path)}})
    starting, go_on = threading.Event(), threading.Event()

    class Waiting(subprocess.Popen[bytes]):
        def __init__(self, *_arguments: Any, **_more: Any) -> None:
            starting.set()
            assert go_on.wait(_SECONDS)
            super().__init__(["/bin/true"], stdin=subprocess.PIPE)

    monkeypatch.setattr(module.subprocess, "Popen", Waiting)
    forked: list[int] = []

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        forked.append(pid)

    supervised = GrpcSupervisor(built)
    supervised.start()
    worker = threading.Thread(target=fork)
    try:
        assert starting.wait(_SECONDS)
        worker.start()
        time.sleep(0.3)
        assert forked == []
        go_on.set()
        worker.join(_SECONDS)
        assert len(forked) == 1
    finally:
        go_on.set()
        worker.join(_SECONDS)
        supervised.close()
        for pid in forked:
            os.waitpid(pid, 0)
