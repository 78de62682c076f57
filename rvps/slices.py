"""What was read of the store, and which of it counts when: the parts that answers of the look-up are of.

Dates and trust domains are judged at each call against its ``now``. An answer is kept with the span of
time in which no date of its values and votes passes, so that judging is two comparisons.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from rvps.model import ReferenceValue, Selection
from rvps.quorum import Ballot  # noqa: TC001 (msgspec resolves it at run time)
from rvps.tables import NEVER
from storage.database import from_micros, to_micros

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


class Answer:
    """Values of several slices, and which of them count when.

    Args:
        snapshot: of the state that they were read of.
        slices: what somebody's signature was verified of.
        unverified: what nobody's was.
        added: further values of the same names and keys, for the groups that they belong to.
    """

    __slots__ = ("_added", "_slices", "_span", "_unverified", "exact_from", "snapshot")

    def __init__(
        self,
        snapshot: str,
        slices: Sequence[Slice],
        unverified: Sequence[Slice] = (),
        added: Sequence[Candidate] = (),
    ) -> None:
        """Judge nothing yet."""
        self.snapshot = snapshot
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
        selection = Selection(self.snapshot, counting(items, now), counting(shelf, now))
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
