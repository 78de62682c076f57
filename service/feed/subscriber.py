"""Takes change events of peers.

Order for one event: the peer and its key from the settings; signature, format and chain
(``service.feed.event``); its place after what was taken before; then what it says; last the cursor.

* An ingest: the envelope must be admitted by our own trust policy (where the peer is not excused from
  it), and each statement too, as any other submission would have to be. What our policy refuses is
  skipped with its reason, and the feed goes on: two sites need not trust the same builders.
* A retraction holds here as well, and is not undone by anything that the peer sends later. What a peer
  says can thus only add what our policy admits, or take something away.

The cursor moves after the change is committed: an event may be applied twice, which changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import delete, insert, select, update

from common.errors import DerivationError, StatementError
from kms import recorded
from policy.port import canonical_key
from provenance.model import DerivationRequest
from rvps.errors import AlreadyRetracted, UnknownReferenceValue
from rvps.tables import GENESIS, attestation_origin, reference_value
from rvps.targets import RetractionTarget, TargetKind
from service.feed import event as events
from service.feed.errors import EventInvalid, FeedForked, FeedGap
from service.tables import feed_cursor
from storage.database import from_micros, to_micros

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from kms.audit import AuditLog
    from provenance.keys import VerificationKey
    from provenance.model import AdmittedStatement, DerivedValue
    from service.active_policies import Pipelines
    from storage.database import Database

_STATED_RULE = "reference-values"
# What our side may answer to a good event: the feed goes on after it.
_REFUSALS = (StatementError, DerivationError, AlreadyRetracted, UnknownReferenceValue)


class Peer(msgspec.Struct, frozen=True):
    """An instance that is followed.

    Attributes:
        instance: its token issuer.
        key: its feed key.
        trust_policy: name of our active trust policy that admits what it sends.
        verify_envelopes: demand that our policy admits the envelope, too, and not the peer's word alone.
    """

    instance: str
    key: VerificationKey
    trust_policy: str
    verify_envelopes: bool


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of one event.

    Attributes:
        instance: the peer.
        epoch: the event's number.
        result: ``applied``, ``repeated`` (was taken before) or ``skipped`` (our policy refuses it).
        code: why it was skipped.
        detail: the same, in words.
    """

    instance: str
    epoch: int
    result: str
    code: str | None = None
    detail: str | None = None


