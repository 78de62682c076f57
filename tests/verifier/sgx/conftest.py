"""A test platform, made once a session: nothing changes it."""

from __future__ import annotations

import pytest

from testkit.intel_platform import IntelPlatform


@pytest.fixture(scope="session")
def platform() -> IntelPlatform:
    return IntelPlatform()


@pytest.fixture(scope="session")
def stranger() -> IntelPlatform:
    """Another authority with the same names."""
    return IntelPlatform()
