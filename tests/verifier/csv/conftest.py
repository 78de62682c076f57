"""A platform of our own and a verifier that trusts it; SM2 in Python is slow, so they are made once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from testkit.csv_platform import CsvPlatform
from verifier.csv.endorsements import FixedEndorsements
from verifier.csv.settings import CsvSettings
from verifier.csv.verifier import CsvVerifier

NOW = datetime(2026, 11, 28, tzinfo=UTC)


@pytest.fixture(scope="session")
def platform() -> CsvPlatform:
    return CsvPlatform()


@pytest.fixture(scope="session")
def stranger() -> CsvPlatform:
    """Another vendor's platform, with the same names and other keys."""
    return CsvPlatform(b"other chip", vendor=b"stranger")


@pytest.fixture(scope="session")
def verifier(platform: CsvPlatform) -> CsvVerifier:
    return CsvVerifier(CsvSettings(), FixedEndorsements(), extra_anchors=[platform.hrk])
