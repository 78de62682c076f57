"""Asking sources for items: one at a time, the next source where one fails, nothing kept unverified.

Order of ``fetch``: nobody else asks for the same item; the one at hand, if it will do; each source in turn:
answer, unpacking, age, then ``EndorsementStore.keep``. The first source whose item is kept ends it.

Invariants:

* Sources are transport, not authority: one that gives what does not hold, is too old, or is behind what was
  seen, counts as one that failed.
* A failure of all raises. Nothing is assumed in place of what could not be had.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from common.errors import EndorsementError, FetchFailed, FetchForbidden, InputError
from common.fetch import answer_of
from verifier.endorsements.kinds import Ask, Item, Sources
from verifier.errors import EndorsementMissing, EndorsementOutdated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from common.errors import TouchstoneError
    from common.fetch import Fetcher
    from verifier.endorsements.kinds import CollateralKind, Facts
    from verifier.endorsements.store import EndorsementStore, Held

_LOG: Final = logging.getLogger(__name__)
_NOT_FOUND: Final = 404


class Fetched(msgspec.Struct, frozen=True):
    """What came of asking for one item.

    Attributes:
        name: of the item.
        outcome: as ``store.Kept``; ``at-hand`` where nobody was asked.
        facts: of the item.
        url: who gave it; empty for ``at-hand``.
    """

    name: str
    outcome: str
    facts: Facts
    url: str = ""


class Origin(msgspec.Struct, frozen=True):
    """Who is asked.

    Attributes:
        fetcher: how.
        sources: where.
    """

    fetcher: Fetcher
    sources: Sources = Sources()


def asks_of(kinds: Sequence[CollateralKind], given: Mapping[str, str], sources: Sources) -> tuple[Ask, ...]:
    """All items that the given parameters lead to, each once.

    Raises:
        InputError: a value that is none.
    """
    found = {ask.name: ask for kind in kinds for ask in kind.asks(given, sources)}
    return tuple(found.values())


def fetch(
    store: EndorsementStore,
    origin: Origin,
    ask: Ask,
    now: datetime,
    *,
    stale: Callable[[Held], bool] = lambda _held: False,
) -> Fetched:
    """Have an item: the one at hand if it is in force, from a source otherwise.

    Args:
        store: where it is kept.
        origin: who is asked.
        ask: what for.
        now: verification time.
        stale: whether to ask even though the one at hand is in force. It is called once nobody else asks,
            and so finds what they got. What never changes is not asked for again.

    Raises:
        EndorsementMissing: no source has it.
        FetchFailed, FetchForbidden: no source could be asked, or answered.
        EndorsementError, InputError: what the sources gave does not hold.
        InvalidSetting: the folder cannot be written.
    """
    kind = store.kind_of(ask.name)
    with store.locks.flight(ask.name):
        held, facts = store.held(ask.name), store.facts(ask.name, now)
        fresh = held is not None and not (kind.changes and stale(held))
        if fresh and facts is not None and facts.in_force(now):
            return Fetched(ask.name, "at-hand", facts)
        failures: list[TouchstoneError] = []
        for url in ask.urls:
            try:
                return _from(store, origin, (kind, ask, url), now)
            except (FetchFailed, FetchForbidden, EndorsementError, InputError) as error:
                _LOG.warning("%s from %s: %s", ask.name, url.partition("?")[0], error.message)
                failures.append(error)
        raise _worst(ask, failures)


def _from(
    store: EndorsementStore, origin: Origin, what: tuple[CollateralKind, Ask, str], now: datetime
) -> Fetched:
    kind, ask, url = what
    data, companions = kind.unpack(answer_of(origin.fetcher, url))
    item = Item(ask.name, data, companions)
    oldest = origin.sources.max_age.get(kind.vendor)
    if oldest is not None and kind.renewed_often:
        issued = store.examine(item, now).issued
        if issued is not None and now - issued > oldest:
            raise EndorsementOutdated(f"{ask.name} was issued more than {oldest.days} days ago")
    kept = store.keep(item, now)
    return Fetched(ask.name, kept.outcome, kept.facts, url)


def _worst(ask: Ask, failures: list[TouchstoneError]) -> TouchstoneError:
    """What was given and refused says most; then that a source did not answer; then that all have none."""
    if not failures:
        return EndorsementMissing(f"no source is configured for {ask.name}")
    unanswered = [error for error in failures if isinstance(error, (FetchFailed, FetchForbidden))]
    refused = [error for error in failures if error not in unanswered]
    if refused:
        return refused[0]
    silent = [error for error in unanswered if error.details.get("status") != _NOT_FOUND]
    return silent[0] if silent else EndorsementMissing(f"no source has {ask.name}")
