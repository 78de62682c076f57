"""What a test needs and a machine may lack: skipped with the reason, failed under CI."""

from __future__ import annotations

import os

import pytest

from testkit.opa import find_opa
from testkit.softhsm import find_module
from testkit.swtpm import missing_program


def require(available: object, reason: str) -> None:
    """Skip the test where something is absent; under CI fail, so that no check is lost unseen."""
    if available:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def require_opa() -> None:
    require(find_opa(), "no OPA binary: run `make opa`, or set TOUCHSTONE_OPA")


def require_swtpm() -> None:
    missing = missing_program()
    require(missing is None, f"the program {missing} is not installed")


def require_softhsm() -> None:
    require(find_module(), "SoftHSM is not installed: run scripts/system-packages")
