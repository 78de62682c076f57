"""docs/errors.md lists every code of the product, as the classes say it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_the_classes_say() -> None:
    code = "from scripts.errors_doc import render; print(render(), end='')"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout == (_ROOT / "docs" / "errors.md").read_text()
