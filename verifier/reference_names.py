"""Which claim a well-known reference name is meant for; used for explanations, never for a decision.

The names are those of CoCo's default attestation policy where it has one, ours otherwise; each TEE's own
record has them (``verifier.tee.Tee.reference_names``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from verifier.tees import TEES

if TYPE_CHECKING:
    from collections.abc import Mapping

# Names that say which machine or key it is, not which release.
IDENTITIES = frozenset().union(*(tee.identities for tee in TEES.values()))

_CLAIMS: Mapping[str, tuple[str, str]] = {
    name: (tee.name, claim) for tee in TEES.values() for name, claim in tee.reference_names.items()
}


def observed_value(name: str, claims: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Claim path and value that a reference name is held against, if the name is well known."""
    place = _CLAIMS.get(name)
    if place is None:
        return None
    section, path = place
    value: Any = claims.get(section)
    for member in path.split("."):
        if not isinstance(value, dict) or member not in value:
            return None
        value = value[member]
    return f"{section}.{path}", value
