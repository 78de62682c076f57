"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Folder of the third-party vectors; skips where it is absent, fails there under CI."""
    folder = Path(os.environ.get("TOUCHSTONE_VECTORS", _ROOT.parent / "shared" / "vectors"))
    if folder.is_dir():
        return folder
    reason = f"no third-party vectors at {folder} (set TOUCHSTONE_VECTORS)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
