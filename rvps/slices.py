"""What was read of the store, and which of it counts when: the parts that answers of the look-up are of.

Dates and trust domains are judged at each call against its ``now``. An answer is kept with the span of
time in which no date of its values and votes passes, so that judging is two comparisons.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from policy.port import canonical_key
from rvps.model import MAX_MEMBERS, DeclaredReference, ReferenceValue, Selection
from rvps.quorum import Ballot  # noqa: TC001 (msgspec resolves it at run time)
from rvps.tables import NEVER
from storage.database import from_micros, to_micros

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rvps.declared import DeclaredValue

BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
END: Final = datetime.max.replace(tzinfo=UTC)


class Candidate(msgspec.Struct, frozen=True):
    """A live value, and the ballot that it stands or falls with, if there is one."""

    value: ReferenceValue
    ballot: Ballot | None = None


class Slice:
    """The live values of a small name, or those of a name that share one key.

    Attributes:
        items: the values.
        cut: there are more than were read.
        exact_from: from this instant on, no row that was left out can matter. Rows of a key are read in
            order of their end: once one that was read has expired, so have all that were not; and while
            one that was read is valid, the value is. Only before the first of them begins could one
            that was left out be the only valid one.
    """

    __slots__ = ("cut", "exact_from", "items")

    def __init__(self, items: Sequence[Candidate], *, cut: bool = False) -> None:
        """Keep what was read."""
        self.items = tuple(items)
        self.cut = cut
        self.exact_from = min(item.value.not_before for item in items) if cut else BEGINNING


class Large:
    """Stands for a name with too many live values to hand over whole."""


LARGE: Final = Large()
ABSENT: Final = Slice(())


class Declared:
    """A declared value as it was read, ready to be narrowed to what was observed."""

    __slots__ = ("_by_key", "_others", "_whole")

    def __init__(self, value: DeclaredValue) -> None:
        """Index the members of a long list."""
        is_list = isinstance(value.value, list)
        members = tuple(value.value) if is_list else (value.value,)
        self._whole = DeclaredReference(value.id, value.name, members, not is_list, value.expires_at)
        self._by_key: dict[str, list[Any]] | None = None
        self._others: tuple[Any, ...] = ()
        if len(members) > MAX_MEMBERS:
            self._others = tuple(item for item in members if isinstance(item, (list, dict)))
            self._by_key = {}
            for item in members:
                if not isinstance(item, (list, dict)):
                    self._by_key.setdefault(canonical_key(item), []).append(item)

    def narrowed(self, observed: frozenset[str]) -> DeclaredReference:
        """The value; of a long list what equals something observed, and what is no scalar."""
        if self._by_key is None:
            return self._whole
        met = [item for key in sorted(observed) for item in self._by_key.get(key, ())]
        return msgspec.structs.replace(self._whole, members=(*met, *self._others))


class Undeclared:
    """Stands for a name under which nothing is declared."""


UNDECLARED: Final = Undeclared()


class Answer:
    """Values of several slices, and which of them count when.

    Args:
        snapshot: of the state that they were read of.
        slices: what somebody's signature was verified of.
        unverified: what nobody's was.
        added: further values of the same names and keys, for the groups that they belong to.
        declared: what an administrator declared.
    """

    __slots__ = ("_added", "_declared", "_slices", "_span", "_unverified", "exact_from", "snapshot")

    def __init__(
        self,
        snapshot: str,
        slices: Sequence[Slice],
        unverified: Sequence[Slice] = (),
        added: Sequence[Candidate] = (),
        declared: Sequence[DeclaredReference] = (),
    ) -> None:
        """Judge nothing yet."""
        self.snapshot = snapshot
        self._declared = declared
        self._slices, self._unverified, self._added = slices, unverified, added
        self.exact_from = max((part.exact_from for part in (*slices, *unverified)), default=BEGINNING)
        # (from, until, selection): replaced as one, so that no thread sees half of it.
        self._span = (END, BEGINNING, Selection(snapshot, ()))

    def at(self, now: datetime) -> Selection:
        """What counts at an instant."""
        start, end, selection = self._span
        if start <= now < end:
            return selection
        items = [item for part in self._slices for item in part.items] + list(self._added)
        shelf = [item for part in self._unverified for item in part.items]
        dates = [date for item in (*items, *shelf) for date in _dates(item)]
        dates += [item.expires for item in self._declared]
        declared = tuple(item for item in self._declared if now < item.expires)
        selection = Selection(self.snapshot, counting(items, now), counting(shelf, now), declared)
        self._span = (
            max((date for date in dates if date <= now), default=BEGINNING),
            min((date for date in dates if date > now), default=END),
            selection,
        )
        return selection


def counting(items: Sequence[Candidate], now: datetime) -> tuple[ReferenceValue, ...]:
    """Those of the values that are within their dates, and that enough trust domains attest."""
    moment = to_micros(now)
    met: dict[int, bool] = {}
    found = []
    for item in items:
        if not _valid(item.value, now):
            continue
        ballot = item.ballot
        if ballot is not None:
            if id(ballot) not in met:
                met[id(ballot)] = ballot.missing(moment) == 0
            if not met[id(ballot)]:
                continue
        found.append(item.value)
    return tuple(found)


def _dates(item: Candidate) -> Iterator[datetime]:
    yield item.value.not_before
    if item.value.expires is not None:
        yield item.value.expires
    for vote in item.ballot.votes if item.ballot is not None else ():
        yield from_micros(vote.not_before)
        if vote.expires != NEVER:
            yield from_micros(vote.expires)


def _valid(item: ReferenceValue, now: datetime) -> bool:
    return item.not_before <= now and (item.expires is None or now < item.expires)
