"""Errors of the change feed."""

from __future__ import annotations

from common.errors import Conflict, InputError


class EventInvalid(InputError):
    """A change event's signature, format, chain or contents do not hold."""

    code = "feed.event_invalid"
    advice = "Export the events again; if it lasts, compare the peer's key: `touchstone feed key` there."


class PeerUnknown(InputError):
    """The event is of an instance that the settings do not name."""

    code = "feed.peer_unknown"
    advice = "Add the instance and its key under [[feed.peers]] if it is to be followed."


class FeedGap(Conflict):
    """Events in between are missing; ``details`` hold the last epoch that was taken."""

    code = "feed.gap"
    advice = "Send the events from the epoch after `details.epoch` on."


class FeedForked(Conflict):
    """The peer's history is another one than what was taken from it before."""

    code = "feed.forked"
    advice = (
        "The peer was restored from a backup, or its key signs for two stores. Decide which history counts,"
        " then let `touchstone feed forget` start anew."
    )
