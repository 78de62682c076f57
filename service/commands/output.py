"""How commands speak: results on standard output, everything else on standard error; exit codes.

Exit codes (docs/cli.md): 0 done or affirmative, 1 a negative verdict or a refusal, 2 wrong usage or
input, 3 configuration, 4 something needed does not answer.
"""

from __future__ import annotations

import sys
import time
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn

import click
import msgspec

from common.errors import ConfigurationError, InputError, TouchstoneError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FIRST_SERVER_ERROR = 500
_PROGRESS_INTERVAL_S = 0.1
_LINE_START = "\r\033[K"  # ECMA-48 EL: to the start of the line, and erase to its end
_REMOTE_USAGE = ("input.", "configuration.")


class ExitCode(IntEnum):
    """What a command's end says."""

    OK = 0
    NEGATIVE = 1
    USAGE = 2
    CONFIGURATION = 3
    UNAVAILABLE = 4


json_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead of text."
)


def emit(document: object, *, as_json: bool, text: Callable[[], str]) -> None:
    """Print a result: ``document`` as JSON, or what ``text`` makes of it."""
    click.echo(encode(document) if as_json else text())


def encode(document: object) -> str:
    """Indented JSON of structs, dates and plain data."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode("utf-8")


def note(message: str) -> None:
    """Say something that is not a result."""
    click.echo(message, err=True)


class Progress:
    """One line on standard error that says how far long work is; silent unless that is a terminal."""

    def __init__(self) -> None:
        """Nothing is shown yet."""
        self._shown = sys.stderr.isatty()
        self._next = 0.0

    def show(self, message: str) -> None:
        """Replace the line, at most ten times a second."""
        if self._shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + _PROGRESS_INTERVAL_S
            click.echo(f"{_LINE_START}{message}", err=True, nl=False)

    def end(self) -> None:
        """Clear the line."""
        if self._shown:
            click.echo(_LINE_START, err=True, nl=False)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain columns, as wide as their widest cell."""
    lines = [list(head), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def exit_code_of(error: TouchstoneError) -> ExitCode:
    """The exit code of an error; of one that a server reported, by that server's code and status."""
    remote_code = getattr(error, "remote_code", None)
    if isinstance(remote_code, str):
        if getattr(error, "status", 0) >= _FIRST_SERVER_ERROR:
            return ExitCode.UNAVAILABLE
        return ExitCode.USAGE if remote_code.startswith(_REMOTE_USAGE) else ExitCode.NEGATIVE
    if isinstance(error, UnavailableError):
        return ExitCode.UNAVAILABLE
    if isinstance(error, ConfigurationError):
        return ExitCode.CONFIGURATION
    return ExitCode.USAGE if isinstance(error, InputError) else ExitCode.NEGATIVE


def error_document(error: TouchstoneError) -> dict[str, Any]:
    """An error as data: ``code``, ``message``, ``advice``, and the checks made before it."""
    document: dict[str, Any] = {
        "code": getattr(error, "remote_code", None) or error.code,
        "message": error.message,
        "advice": error.advice,
    }
    if error.checks:
        document["checks"] = error.checks
    if error.details:
        document["details"] = error.details
    return {"error": document}


def fail(error: TouchstoneError, *, as_json: bool) -> NoReturn:
    """Show an error and end with its exit code."""
    if as_json:
        click.echo(encode(error_document(error)))
    else:
        code = getattr(error, "remote_code", None) or error.code
        click.echo(f"error: {error.message} [{code}]", err=True)
        click.echo(f"  next: {error.advice}", err=True)
    sys.exit(exit_code_of(error))
