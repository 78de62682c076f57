"""A token held against the settings: a failure is recorded and sets engine floors, none stops.

Life cycle (claim 2395, bits 15 to 8): only 0x30, secured, is what a platform in the field says. 0x40 and
0x50 are its debug states, in which firmware can be looked into from outside: the floors of a debuggable
guest.

Source: DEN0137 section A7.2.3.2.7; AR4SI (draft-ietf-rats-ar4si) section 2.3 for the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from verifier.cca.checks import RMM
from verifier.errors import DebugEnabled, PolicyViolation

if TYPE_CHECKING:
    from common.checks import Checks
    from verifier.cca.platform import PlatformClaims
    from verifier.cca.realm import RealmClaims
    from verifier.cca.settings import CcaSettings

CONTRAINDICATED: Final = 96
NOT_RECOGNISED: Final = 97
SECURED: Final = "secured"
UNKNOWN: Final = "unknown"
_STATES: Final = {
    0x00: UNKNOWN,
    0x10: "assembly-and-test",
    0x20: "provisioning",
    0x30: SECURED,
    0x40: "debug",
    0x50: "recoverable-debug",
    0x60: "decommissioned",
}
_DEBUG: Final = frozenset({0x40, 0x50})
_HARDWARE_FLOORS: Final = {"hardware": CONTRAINDICATED, "configuration": CONTRAINDICATED}
_DEBUG_FLOORS: Final = _HARDWARE_FLOORS | {"runtime-opaque": CONTRAINDICATED}
_SOURCE: Final = f"{RMM}.3.2.7 (claim 2395)"


def lifecycle_state(lifecycle: int) -> str:
    """The state's name; ``unknown`` for values that the specification gives no meaning."""
    return _STATES.get(lifecycle >> 8, UNKNOWN)


def is_debug(lifecycle: int) -> bool:
    """Whether the platform's firmware can be debugged."""
    return lifecycle >> 8 in _DEBUG


def assess(
    platform: PlatformClaims, realm: RealmClaims, settings: CcaSettings, checks: Checks
) -> dict[str, int]:
    """Record every expectation; returns the floors that the failed ones set."""
    floors: dict[str, int] = {}
    debug = is_debug(platform.lifecycle)
    state = lifecycle_state(platform.lifecycle)
    if not checks.expect(
        "cca.platform.lifecycle", state == SECURED, DebugEnabled if debug else PolicyViolation,
        expected="0x3000..0x30ff", observed=f"{platform.lifecycle:#06x}", source=_SOURCE,
        note="" if state == SECURED else f"the platform's life cycle is {state}, not secured",
    ):  # fmt: skip
        floors |= _DEBUG_FLOORS if debug else _HARDWARE_FLOORS
    accepted = settings.implementation_ids
    if accepted and not checks.expect(
        "cca.platform.implementation", platform.implementation_id in accepted, PolicyViolation,
        expected=sorted(value.hex() for value in accepted), observed=platform.implementation_id.hex(),
        source="settings: implementation_ids",
    ):  # fmt: skip
        floors["hardware"] = NOT_RECOGNISED
    others = (
        *platform.others,
        *realm.others,
        *(label for item in platform.components for label in item.others),
    )
    if others:
        checks.warn(
            "cca.claims.unknown", observed=list(others), source="RFC 9711 section 6.1",
            note="the token has claims that are not read here",
        )  # fmt: skip
    return floors
