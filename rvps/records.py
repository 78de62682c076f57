"""What the queries return, ready to be JSON. Times are RFC 3339 UTC, digests lower-case hex."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgspec

from common.checks import Check  # noqa: TC001 (msgspec resolves it at run time)
from rvps.model import Lineage, MaterialRecord  # noqa: TC001 (msgspec resolves it at run time)

Item = TypeVar("Item")


class ValueState(StrEnum):
    """State of a reference value at an instant. Only ``live`` ones match.

    ``waiting``: too few trust domains attest it. ``unverified``: nobody's signature was verified; it is
    never a reference value to a policy, whatever its dates.
    """

    LIVE = "live"
    WAITING = "waiting"
    UNVERIFIED = "unverified"
    PENDING = "pending"
    EXPIRED = "expired"
    RETRACTED = "retracted"


class AttestationState(StrEnum):
    """State of an attestation."""

    ACTIVE = "active"
    RETRACTED = "retracted"


class EventKind(StrEnum):
    """What happened to a reference value."""

    INGESTED = "ingested"
    RETRACTED = "retracted"
    EXPIRED = "expired"


class Page(msgspec.Struct, Generic[Item], frozen=True, omit_defaults=True):
    """A part of a listing, newest first.

    Attributes:
        items: at most as many as were asked for.
        next: pass it as ``after`` for the next part; absent at the end.
    """

    items: tuple[Item, ...]
    next: str | None = None


class RetractionRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A retraction: the tombstone of all that it hit.

    Attributes:
        id: ``rt-`` and hex.
        kind: ``rvps.targets.TargetKind``.
        target: what was retracted.
        reason: why.
        by: who did it.
        at: when.
        epoch: of the store's state that it led to.
        issuer: OIDC issuer of a signer, if it was limited to one.
        since: from when on, if it was limited.
    """

    id: str
    kind: str
    target: str
    reason: str
    by: str
    at: str
    epoch: int
    issuer: str | None = None
    since: str | None = None


class SignerRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A verified signer of an attestation, see ``provenance.model.Signer``."""

    kind: str
    identity: str
    root: str
    issuer: str | None = None
    claims: dict[str, str] = {}
    certificate: str | None = None
    serial: str | None = None
    key: str | None = None


class OriginRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """An attestation that a reference-value statement rests on."""

    attestation: str
    builder: str | None = None
    source_uri: str | None = None
    source_revision: str | None = None


class AttestationSummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """An attestation in a listing.

    Attributes:
        attestation: SHA-256 of the envelope.
        state: active or retracted.
        predicate_type: in-toto predicate type URI.
        signer: identity of the first signer.
        signed_at: instant at which the signer was judged.
        submitted_by: who submitted it first.
        submitted_at: when.
        epoch: of the store's state that it led to.
        issuer: OIDC issuer of the first signer.
        builder: SLSA builder id.
        source_uri: source repository.
        source_revision: commit digest.
        log_index: transparency-log index, if logged.
        log_time: logged time, if logged.
        log_id: id of the transparency log, hex, if logged.
        unverified: nobody's signature was verified.
    """

    attestation: str
    state: AttestationState
    predicate_type: str
    signer: str
    signed_at: str
    submitted_by: str
    submitted_at: str
    epoch: int
    issuer: str | None = None
    builder: str | None = None
    source_uri: str | None = None
    source_revision: str | None = None
    log_index: int | None = None
    log_time: str | None = None
    log_id: str | None = None
    unverified: bool = False


class AttestationRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """An attestation with all that is known of it but its envelope.

    Attributes:
        summary: as in a listing.
        trust_policy: digest of the policy that first admitted it.
        signers: all of them.
        origins: what it rests on itself.
        reference_values: how many values came from it.
        retractions: every one that covers it, in order.
        checks: every check of its admission.
        materials: what the build consumed, by its builder's word.
    """

    summary: AttestationSummary
    trust_policy: str
    signers: tuple[SignerRecord, ...]
    origins: tuple[OriginRecord, ...]
    reference_values: int
    retractions: tuple[RetractionRecord, ...]
    checks: tuple[Check, ...]
    materials: tuple[MaterialRecord, ...] = ()


class ValueRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reference value, in whatever state.

    Attributes:
        id: ``rv-`` and hex.
        state: at the instant of the query.
        name: reference name.
        value: JSON scalar.
        tee: ``snp`` or ``tpm``.
        group: the release it belongs to.
        not_before: validity start.
        epoch: of the store's state that it led to.
        lineage: where it comes from.
        scalar: a single value rather than a member of a set.
        expires: validity end, if bounded.
        retraction: the one that ended it, if any.
        unverified: nobody's signature was verified.
        waiting_for: how many more trust domains must attest it before it counts.
    """

    id: str
    state: ValueState
    name: str
    value: Any
    tee: str
    group: str
    not_before: str
    epoch: int
    lineage: Lineage
    scalar: bool = False
    expires: str | None = None
    retraction: RetractionRecord | None = None
    unverified: bool = False
    waiting_for: int = 0


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened to a reference value.

    Attributes:
        kind: what.
        at: when.
        by: who did it; absent where time did.
        epoch: of the store's state that it led to; absent where time did it.
        retraction: of a retraction, with its reason.
    """

    kind: EventKind
    at: str
    by: str | None = None
    epoch: int | None = None
    retraction: RetractionRecord | None = None


class ValueHistory(msgspec.Struct, frozen=True):
    """A reference value and all that happened to it, in order of time."""

    value: ValueRecord
    events: tuple[Event, ...]
