"""A test authority and a verifier that trusts it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from testkit.nvidia_authority import START, NvidiaAuthority
from testkit.nvidia_device import TestDevice
from verifier.model import Expectation, ReportDataBinding, VerifiedEvidence
from verifier.nvidia import NvidiaSettings, NvidiaVerifier
from verifier.nvidia.collateral import NvidiaCollateral
from verifier.nvidia.evidence import NvidiaDevice, NvidiaEvidence

NONCE = bytes(range(32))
BOUND = ReportDataBinding(NONCE)
NOW = START + timedelta(hours=1)
PARTIAL = NvidiaSettings(revocation="if-present")


@pytest.fixture(scope="session")
def authority() -> NvidiaAuthority:
    return NvidiaAuthority()


@pytest.fixture(scope="session")
def stranger() -> NvidiaAuthority:
    """The same names, other keys."""
    return NvidiaAuthority()


@pytest.fixture(scope="session")
def gpu(authority: NvidiaAuthority) -> TestDevice:
    return TestDevice(authority)


def verifier_of(
    authority: NvidiaAuthority, collateral: NvidiaCollateral, settings: NvidiaSettings | None = None
) -> NvidiaVerifier:
    return NvidiaVerifier(
        settings or NvidiaSettings(),
        collateral,
        extra_anchors=(authority.root.certificate,),
        extra_manifest_anchors=(authority.rim_root.certificate,),
    )


def verify(
    device: TestDevice,
    entry: NvidiaDevice | None = None,
    *,
    collateral: NvidiaCollateral | None = None,
    expected: Expectation = BOUND,
    settings: NvidiaSettings | None = None,
    now: Any = NOW,
) -> VerifiedEvidence:
    """Evidence of one device, bound to ``NONCE``, with everything at hand unless said otherwise."""
    verifier = verifier_of(device.authority, collateral or device.collateral(), settings)
    document = NvidiaEvidence(devices=(entry or device.document(device.exchange(NONCE)),))
    return verifier.verify(document, expected, None, now)


def failed(verified: VerifiedEvidence) -> list[str]:
    """Names of the failed checks."""
    return [check.name for check in verified.checks if check.verdict == "fail"]
