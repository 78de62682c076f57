"""Tables of docs/compatibility.md, as tests hold it to: ``python -m tests.service.coco.page`` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.service.coco import conformance, differences

PAGE: Final = Path(__file__).resolve().parents[3] / "docs" / "compatibility.md"
_TABLES: Final = {"differences": differences.table, "conformance": conformance.table}


def rendered(text: str) -> str:
    """The page with its tables as they are now."""
    for name, table in _TABLES.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        assert text.count(begin) == text.count(end) == 1, name
        head, _, rest = text.partition(begin)
        tail = rest.partition(end)[2]
        text = f"{head}{begin}\n{table()}\n{end}{tail}"
    return text


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
