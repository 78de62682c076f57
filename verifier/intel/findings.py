"""What the settings find wrong: check records, and the engine floors that failures set.

A floor is the worst value of an AR4SI claim that a policy can no longer improve (draft-ietf-rats-ar4si
section 2.3): 32 and above warns, 96 contraindicates, 97 means "not recognised".
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from verifier.errors import PolicyViolation, TcbStatusRefused
from verifier.intel.status import TcbStatus

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from common.checks import Checks
    from common.errors import TouchstoneError
    from verifier.intel.collateral import Collateral
    from verifier.intel.evaluation import TcbResult
    from verifier.intel.pck import Pck
    from verifier.intel.settings import PlatformSettings

WARNING: Final = 32
CONTRAINDICATED: Final = 96
NOT_RECOGNISED: Final = 97

CONFIGURATION: Final = {"configuration": CONTRAINDICATED}
# AR4SI runtime-opaque 96: the contents of memory are visible from outside.
VISIBLE: Final = {"configuration": CONTRAINDICATED, "runtime-opaque": CONTRAINDICATED}
HARDWARE: Final = {"hardware": CONTRAINDICATED}
EXECUTABLES: Final = {"executables": CONTRAINDICATED}
_OUTDATED: Final = {"hardware": WARNING}
_UNKNOWN_INSTANCE: Final = {"instance-identity": NOT_RECOGNISED}
_LEAKED: Final = {"hardware": CONTRAINDICATED, "instance-identity": CONTRAINDICATED}
_TCB_SOURCE: Final = "Intel PCS API version 4, tcbStatus; Intel QVL, status converging"


class Findings:
    """Check records and the floors that failures set.

    Args:
        checks: where the records go.
    """

    __slots__ = ("_checks", "floors")

    def __init__(self, checks: Checks) -> None:
        """Start without floors."""
        self._checks = checks
        self.floors: dict[str, int] = {}

    def expect(
        self,
        name: str,
        ok: bool,
        floors: Mapping[str, int],
        error: type[TouchstoneError] = PolicyViolation,
        *,
        expected: object,
        observed: object,
        source: str,
        note: str = "",
    ) -> None:
        """Record an expectation; a failure sets its floors."""
        if not self._checks.expect(
            name, ok, error, expected=expected, observed=observed, source=source, note=note
        ):
            for claim, value in floors.items():
                self.floors[claim] = max(value, self.floors.get(claim, value))

    def masks(
        self, name: str, bits: int, required: int, forbidden: int, floors: Mapping[str, int], *, source: str
    ) -> None:
        """Bits that must, and bits that must not be set."""
        self.expect(
            name, bits & required == required and not bits & forbidden, floors,
            expected={"required": hex(required), "forbidden": hex(forbidden)}, observed=hex(bits),
            source=source,
        )  # fmt: skip

    def member(
        self,
        name: str,
        value: bytes,
        allowed: frozenset[bytes],
        floors: Mapping[str, int] = EXECUTABLES,
        *,
        source: str,
        note: str = "",
    ) -> None:
        """One of the allowed values, each shown as hex."""
        self.expect(
            name, value in allowed, floors, expected=hexes(allowed), observed=value.hex(), source=source,
            note=note,
        )  # fmt: skip


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


def hexes(values: frozenset[bytes]) -> list[str]:
    """Values as hex, sorted."""
    return sorted(value.hex() for value in values)


def _sorted(statuses: frozenset[TcbStatus]) -> list[str]:
    return sorted(str(status) for status in statuses)


def _shortfall_text(tcb: TcbResult) -> str:
    parts = [f"{name} has {gap['have']}, needs {gap['need']}" for name, gap in tcb.shortfall.items()]
    return f"the platform's TCB is {tcb.status}" + (f": {', '.join(parts)}" if parts else "")
