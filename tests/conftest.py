"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.opa import OpaServer
from tests.components import require, require_opa

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Folder of the third-party vectors; skips where it is absent, fails there under CI."""
    folder = Path(os.environ.get("TOUCHSTONE_VECTORS", _ROOT.parent / "shared" / "vectors"))
    require(folder.is_dir(), f"no third-party vectors at {folder} (set TOUCHSTONE_VECTORS)")
    return folder


@pytest.fixture(scope="session")
def opa_server() -> Iterator[OpaServer]:
    """A real OPA server on loopback, open to all, shared by the tests of one process."""
    require_opa()
    with OpaServer() as server:
        yield server
