"""What the settings find wrong with an Intel platform: status, advisories, age of collateral, identity."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from verifier.errors import TcbStatusRefused
from verifier.findings import CONTRAINDICATED, HARDWARE, NOT_RECOGNISED, WARNING, hexes
from verifier.intel.status import TcbStatus

if TYPE_CHECKING:
    from datetime import datetime

    from verifier.findings import Findings
    from verifier.intel.collateral import Collateral
    from verifier.intel.evaluation import TcbResult
    from verifier.intel.pck import Pck
    from verifier.intel.settings import PlatformSettings

_OUTDATED: Final = {"hardware": WARNING}
_UNKNOWN_INSTANCE: Final = {"instance-identity": NOT_RECOGNISED}
_LEAKED: Final = {"hardware": CONTRAINDICATED, "instance-identity": CONTRAINDICATED}
_TCB_SOURCE: Final = "Intel PCS API version 4, tcbStatus; Intel QVL, status converging"


def assess_platform(
    tcb: TcbResult,
    pck: Pck,
    collateral: Collateral,
    settings: PlatformSettings,
    *,
    now: datetime,
    findings: Findings,
) -> None:
    """Hold the platform against the settings: status, advisories, age of the collateral, identity."""
    accepted = tcb.status in settings.tcb_statuses
    findings.expect(
        "intel.tcb.status", accepted, HARDWARE if tcb.status is TcbStatus.REVOKED else _OUTDATED,
        TcbStatusRefused, expected=_sorted(settings.tcb_statuses), observed=str(tcb.status),
        source=_TCB_SOURCE, note="" if accepted else _shortfall_text(tcb),
    )  # fmt: skip
    if settings.advisories_rejected:
        found = sorted(settings.advisories_rejected.intersection(tcb.advisories))
        findings.expect(
            "intel.tcb.advisories", not found, HARDWARE, TcbStatusRefused,
            expected=f"none of {sorted(settings.advisories_rejected)}", observed=found, source=_TCB_SOURCE,
        )  # fmt: skip
    if settings.maximum_age_days:
        maximum_age = timedelta(days=settings.maximum_age_days)
        oldest = min(collateral.info.issue_date, collateral.identity.issue_date)
        findings.expect(
            "intel.collateral.age", now - oldest <= maximum_age, _OUTDATED, TcbStatusRefused,
            expected=f"at most {maximum_age.days} days old", observed=oldest.isoformat(),
            source="Intel PCS API version 4, issueDate",
        )  # fmt: skip
    _assess_identity(pck, settings, findings)


def _assess_identity(pck: Pck, settings: PlatformSettings, findings: Findings) -> None:
    if not settings.platforms and not settings.platforms_denied:
        return
    names = {pck.ppid} | ({pck.platform_instance_id} if pck.platform_instance_id else set())
    source = "Intel SGX PCK Certificate Profile section 1.3.5, PPID and platform instance id"
    observed = hexes(frozenset(names))
    if settings.platforms_denied:
        findings.expect(
            "intel.platform.denied", not names & settings.platforms_denied, _LEAKED,
            expected="not on the deny-list", observed=observed, source=source,
        )  # fmt: skip
    if settings.platforms:
        findings.expect(
            "intel.platform", bool(names & settings.platforms), _UNKNOWN_INSTANCE,
            expected=hexes(settings.platforms), observed=observed, source=source,
        )  # fmt: skip


def _sorted(statuses: frozenset[TcbStatus]) -> list[str]:
    return sorted(str(status) for status in statuses)


def _shortfall_text(tcb: TcbResult) -> str:
    parts = [f"{name} has {gap['have']}, needs {gap['need']}" for name, gap in tcb.shortfall.items()]
    return f"the platform's TCB is {tcb.status}" + (f": {', '.join(parts)}" if parts else "")
