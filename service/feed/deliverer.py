"""Sends this instance's changes to its subscribers as they happen.

One worker process does it (``service.background``), at a fixed interval. A subscriber keeps its own
place: the first event that is sent tells, by the refusal that it gets, how far that subscriber is. Nothing
is stored here, and an event that is sent twice changes nothing there. A subscriber that does not answer
is asked again, ever more seldom, and holds up no other.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from common.encoding import b64url_encode
from common.errors import TouchstoneError
from service.background import BackgroundThread
from service.client import ApiClient, RemoteError, read_token
from service.feed import publisher
from service.feed.errors import FeedGap

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.composition import Services
    from service.sections import SubscriptionSection

_LOG = logging.getLogger("touchstone.feed")
_LOCK_FILE = "feed.lock"
_BATCH = 20
_MAX_PAUSE_TICKS = 64


class Subscription:
    """One subscriber, and how far it is known to be.

    Args:
        url: for logs; what the settings name.
        call: posts events; raises ``RemoteError`` or ``FetchFailed``.
    """

    def __init__(self, url: str, call: Callable[[list[str]], Any]) -> None:
        """Nothing is known yet."""
        self.url = url
        self._call = call
        self._after: int | None = None
        self._failures = 0
        self._pause = 0

    def deliver(self, events_after: Callable[[int], list[bytes]]) -> int:
        """Send what is missing; the number of events that were taken. Failures are logged, not raised."""
        if self._pause > 0:
            self._pause -= 1
            return 0
        try:
            sent = self._deliver(events_after)
        except TouchstoneError as error:
            self._failures += 1
            self._pause = min(2**self._failures, _MAX_PAUSE_TICKS)
            fields = {"subscriber": self.url, "code": _code_of(error), "failures": self._failures}
            _LOG.warning("a subscriber did not take the changes", extra={"fields": fields})
            return 0
        self._failures = 0
        return sent

    def _deliver(self, events_after: Callable[[int], list[bytes]]) -> int:
        sent = 0
        while events := events_after(self._after or 0)[:_BATCH]:
            try:
                self._call([b64url_encode(event) for event in events])
            except RemoteError as error:
                self._after = _place_told(error)
                continue
            self._after = (self._after or 0) + len(events)
            sent += len(events)
        return sent


class Deliverer:
    """The thread.

    Args:
        services: database, key and settings.
    """

    def __init__(self, services: Services) -> None:
        """Start nothing yet."""
        self._services = services
        self._thread: BackgroundThread | None = None
        self._subscriptions = [
            Subscription(item.url, _caller(item)) for item in services.settings.feed.subscriptions
        ]

    def start(self) -> None:
        """Start, where there are subscribers."""
        if self._subscriptions:
            settings = self._services.settings
            lock, interval_s = settings.storage.data_dir / _LOCK_FILE, settings.feed.interval_s
            self._thread = BackgroundThread("feed-deliverer", lock, interval_s, self._deliver_all)

    def close(self) -> None:
        """Stop after the present call."""
        if self._thread is not None:
            self._thread.close()

    def _deliver_all(self) -> None:
        for subscription in self._subscriptions:
            self._deliver(subscription)

    def _deliver(self, subscription: Subscription) -> None:
        try:
            subscription.deliver(self._events_after)
        except Exception:  # noqa: BLE001 (whatever it is, the thread goes on with the others)
            _LOG.exception("sending changes failed", extra={"fields": {"subscriber": subscription.url}})

    def _events_after(self, epoch: int) -> list[bytes]:
        return publisher.events_after(
            self._services.database,
            epoch,
            instance=self._services.settings.token.issuer,
            key=self._services.feed_key,
            limit=_BATCH,
        )


def _caller(item: SubscriptionSection) -> Callable[[list[str]], Any]:
    def call(events: list[str]) -> Any:
        # The token is read each time: it may be renewed while the server runs.
        client = ApiClient(item.url, token=read_token(item.token_file), ca_file=item.ca_file)
        return client.call("POST", "/v1/changes", body={"events": events})

    return call


def _place_told(error: RemoteError) -> int:
    """The epoch after which a subscriber wants events; raises the refusal if it is another one."""
    details = error.problem.get("details")
    epoch = details.get("epoch") if isinstance(details, dict) else None
    if error.remote_code != FeedGap.code or not isinstance(epoch, int) or epoch < 0:
        raise error
    return epoch


def _code_of(error: TouchstoneError) -> str:
    return error.remote_code if isinstance(error, RemoteError) else error.code