class Subscriber:
    """Applies events of the configured peers.

    Args:
        database: where reference values and cursors are.
        audit: every change is recorded.
        pipelines: our trust policies.
        peers: by instance.
    """

    def __init__(
        self, database: Database, audit: AuditLog, pipelines: Pipelines, peers: Mapping[str, Peer]
    ) -> None:
        """Keep the parts."""
        self._database = database
        self._audit = audit
        self._pipelines = pipelines
        self._peers = dict(peers)
        self._keys = {name: peer.key for name, peer in peers.items()}

    def apply(self, data: bytes, now: datetime) -> Outcome:
        """Verify and apply one event.

        Raises:
            PeerUnknown: of an instance that is not followed.
            EventInvalid: it does not hold.
            FeedGap: events before it are missing.
            FeedForked: its history is not the one that was taken before.
            PolicyError: the peer's trust policy is not active here, or cannot be evaluated; the event
                counts as not taken.
        """
        event = events.verify(data, self._keys)
        peer = self._peers[event.instance]
        epoch, chain = self._cursor(peer.instance)
        if event.epoch <= epoch:
            _refuse_fork(event, epoch, chain)
            return Outcome(peer.instance, event.epoch, "repeated")
        if event.epoch != epoch + 1:
            raise FeedGap(
                f"event {event.epoch} came after {epoch}",
                details={"epoch": epoch, "instance": peer.instance},
            )
        if event.previous != chain:
            raise FeedForked("the event does not follow from what was taken before")
        outcome = self._apply(event, peer, now)
        self._advance(event, epoch, now)
        return outcome

    def cursor(self, instance: str) -> int:
        """The last epoch that was taken of a peer; 0 before the first."""
        return self._cursor(instance)[0]

    def forget(self, instance: str) -> None:
        """Take the peer's history anew from its first event; what was stored stays."""
        with self._database.write() as connection:
            connection.execute(delete(feed_cursor).where(feed_cursor.c.instance == instance))

    def _apply(self, event: events.ChangeEvent, peer: Peer, now: datetime) -> Outcome:
        try:
            if event.change["change"] == events.INGESTED:
                self._ingest(event, peer, now)
            else:
                self._retract(event, peer, now)
        except _REFUSALS as no:
            return Outcome(peer.instance, event.epoch, "skipped", no.code, no.message)
        return Outcome(peer.instance, event.epoch, "applied")

    def _ingest(self, event: events.ChangeEvent, peer: Peer, now: datetime) -> None:
        pipeline = self._pipelines.of(peer.trust_policy)
        by = f"peer {peer.instance}"
        admitted: list[tuple[AdmittedStatement, tuple[DerivedValue, ...]]] = []
        if peer.verify_envelopes:
            admitted.append((pipeline.admit(events.decode(event.envelope or ""), now), ()))
        for text in event.statements:
            statement = pipeline.admit(events.decode(text), now)
            request = DerivationRequest(rule=_STATED_RULE)
            admitted.append((statement, pipeline.derive(statement, request, ())))
        # Everything is admitted before anything is stored.
        for item, values in admitted:
            recorded.ingest(self._database, self._audit, item, values, by=by, now=now)

    def _retract(self, event: events.ChangeEvent, peer: Peer, now: datetime) -> None:
        change = event.change
        reason = str(change.get("reason") or "retracted by the peer")
        for target in self._targets(event, change):
            recorded.retract(
                self._database, self._audit, target, reason=reason, by=f"peer {peer.instance}", now=now
            )

    def _targets(self, event: events.ChangeEvent, change: Mapping[str, Any]) -> Sequence[RetractionTarget]:
        try:
            kind = TargetKind(change["kind"])
            if kind is not TargetKind.REFERENCE_VALUE:
                since = change.get("since")
                return (
                    RetractionTarget(
                        kind=kind,
                        value=str(change["target"]),
                        issuer=change.get("issuer"),
                        since=None if since is None else from_micros(int(since)),
                    ),
                )
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise EventInvalid("the event's record names no target that is known here") from error
        if event.retracted is None:
            raise EventInvalid("the event does not say which value was retracted")
        return self._same_values(event.retracted)

    def _same_values(self, retracted: events.RetractedValue) -> Sequence[RetractionTarget]:
        """Our values that rest on the same attestation and say the same; ids differ between stores."""
        key = canonical_key(msgspec.json.decode(retracted.value))
        with self._database.read() as connection:
            ids = connection.execute(
                select(reference_value.c.id)
                .join(attestation_origin, attestation_origin.c.attestation == reference_value.c.attestation)
                .where(attestation_origin.c.origin == retracted.attestation)
                .where(reference_value.c.name == retracted.name, reference_value.c.value_key == key)
            ).scalars()
            return [RetractionTarget(TargetKind.REFERENCE_VALUE, found) for found in ids]

    def _cursor(self, instance: str) -> tuple[int, str]:
        with self._database.read() as connection:
            row = connection.execute(
                select(feed_cursor.c.epoch, feed_cursor.c.chain).where(feed_cursor.c.instance == instance)
            ).one_or_none()
        return (0, GENESIS) if row is None else (row.epoch, row.chain)

    def _advance(self, event: events.ChangeEvent, before: int, now: datetime) -> None:
        values = {"epoch": event.epoch, "chain": event.chain, "at": to_micros(now)}
        with self._database.write() as connection:
            moved = connection.execute(
                update(feed_cursor)
                .where(feed_cursor.c.instance == event.instance, feed_cursor.c.epoch == before)
                .values(values)
            )
            known = connection.execute(
                select(feed_cursor.c.epoch).where(feed_cursor.c.instance == event.instance)
            ).one_or_none()
            # Another worker may have taken the same event: the change is the same, its cursor stands.
            if moved.rowcount == 0 and known is None:
                connection.execute(insert(feed_cursor).values(instance=event.instance, **values))


def _refuse_fork(event: events.ChangeEvent, epoch: int, chain: str) -> None:
    if event.epoch == epoch and event.chain != chain:
        raise FeedForked("the peer sends another history than the one that was taken before")
