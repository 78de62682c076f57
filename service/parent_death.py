"""A worker ends with its main process, also where that is killed and cannot say so (Linux: prctl(2))."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def end_with(parent: int) -> None:
    """Have this process told to stop (SIGTERM) when the parent that forked it is no more.

    Args:
        parent: process id of the parent. One that is gone already is no more from the start.

    Raises:
        OSError: the kernel refuses.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    if os.getppid() != parent:
        signal.raise_signal(signal.SIGTERM)
