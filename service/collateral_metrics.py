"""Metrics of the endorsement store: how many items are in which state, and when they end.

Bounded: certificates of single chips, of which there are many and which live for years, are not counted one
by one; of each other kind at most 64 subjects are, those that end first.
"""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING, Final

from prometheus_client import Gauge

from service.metrics import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from verifier.endorsements.listing import Listed

MAX_SUBJECTS: Final = 64
_STATES: Final = ("valid", "expiring", "expired", "invalid")

# Over several processes the latest setting counts: one of them looks at a time.
_EXPIRY = Gauge(
    "touchstone_collateral_expiry_seconds",
    "When an item of the endorsement store ends, since the epoch; 0 where it does not verify.",
    ("kind", "subject"),
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
_ITEMS = Gauge(
    "touchstone_collateral_items",
    "Items of the endorsement store that are renewed, by kind and state.",
    ("kind", "state"),
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)


def measured(kinds: Iterable[str], found: Iterable[Listed]) -> None:
    """Set the gauges.

    Args:
        kinds: names of the kinds that were looked at.
        found: their items.
    """
    items = list(found)
    tally = Tally((item.kind, item.state) for item in items)
    for kind in kinds:
        for state in _STATES:
            _ITEMS.labels(kind, state).set(tally[kind, state])
        of_kind = [item for item in items if item.kind == kind]
        for item in sorted(of_kind, key=_end)[:MAX_SUBJECTS]:
            _EXPIRY.labels(kind, item.subject or item.name).set(_end(item))


def _end(item: Listed) -> float:
    return 0.0 if item.not_after is None else item.not_after.timestamp()
