"""What a verifier's settings find wrong: check records, and the engine floors that failures set.

A floor is the worst value of an AR4SI claim that a policy can no longer improve (draft-ietf-rats-ar4si
section 2.3): 32 and above warns, 96 contraindicates, 97 means "not recognised".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from verifier.errors import PolicyViolation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.checks import Check, Checks
    from common.errors import TouchstoneError

WARNING: Final = 32
CONTRAINDICATED: Final = 96
NOT_RECOGNISED: Final = 97

CONFIGURATION: Final = {"configuration": CONTRAINDICATED}
# AR4SI runtime-opaque 96: the contents of memory are visible from outside.
VISIBLE: Final = {"configuration": CONTRAINDICATED, "runtime-opaque": CONTRAINDICATED}
HARDWARE: Final = {"hardware": CONTRAINDICATED}
EXECUTABLES: Final = {"executables": CONTRAINDICATED}


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

    def known(self, record: Check) -> None:
        """Record a check whose outcome is known already."""
        self._checks.extend((record,))

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


def hexes(values: frozenset[bytes]) -> list[str]:
    """Values as hex, sorted."""
    return sorted(value.hex() for value in values)
