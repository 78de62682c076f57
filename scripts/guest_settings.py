"""Write the table of settings in docs/guest-agent.md from the structs of the configuration."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from guest_agent.daemon.config import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "guest-agent.md"
_HEAD = "| setting | default | meaning |\n|---|---|---|\n"
_TABLE = re.compile(re.escape(_HEAD) + r"(?:\|.*\n)*")
_ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n        .*)*)", re.MULTILINE)


def render() -> str:
    """The table."""
    return _HEAD + "".join(
        f"| `{name}` | {default} | {text} |\n" for name, default, text in _rows(Settings, "")
    )


def written() -> str:
    """The table as the page has it; empty where there is none."""
    found = _TABLE.search(_PAGE.read_text(encoding="utf-8"))
    return found[0] if found else ""


def _rows(kind: type[Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    described = dict(_ATTRIBUTE.findall(inspect.getdoc(kind) or ""))
    for field in msgspec.structs.fields(kind):
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        if isinstance(default, msgspec.Struct):
            yield from _rows(type(default), f"{field.name}.")
        else:
            text = " ".join(described[field.name].split()).replace("``", "`")
            yield f"{prefix}{field.name}", _shown(default), text


def _shown(value: object) -> str:
    return "" if value is None else f"`{msgspec.json.encode(value).decode()}`"


if __name__ == "__main__":
    text = _PAGE.read_text(encoding="utf-8")
    _PAGE.write_text(_TABLE.sub(lambda _: render(), text), encoding="utf-8")
    print(f"wrote {_PAGE.name}", file=sys.stderr)
