"""A bounded cache that forgets what was not used for long, in two generations.

A hit costs one dictionary look-up, against the reordering that an exact least-recently-used list does on
each hit: what was read since the last turn of generations survives the next. Threads need no lock: under
the interpreter's own, a race can lose an entry, never mix two.
"""

from __future__ import annotations

from typing import Generic, TypeVar

Key = TypeVar("Key")
Item = TypeVar("Item")


class Generations(Generic[Key, Item]):
    """At most ``2 * limit`` entries.

    Args:
        limit: entries of one generation.
    """

    __slots__ = ("_limit", "_old", "_young")

    def __init__(self, limit: int) -> None:
        """Start empty."""
        self._limit = limit
        self._young: dict[Key, Item] = {}
        self._old: dict[Key, Item] = {}

    def get(self, key: Key) -> Item | None:
        """The entry, or None."""
        item = self._young.get(key)
        if item is None:
            item = self._old.get(key)
            if item is not None:
                self.put(key, item)
        return item

    def put(self, key: Key, item: Item) -> None:
        """Keep an entry."""
        if len(self._young) >= self._limit:
            self._old = self._young
            self._young = {}
        self._young[key] = item

    def __len__(self) -> int:
        """How many entries are kept; one that is in both generations counts twice."""
        return len(self._young) + len(self._old)
