"""Fixtures of the provenance tests."""

from __future__ import annotations

import pytest

from testkit.authority import TestAuthority
from tests.provenance.builds import START


@pytest.fixture(scope="session")
def authority() -> TestAuthority:
    return TestAuthority("ours", start=START)


@pytest.fixture(scope="session")
def stranger() -> TestAuthority:
    return TestAuthority("stranger", start=START)
