"""One step of a verification: its record, whether it passes or raises."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from common.checks import Check, Verdict
from common.errors import TouchstoneError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common.checks import Checks


@contextmanager
def step(checks: Checks, name: str, *, source: str = "", observed: object = None) -> Iterator[None]:
    """Record ``name`` as passed when the block ends, as failed when it raises one of our errors.

    The error leaves with every record so far, unless it carries records of its own.
    """
    try:
        yield
    except TouchstoneError as error:
        if not error.checks:
            failed = Check(name, Verdict.FAIL, None, observed, source, error.code or None, error.message)
            error.checks = (*checks.records, failed)
        raise
    checks.extend((Check(name, Verdict.PASS, None, observed, source),))
