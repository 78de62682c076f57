"""Which rule and which tools made a value, as one text and its parts.

A part is ``name/version``: the rule (its version is that of our derivation code: it is raised whenever
the same input would give another value), the library that computed the value, this version of Touchstone,
and, of values that were taken over as stated, the rule and tool that the statement names. Blanks in a part
are stored as underscores, since the parts are joined by one.

Retractions find values by part (``derivation_part``); there are few derivations, whatever the number of
values. The text is lineage, and no part of a value's identity: rule and tool are in it by themselves.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from rvps.targets import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.model import DerivedValue

# PostgreSQL indexes a derivation together with each of its parts (nbtree, at most 2704 bytes an entry).
MAX_DERIVATION: Final = 320
_TEXT: Final = "a value's rule or tool"


def derivation_of(value: DerivedValue) -> str:
    """Rule and tools of a value, the rule first, joined by a blank.

    Raises:
        Malformed: one of them is not printable.
        TooLarge: they are too long.
    """
    parts = [value.rule, *_tools(value.inputs), *_stated(value.inputs), touchstone()]
    joined = " ".join(dict.fromkeys(part.replace(" ", "_") for part in parts))
    return printable(joined, what=_TEXT, limit=MAX_DERIVATION)


def parts_of(derivation: str) -> tuple[str, ...]:
    """The parts, the rule first."""
    return tuple(part for part in derivation.split(" ") if part)


@cache
def touchstone() -> str:
    """This version of Touchstone as a part."""
    try:
        return f"touchstone/{version('touchstone')}"
    except PackageNotFoundError:  # a source tree that is not installed
        return "touchstone/0"


def _tools(inputs: Mapping[str, Any]) -> list[str]:
    stated = inputs.get("tool")
    found = stated if isinstance(stated, (list, tuple)) else [stated]
    return [printable(item, what=_TEXT) for item in found if isinstance(item, str)]


def _stated(inputs: Mapping[str, Any]) -> list[str]:
    """Of values taken over as stated: by which rule and tool, by the signer's word."""
    rule, stated = inputs.get("statedRule"), inputs.get("stated")
    found = [printable(rule, what=_TEXT)] if isinstance(rule, str) else []
    return found + (_tools(stated) if isinstance(stated, dict) else [])
