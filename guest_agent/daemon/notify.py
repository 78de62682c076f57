"""Telling the service manager how we are (sd_notify(3)): a datagram to ``$NOTIFY_SOCKET``."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def notify(state: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send a state, such as ``READY=1``.

    Args:
        state: assignments, one a line.
        environ: where ``NOTIFY_SOCKET`` may be: a path, or ``@`` and an abstract name.

    Returns:
        Whether there was somebody to tell; a manager that does not listen is no error of ours.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(state.encode("utf-8"), address)
        except OSError:
            return False
    return True
