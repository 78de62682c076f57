"""A report held against the settings: every failure is recorded, none stops, each sets an engine floor.

Floors: AR4SI values (draft-ietf-rats-ar4si section 2.3) that a policy can no longer improve; 96
contraindicates. A guest that can be debugged, whose key is shared or whose registers are readable has
nothing confidential: ``runtime-opaque`` too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from verifier.csv.layout import SOURCE
from verifier.csv.report import (
    POLICY_ASID_REUSE,
    POLICY_CSV3,
    POLICY_ES,
    POLICY_NODBG,
    POLICY_NOKS,
    POLICY_NOSEND,
)
from verifier.errors import DebugEnabled, PolicyViolation, TcbBelowFloor

if TYPE_CHECKING:
    from common.checks import Checks
    from verifier.csv.report import Report
    from verifier.csv.settings import CsvSettings

CONTRAINDICATED: Final = 96
NOT_RECOGNISED: Final = 97
_CONFIGURATION: Final = {"configuration": CONTRAINDICATED}
_VISIBLE: Final = {"configuration": CONTRAINDICATED, "runtime-opaque": CONTRAINDICATED}
_HARDWARE: Final = {"hardware": CONTRAINDICATED}


def api_of(policy: int) -> tuple[int, int]:
    """The lowest firmware interface (major, minor) that a guest's policy lets it run on."""
    return policy >> 16 & 0xFF, policy >> 24 & 0xFF


def assess(report: Report, settings: CsvSettings, checks: Checks) -> dict[str, int]:
    """Record every expectation; returns the floors that the failed ones set."""
    floors: dict[str, int] = {}
    for name, bit, wanted, permitted, floor in _policy_rules(settings):
        error = DebugEnabled if bit == POLICY_NODBG else PolicyViolation
        seen = bool(report.policy & bit)
        source = f"{SOURCE}: POLICY 0x0B0 bit {bit.bit_length() - 1}"
        if permitted and seen != wanted:
            checks.warn(
                f"csv.policy.{name}", observed=seen, source=source, note="permitted by the settings"
            )
        elif not checks.expect(
            f"csv.policy.{name}", seen == wanted, error, expected=wanted, observed=seen, source=source
        ):
            floors |= floor
    if not _firmware(report, settings, checks):
        floors |= _HARDWARE
    return floors


_Rule = tuple[str, int, bool, bool, dict[str, int]]


def _policy_rules(settings: CsvSettings) -> tuple[_Rule, ...]:
    """Name, bit, the value that is wanted, whether the other is permitted, and the floor if not."""
    return (
        ("nodbg", POLICY_NODBG, True, False, _VISIBLE),
        ("noks", POLICY_NOKS, True, settings.permit_key_sharing, _VISIBLE),
        ("es", POLICY_ES, True, not settings.require_es, _VISIBLE),
        ("nosend", POLICY_NOSEND, True, settings.permit_send, _CONFIGURATION),
        ("csv3", POLICY_CSV3, True, not settings.require_csv3, _CONFIGURATION),
        ("asid_reuse", POLICY_ASID_REUSE, False, settings.permit_asid_reuse, _CONFIGURATION),
    )


def _firmware(report: Report, settings: CsvSettings, checks: Checks) -> bool:
    ok = True
    if settings.minimum_api > (0, 0):
        api = api_of(report.policy)
        ok = checks.expect(
            "csv.policy.api", api >= settings.minimum_api, TcbBelowFloor,
            expected=list(settings.minimum_api), observed=list(api), source=f"{SOURCE}: POLICY 0x0B2",
        )  # fmt: skip
    if settings.minimum_build:
        build = None if report.extension is None else report.extension.build
        ok &= checks.expect(
            "csv.build", build is not None and build >= settings.minimum_build, TcbBelowFloor,
            expected=settings.minimum_build, observed=build, source=f"{SOURCE}: build 0x0BC",
        )  # fmt: skip
    return ok
