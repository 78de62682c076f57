"""What is in the store and how long it lasts, for readers, metrics and ``touchstone collateral verify``."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from common.errors import EndorsementError, InputError

if TYPE_CHECKING:
    from verifier.endorsements.kinds import Facts
    from verifier.endorsements.store import EndorsementStore, Held

State = Literal["valid", "expiring", "expired", "invalid"]
EXPIRING: Final = timedelta(days=7)
_DAY: Final = timedelta(days=1)


class Listed(msgspec.Struct, frozen=True, omit_defaults=True):
    """One item, judged.

    Attributes:
        name: of the item.
        kind: of the item.
        sha256: of its file, hex.
        state: ``expiring`` is valid for not much longer; ``invalid`` also what is not yet in force, and
            what a high-water mark excludes.
        subject: as ``Facts``; empty where it does not verify.
        issued: as ``Facts``.
        not_after: as ``Facts``.
        days_left: until ``not_after``, negative after it.
        number: as ``Facts``.
        code: why it is invalid.
        message: why it is invalid, in words.
    """

    name: str
    kind: str
    sha256: str
    state: State
    subject: str = ""
    issued: datetime | None = None
    not_after: datetime | None = None
    days_left: float | None = None
    number: int | None = None
    code: str = ""
    message: str = ""


def listed(store: EndorsementStore, now: datetime, *, expiring: timedelta = EXPIRING) -> tuple[Listed, ...]:
    """Every item of the store, verified at ``now``."""
    return tuple(judge(store, held, now, expiring) for held in store.items())


def judge(store: EndorsementStore, held: Held, now: datetime, expiring: timedelta = EXPIRING) -> Listed:
    """One item, verified at ``now``."""
    item = held.item
    kind = store.kind_of(item.name)
    sha256 = hashlib.sha256(item.data).hexdigest()
    try:
        facts = store.examine(item, now)
        if kind.admission is not None:
            kind.admission.require(store.folder, item, facts)
    except (EndorsementError, InputError) as error:
        return Listed(item.name, kind.name, sha256, "invalid", code=error.code, message=error.message)
    early = not facts.begun(now)
    return Listed(
        item.name,
        kind.name,
        sha256,
        _state(facts, now, expiring),
        subject=facts.subject,
        issued=facts.issued,
        not_after=facts.not_after,
        days_left=None if facts.not_after is None else round((facts.not_after - now) / _DAY, 2),
        number=facts.number,
        code="endorsement.not_yet_valid" if early else "",
        message="it is not yet in force" if early else "",
    )


def _state(facts: Facts, now: datetime, expiring: timedelta) -> State:
    if not facts.begun(now):
        return "invalid"
    if not facts.in_force(now):
        return "expired"
    return "expiring" if facts.ends_within(expiring, now) else "valid"
