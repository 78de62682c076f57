"""Test firmwares of every product, and a verifier that trusts them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from testkit.snp_firmware import AuthorityKeys, SnpFirmware
from verifier.model import Expectation, ReportDataBinding, VerifiedEvidence
from verifier.snp import SnpSettings, SnpVerifier
from verifier.snp.collateral import SnpCollateral
from verifier.snp.products import Product
from wire.evidence import SnpEvidence

NOW = datetime(2025, 6, 1, tzinfo=UTC)
REPORT_DATA = bytes(range(64))
BOUND = ReportDataBinding(REPORT_DATA)

Verify = Callable[..., VerifiedEvidence]


@pytest.fixture(scope="session")
def keys() -> AuthorityKeys:
    return AuthorityKeys()


@pytest.fixture(scope="session")
def milan(keys: AuthorityKeys) -> SnpFirmware:
    return SnpFirmware(Product.MILAN, keys=keys, seed=b"milan")


@pytest.fixture(scope="session")
def genoa(keys: AuthorityKeys) -> SnpFirmware:
    return SnpFirmware(Product.GENOA, keys=keys, seed=b"genoa")


@pytest.fixture(scope="session")
def turin(keys: AuthorityKeys) -> SnpFirmware:
    return SnpFirmware(Product.TURIN, keys=keys, seed=b"turin")


@pytest.fixture(scope="session")
def firmwares(milan: SnpFirmware, genoa: SnpFirmware, turin: SnpFirmware) -> dict[Product, SnpFirmware]:
    return {firmware.product: firmware for firmware in (milan, genoa, turin)}


@pytest.fixture(scope="session")
def stranger() -> SnpFirmware:
    """Another firmware's PKI, with the same names and other keys."""
    return SnpFirmware(Product.MILAN, seed=b"stranger")


def settings_of(firmware: SnpFirmware, **changes: Any) -> SnpSettings:
    return SnpSettings(**({"csp_ids": frozenset({firmware.csp_id})} | changes))


def verifier_of(
    firmware: SnpFirmware, collateral: SnpCollateral | None = None, **changes: Any
) -> SnpVerifier:
    return SnpVerifier(
        settings_of(firmware, **changes),
        collateral or firmware.collateral(),
        extra_anchors=(firmware.ark,),
    )


def verify(
    firmware: SnpFirmware,
    evidence: SnpEvidence,
    *,
    expected: Expectation = BOUND,
    now: datetime = NOW,
    collateral: SnpCollateral | None = None,
    **changes: Any,
) -> VerifiedEvidence:
    return verifier_of(firmware, collateral, **changes).verify(evidence, expected, None, now)


def failed(verified: VerifiedEvidence) -> list[str]:
    """Names of the failed checks."""
    return [check.name for check in verified.checks if check.verdict == "fail"]
