"""A verifier that trusts a test firmware, and what its tests say of the result."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from testkit.snp_firmware import SnpFirmware
from verifier.model import Expectation, ReportDataBinding, VerifiedEvidence
from verifier.snp import SnpSettings, SnpVerifier
from verifier.snp.collateral import SnpCollateral
from wire.evidence import SnpEvidence

NOW = datetime(2025, 6, 1, tzinfo=UTC)
REPORT_DATA = bytes(range(64))
BOUND = ReportDataBinding(REPORT_DATA)

Verify = Callable[..., VerifiedEvidence]


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
