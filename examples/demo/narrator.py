"""Tells a reader what happens: headings, steps, facts, and refusals that are meant to happen."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from common.errors import TouchstoneError

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
_WIDTH = 100
_VALUE_WIDTH = 96


def _paint(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m" if _COLOUR else text


def heading(letter: str, text: str) -> None:
    """A part of the demonstration."""
    print(f"\n{_paint('1;36', f'{letter}. {text}')}")
    print(_paint("36", "-" * _WIDTH))


def say(text: str) -> None:
    """A paragraph for the reader."""
    print(textwrap.fill(" ".join(text.split()), _WIDTH))


def fact(name: str, value: object) -> None:
    """One fact: a name and a value, shortened where it is long."""
    text = str(value)
    if len(text) > _VALUE_WIDTH:
        text = text[: _VALUE_WIDTH - 1] + "…"
    print(f"   {_paint('2', f'{name:<24}')} {text}")


def good(text: str) -> None:
    """Something that held."""
    print(f"   {_paint('32', 'ok')}      {text}")


def bad(text: str) -> None:
    """Something that was denied, as it should be."""
    print(f"   {_paint('33', 'refused')} {text}")


@contextmanager
def refusal(what: str, *codes: str) -> Iterator[None]:
    """The block must be refused with one of ``codes``; anything else ends the demonstration."""
    try:
        yield
    except TouchstoneError as error:
        code = getattr(error, "remote_code", "") or error.code
        if code not in codes:
            broken(f"{what}: expected {' or '.join(codes)}, got {code}: {error}")
        bad(f"{what}: [{code}] {error}")
        return
    broken(f"{what} was accepted")


def expect(ok: bool, what: str) -> None:
    """The demonstration stops where it does not show what it says."""
    if not ok:
        broken(what)


def broken(what: str) -> NoReturn:
    """End with a failure."""
    print(f"\nThe demonstration does not hold: {what}", file=sys.stderr)
    sys.exit(1)


class Clock:
    """Measures the parts, for the closing line."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start
