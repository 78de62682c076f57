"""Pulls the sources on their schedule, in one process of the server (``service.background``).

Replicas with data directories of their own pull each for itself: ingesting is idempotent. A source that
fails is asked again ever more seldom, at most once a day, and holds up no other. The schedule survives a
restart (``service.sources.state``), so that a server that restarts often does not pull more often.
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from common.errors import TouchstoneError
from service import metrics
from service.background import BackgroundThread
from service.errors import InternalError
from service.sources import plan, state
from service.sources.pull import Puller
from service.sources.state import MAX_REFUSALS, SourceState

if TYPE_CHECKING:
    from service.composition import Services
    from service.sources.plan import Source
    from service.sources.pull import Pulled

_LOG = logging.getLogger("touchstone.sources")
_LOCK_FILE: Final = "sources.lock"
_TICK_S: Final = 1.0
_MAX_DOUBLINGS: Final = 10
_MAX_DELAY: Final = timedelta(days=1)
_STOP_S: Final = 10.0


class SourceRunner:
    """The thread.

    Args:
        services: settings, clock, pipelines and stores.
        tick_s: how often the schedule is looked at.

    Raises:
        InvalidSetting: see ``plan.sources_of``.
    """

    def __init__(self, services: Services, *, tick_s: float = _TICK_S) -> None:
        """Read the sources; start nothing yet."""
        self._services = services
        self._tick_s = tick_s
        self._stop = threading.Event()
        self._thread: BackgroundThread | None = None
        self._sources = plan.sources_of(services.settings)
        self._pullers: list[Puller] = []
        self._states: dict[str, SourceState] = {}

    def start(self) -> None:
        """Start, where there are sources."""
        if self._sources:
            lock = self._services.settings.storage.data_dir / _LOCK_FILE
            self._thread = BackgroundThread("source-runner", lock, self._tick_s, self._tick, self._stop)

    def close(self) -> None:
        """Stop after the present envelope."""
        self._stop.set()
        if self._thread is not None:
            self._thread.close(_STOP_S)

    def prepare(self) -> None:
        """Take over the schedule. Called once the lock is held.

        Raises:
            TouchstoneError: the docker configuration cannot be used.
        """
        client = plan.client_of(self._services.settings, self._pause)
        known = state.read(self._services.settings)
        self._pullers = [Puller(self._services, source, client) for source in self._sources]
        self._states = {source.name: begin(source, known.get(source.name)) for source in self._sources}

    def run_due(self) -> int:
        """Pull every source whose time has come; how many."""
        pulled = 0
        for puller in self._pullers:
            due = self._states[puller.source.name].next_pull
            if self._stop.is_set() or (due is not None and due > self._services.clock()):
                continue
            self._pull(puller)
            pulled += 1
        return pulled

    def _tick(self) -> None:
        if not self._pullers:
            self.prepare()
        self.run_due()

    def _pull(self, puller: Puller) -> None:
        source, now = puller.source, self._services.clock()
        try:
            pulled = puller.pull(now, self._stop.is_set)
        except TouchstoneError as error:
            self._failed(source, error)
        except Exception:  # noqa: BLE001 (one source must not hold up the others)
            _LOG.exception("pulling a source failed", extra={"fields": {"source": source.name}})
            self._failed(source, InternalError("the server failed to pull the source"))
        else:
            self._succeeded(source, pulled)
        state.write(self._services.settings, self._states)

    def _succeeded(self, source: Source, pulled: Pulled) -> None:
        now = self._services.clock()
        self._states[source.name] = msgspec.structs.replace(
            self._states[source.name],
            next_pull=now + timedelta(seconds=source.interval_s),
            last_success=now,
            failure=None,
            message=None,
            failures=0,
            image=pulled.image,
            found=pulled.found,
            added=pulled.added,
            refused=pulled.refused[:MAX_REFUSALS],
        )
        metrics.source_pulled(source.name, now, added=pulled.added, refused=len(pulled.refused))

    def _failed(self, source: Source, error: TouchstoneError) -> None:
        now, before = self._services.clock(), self._states[source.name]
        self._states[source.name] = msgspec.structs.replace(
            before,
            next_pull=now + delay_after(source.interval_s, before.failures + 1),
            last_failure=now,
            failure=error.code,
            message=error.message,
            failures=before.failures + 1,
        )
        metrics.source_failed(source.name, now)
        fields = {"source": source.name, "code": error.code, "failures": before.failures + 1}
        _LOG.warning("a source could not be pulled", extra={"fields": fields})

    def _pause(self, seconds: float) -> None:
        """A registry's wish for a pause; a stop ends it."""
        self._stop.wait(seconds)


def begin(source: Source, known: SourceState | None) -> SourceState:
    """The state to go on from: that of before, if it is of the same place."""
    fresh = SourceState(source.name, source.kind, source.location, source.interval_s, source.trust_policy)
    if known is None or (known.kind, known.location) != (fresh.kind, fresh.location):
        return fresh
    # A changed interval or trust policy counts at once.
    changed = (known.interval_s, known.trust_policy) != (fresh.interval_s, fresh.trust_policy)
    return msgspec.structs.replace(
        known,
        interval_s=fresh.interval_s,
        trust_policy=fresh.trust_policy,
        next_pull=None if changed else known.next_pull,
    )


def delay_after(interval_s: int, failures: int) -> timedelta:
    """From a failure to the next try: the interval, doubled with each further failure up to a day."""
    interval = timedelta(seconds=interval_s)
    doubled = interval * (1 << min(failures - 1, _MAX_DOUBLINGS))
    return max(min(doubled, _MAX_DELAY), interval)
