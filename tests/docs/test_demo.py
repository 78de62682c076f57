"""`make demo` ends well, with the third-party vectors and without them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def demonstrate(vectors: str) -> str:
    environment = os.environ | {"TOUCHSTONE_VECTORS": vectors, "NO_COLOR": "1"}
    answer = subprocess.run(
        [sys.executable, "examples/demo"],
        cwd=_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]
    return answer.stdout


def test_on_real_input(vectors: Path) -> None:
    text = demonstrate(str(vectors))
    assert "refused before: contraindicated" in text
    assert "after: affirming" in text
    assert text.count("[release.stale]") >= 1


def test_on_input_made_on_the_spot(tmp_path: Path) -> None:
    text = demonstrate(str(tmp_path / "nowhere"))
    assert "No third-party vectors here" in text
    assert text.count("[release.stale]") >= 1
