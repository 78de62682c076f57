"""Upkeep of the endorsement store beside requests: renewal in time, metrics, warnings.

One process of the server does it (``service.background``), every ten minutes:

1. With ``[fetch] enabled``: what ends within ``[collateral] expiring_days``, has ended, or was got more
   than a day ago, is asked for again. A failure leaves what is at hand.
2. Ends and states go into ``touchstone_collateral_*``.
3. What is expiring, expired or invalid is logged as a warning, once a day an item.

So that requests find what they need: they ask a source only for what the store does not have.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from common.errors import TouchstoneError
from service import collateral, collateral_metrics
from service.background import BackgroundThread
from verifier.endorsements.fetching import Origin, fetch
from verifier.endorsements.listing import judge

if TYPE_CHECKING:
    from service.composition import Services
    from verifier.endorsements.listing import Listed
    from verifier.endorsements.store import Held

_LOG = logging.getLogger("touchstone.collateral")
_LOCK_FILE: Final = "collateral.lock"
_INTERVAL_S: Final = 600.0
_STOP_S: Final = 5.0
_DAY: Final = timedelta(days=1)


class CollateralWatch:
    """The thread.

    Args:
        services: settings and clock.
        interval_s: from one look to the next.
    """

    def __init__(self, services: Services, *, interval_s: float = _INTERVAL_S) -> None:
        """Start nothing yet."""
        self._services = services
        self._interval_s = interval_s
        settings = services.settings
        self._section = collateral.section_of(settings)
        self._sources = collateral.sources_of(self._section)
        self._store = collateral.open_store(settings.collateral_dir)
        self._origin = (
            Origin(collateral.fetcher_of(settings, self._sources), self._sources)
            if settings.fetch.enabled
            else None
        )
        self._asked: dict[str, datetime] = {}
        self._warned: dict[str, datetime] = {}
        self._thread: BackgroundThread | None = None

    def start(self) -> None:
        """Set the metrics, start the thread."""
        self.measure(self._services.clock())
        lock = self._services.settings.storage.data_dir / _LOCK_FILE
        self._thread = BackgroundThread("collateral", lock, self._interval_s, self.look)

    def close(self) -> None:
        """Stop after the present look."""
        if self._thread is not None:
            self._thread.close(_STOP_S)

    def look(self) -> None:
        """Renew, measure and warn."""
        now = self._services.clock()
        if self._origin is not None:
            self._renew(self._origin, now)
        self._warn(self.measure(now), now)

    def measure(self, now: datetime) -> tuple[Listed, ...]:
        """Set the metrics; what is in the store and is renewed."""
        kinds = [kind.name for kind in self._store.kinds if kind.changes]
        found = tuple(
            judge(self._store, held, now, timedelta(days=self._section.expiring_days))
            for held in self._store.items()
            if self._store.kind_of(held.item.name).changes
        )
        collateral_metrics.measured(kinds, found)
        return found

    def _renew(self, origin: Origin, now: datetime) -> None:
        for ask in collateral.asks_again(self._store, self._sources):
            held = self._store.held(ask.name)
            if held is None or not self._is_due(held, now):
                continue
            self._asked[ask.name] = now
            try:
                fetch(self._store, origin, ask, now, stale=lambda held: self._is_stale(held, now))
            except TouchstoneError as error:
                _LOG.warning("%s was not renewed: %s", ask.name, error.message)

    def _is_due(self, held: Held, now: datetime) -> bool:
        """Whether to ask for it now: not more often than once an hour for what sources keep as it is."""
        asked = self._asked.get(held.item.name)
        recently = asked is not None and timedelta(0) <= now - asked < timedelta(hours=1)
        return not recently and self._is_stale(held, now)

    def _is_stale(self, held: Held, now: datetime) -> bool:
        facts = self._store.facts(held.item.name, now)
        ahead = timedelta(days=self._section.expiring_days)
        return facts is None or facts.ends_within(ahead, now) or now - held.got > _DAY

    def _warn(self, found: tuple[Listed, ...], now: datetime) -> None:
        for item in found:
            warned = self._warned.get(item.name)
            if item.state == "valid" or (warned is not None and now - warned < _DAY):
                continue
            self._warned[item.name] = now
            fields = {"item": item.name, "state": item.state, "code": item.code}
            _LOG.warning("collateral %s is %s", item.name, item.state, extra={"fields": fields})
