"""A read side without a database: a fixed set of reference values, for offline inspection."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from rvps.model import ReferenceValue, Selection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

_SNAPSHOT_DIGEST_CHARS = 16


class StaticReferenceLookup:
    """Implements ``rvps.model.ReferenceLookup`` over values given at construction.

    The snapshot id is ``offline-`` and a digest of the values: equal sets have equal ids.
    """

    def __init__(self, values: Sequence[ReferenceValue]) -> None:
        """Keep the values."""
        self._values = tuple(values)
        digest = hashlib.sha256(msgspec.json.encode(self._values)).hexdigest()
        self._snapshot = f"offline-{digest[:_SNAPSHOT_DIGEST_CHARS]}"

    def select(
        self,
        names: frozenset[str],
        observed: frozenset[str],
        now: datetime,
        *,
        unverified: frozenset[str] = frozenset(),
    ) -> Selection:
        """Values of ``names`` that are valid at ``now``; ``observed`` narrows nothing here.

        All of them were verified where they come from: there are no unverified ones.
        """
        del observed, unverified
        chosen = tuple(value for value in self._values if value.name in names and _valid(value, now))
        return Selection(snapshot=self._snapshot, values=chosen)

    def still_live(self, ids: frozenset[str], now: datetime) -> frozenset[str]:
        """Those of ``ids`` that are valid at ``now``."""
        return frozenset(value.id for value in self._values if value.id in ids and _valid(value, now))


def _valid(value: ReferenceValue, now: datetime) -> bool:
    return value.not_before <= now and (value.expires is None or now < value.expires)
