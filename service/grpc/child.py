"""``python -m service.grpc.child PARENT``: the process that ``service.grpc.supervisor`` starts.

The settings come as one line of JSON on standard input, so that it serves exactly what its parent was
started with. A line, not the whole input: an HTTP worker that is forked at the wrong moment holds the other
end open.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Final

from common.errors import TouchstoneError
from service import settings
from service.observability import configure

_LOG: Final = logging.getLogger("touchstone.grpc")
_FAILED: Final = 1


def main() -> int:
    """Serve; the exit code."""
    parent = int(sys.argv[1])
    given = settings.build(json.loads(sys.stdin.buffer.readline()))
    configure(given.log.level)
    from service.grpc import process  # noqa: PLC0415 (after the log is set up)

    try:
        process.run(given, parent=parent)
    except TouchstoneError as error:
        _LOG.error("%s", error.message, extra={"fields": {"code": error.code, "advice": error.advice}})
        return _FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
