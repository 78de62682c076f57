"""Makes signed events of the change log.

Each ingest carries the envelope as it was submitted, so that the receiver can verify the provenance
itself, and what was derived from it as reference-value statements, one for each rule and end of validity
(a statement has one of each).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provenance.predicates import reference_statement
from rvps import changes
from service.feed import event

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from provenance.model import DerivedValue
    from rvps.changes import Change
    from storage.database import Database

MAX_EVENTS: Final = 100
_MAX_BYTES: Final = 8 << 20


def events_after(
    database: Database, epoch: int, *, instance: str, key: Ed25519PrivateKey, limit: int = MAX_EVENTS
) -> list[bytes]:
    """The signed events after ``epoch``, in order; at most ``limit`` and about 8 MiB of envelopes."""
    found = changes.changes_after(database, epoch, limit=limit, max_bytes=_MAX_BYTES)
    return [event.sign(_event_of(change, instance, key), key) for change in found]


def _event_of(change: Change, instance: str, key: Ed25519PrivateKey) -> event.ChangeEvent:
    return event.ChangeEvent(
        format=event.FORMAT,
        instance=instance,
        epoch=change.epoch,
        previous=change.previous,
        chain=change.chain,
        record=change.record,
        envelope=None if change.envelope is None else event.encode(change.envelope),
        statements=tuple(
            event.encode(
                reference_statement.sign(
                    reference_statement.build(change.sources, values, now=change.at), key
                )
            )
            for values in _by_rule_and_end(change.values)
        ),
        retracted=None if change.retracted is None else event.RetractedValue(*change.retracted),
    )


def _by_rule_and_end(values: tuple[DerivedValue, ...]) -> list[list[DerivedValue]]:
    groups: dict[tuple[str, datetime | None], list[DerivedValue]] = {}
    for value in values:
        groups.setdefault((value.rule, value.expires), []).append(value)
    return list(groups.values())
