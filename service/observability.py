"""Structured logs: one JSON object a line on standard error, each with the request id where there is one.

A record holds the time, the level, the logger, the message, and the members that the caller gave under
``extra={"fields": {...}}``. Bodies, headers and tokens are never given. A line break inside a message is
escaped by the JSON encoding, so that no caller can forge a record.
"""

from __future__ import annotations

import logging
import secrets
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import msgspec

# Names the folder of per-process metrics; read by the metrics library when it is imported.
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_REQUEST_ID_BYTES = 8
_ENCODER = msgspec.json.Encoder()


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            document.update(fields)
        if record.exc_info:
            document["exception"] = _frames(record.exc_info[1])
        return _ENCODER.encode(document).decode("utf-8")


def configure(level: str) -> None:
    """Send every log of this process through ``JsonFormatter`` to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # It tells which of its own plug-ins it loads; a failed migration is our error, with a code.
    logging.getLogger("alembic").setLevel(max(root.level, logging.WARNING))


def new_request_id() -> str:
    """A fresh id; one that the caller sends is never taken over."""
    return secrets.token_hex(_REQUEST_ID_BYTES)


def _frames(error: BaseException | None) -> dict[str, Any]:
    """Type and place of an unexpected exception, along its causes, without their messages.

    A message may quote what was being handled (a database driver quotes parameters); the place does not.
    """
    if error is None:
        return {}
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "type": f"{type(error).__module__}.{type(error).__qualname__}",
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
        "cause": _frames(error.__cause__ or error.__context__),
    }
