"""``/v1/changes``: this instance's changes as signed events, and those of peers taken in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from common.encoding import b64url_decode, b64url_encode
from common.errors import Malformed
from service.access import Scope
from service.feed import publisher
from service.feed.key import public_pem
from service.feed.subscriber import Outcome  # noqa: TC001 (msgspec resolves it at run time)
from service.routing import Answer, Call, RouteTable

if TYPE_CHECKING:
    from service.composition import Services

ROUTES = RouteTable("changes")


class ChangesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From where, and how many."""

    after: Annotated[int, msgspec.Meta(ge=0)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=publisher.MAX_EVENTS)] = publisher.MAX_EVENTS


class Changes(msgspec.Struct, frozen=True):
    """Signed events.

    Attributes:
        instance: who signs them.
        events: DSSE envelopes, base64url, in order.
        next: ``after`` of the next call; the same as in this one where there is nothing newer.
    """

    instance: str
    events: tuple[str, ...]
    next: int


class FeedKey(msgspec.Struct, frozen=True):
    """The key that signs our events, for a peer's settings and trust policy."""

    instance: str
    key: str


class Events(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events of a peer: DSSE envelopes, base64url, in order."""

    events: tuple[str, ...]


class Taken(msgspec.Struct, frozen=True):
    """What came of each event, in order."""

    outcomes: tuple[Outcome, ...]


@ROUTES.add(
    "GET",
    "/v1/changes",
    scope=Scope.ATTESTATIONS_READ,
    query=ChangesQuery,
    answers={200: Changes},
)
def list_(services: Services, call: Call) -> Answer:
    """List this instance's changes as signed events, oldest first."""
    query: ChangesQuery = call.query
    events = publisher.events_after(
        services.database,
        query.after,
        instance=services.settings.token.issuer,
        key=services.feed_key,
        limit=query.limit,
    )
    encoded = tuple(b64url_encode(event) for event in events)
    return Answer(200, Changes(services.settings.token.issuer, encoded, query.after + len(events)))


@ROUTES.add("GET", "/v1/changes/key", scope=Scope.ATTESTATIONS_READ, answers={200: FeedKey})
def key(services: Services, call: Call) -> Answer:
    """Get the public key that signs this instance's events."""
    del call
    return Answer(200, FeedKey(services.settings.token.issuer, public_pem(services.feed_key)))


@ROUTES.add(
    "POST",
    "/v1/changes",
    scope=Scope.ATTESTATIONS_WRITE,
    body=Events,
    answers={200: Taken},
    problems=(404, 409, 422),
    limit="attestation_bytes",
)
def take(services: Services, call: Call) -> Answer:
    """Take events of a followed peer: each is verified, held against our trust policy, and applied."""
    body: Events = call.body
    if not 1 <= len(body.events) <= publisher.MAX_EVENTS:
        raise Malformed(f"give 1 to {publisher.MAX_EVENTS} events")
    outcomes = tuple(
        services.subscriber.apply(b64url_decode(event, what="event"), call.now) for event in body.events
    )
    return Answer(200, Taken(outcomes))
