"""Which values a retraction reaches, and which of them something else vouches for.

The values of the attestations that a target covers (``rvps.targets``); of a rule, a tool or a submitter
those that were derived or submitted so; of a single value its name and content as its attestation vouches
for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, exists, not_, or_, select

from rvps import quorum
from rvps.tables import derivation_part, reference_value
from rvps.targets import RetractionTarget, TargetKind, covered
from storage.database import to_micros

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, FromClause, Select


def values_of(target: RetractionTarget) -> ColumnElement[bool]:
    """The values that rest on a target, as a condition on ``reference_value``."""
    return reached(target, select(covered(target).c.digest))


def reached(
    target: RetractionTarget, resting: Select[Any], of: FromClause = reference_value
) -> ColumnElement[bool]:
    """The values that rest on a target, as a condition on ``of``.

    A single value means its name and content as its attestation vouches for them, so that it does not
    live on in another guise (derived once more for another group, say).
    """
    if target.kind is TargetKind.REFERENCE_VALUE:
        named = reference_value.alias("named")
        return exists(
            select(named.c.id).where(
                named.c.id == target.value,
                named.c.attestation == of.c.attestation,
                _same_content(named, of),
            )
        )
    if target.kind in (TargetKind.RULE, TargetKind.TOOL):
        derivations = select(derivation_part.c.derivation).where(derivation_part.c.part == target.value)
        return of.c.derivation.in_(derivations)
    if target.kind is TargetKind.SUBMITTER:
        submitted = of.c.submitted_by == target.value
        since = target.since_micros
        return submitted if since is None else and_(submitted, of.c.submitted_at >= since)
    return of.c.attestation.in_(resting)


def corroborated(target: RetractionTarget, resting: Select[Any]) -> ColumnElement[bool]:
    """Whether another row, which the target does not reach and no retraction has, vouches for a value.

    Args:
        target: the target.
        resting: digests of the attestations that it covers.
    """
    other = reference_value.alias("other")
    independent = (
        other.c.attestation != reference_value.c.attestation
        if target.kind is TargetKind.REFERENCE_VALUE
        else not_(reached(target, resting, other))
    )
    verified = or_(other.c.unverified.is_(None), reference_value.c.unverified.is_not(None))
    return exists(
        select(other.c.id).where(
            _same_content(other, reference_value), other.c.retraction.is_(None), independent, verified
        )
    )


def short_of_domains(
    connection: Connection,
    target: RetractionTarget,
    resting: Select[Any],
    rows: Sequence[Any],
    now: datetime,
) -> set[str]:
    """Ids of the values that too few trust domains are left for once the target is gone."""
    contests = {
        row.id: quorum.contest_of(row.name, row.value, row.tee, scalar=row.scalar)
        for row in rows
        if row.corroborated
    }
    if not contests or not quorum.any_contest(connection):
        return set()
    left = quorum.ballots(connection, contests.values(), besides=reached(target, resting))
    moment = to_micros(now)
    return {key for key, contest in contests.items() if contest in left and left[contest].missing(moment)}


def _same_content(one: FromClause, other: FromClause) -> Any:
    return and_(
        one.c.name == other.c.name,
        one.c.value_key == other.c.value_key,
        one.c.value == other.c.value,
    )
