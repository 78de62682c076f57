"""gunicorn's log, sent through ours, so that standard error holds one JSON object a line."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gunicorn.glogging import Logger  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from gunicorn.config import Config  # type: ignore[import-untyped]


class JsonLogger(Logger):  # type: ignore[misc]
    """Leaves formatting to the root logger; keeps no access log (``[log] requests`` has its own)."""

    def setup(self, cfg: Config) -> None:
        """Attach gunicorn's two loggers to the root."""
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            log.handlers[:] = []
            log.propagate = True
        self.access_log.setLevel(logging.CRITICAL)
