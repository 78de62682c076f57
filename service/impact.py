"""What relied on something: flow E's second half, from a retraction target to values, appraisals, releases.

Asked before a retraction it tells what would be hit; asked after it, what was. All of it is read in one
snapshot of the database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import select

from kms.queries import ReleaseRow, releases_by_reference_values
from rvps.retraction import Affected, RetractionTarget, affected
from verifier.records import AppraisalRecord
from verifier.tables import appraisal, appraisal_reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from storage.database import Database

# Appraisals are many and short-lived: the newest tell who is affected now.
MAX_APPRAISALS = 500
_IN_CHUNK = 500


class Impact(msgspec.Struct, frozen=True):
    """What relied on a target.

    Attributes:
        target: what was asked about.
        affected: attestations and reference values that rest on it.
        releases: every secret released on the strength of one of those values, newest first.
        appraisals: the newest appraisals that rested on one of them.
        more_appraisals: whether there are more than are listed.
    """

    target: RetractionTarget
    affected: Affected
    releases: tuple[ReleaseRow, ...]
    appraisals: tuple[AppraisalRecord, ...]
    more_appraisals: bool


def impact_of(database: Database, target: RetractionTarget) -> Impact:
    """Everything that relied on ``target``.

    Raises:
        UnknownAttestation, UnknownReferenceValue: nothing has that digest or id.
        Malformed, TooLarge: the target cannot be read.
    """
    with database.read() as connection:
        hit = affected(connection, target)
        releases = releases_by_reference_values(connection, hit.reference_values)
        appraisals = _newest_appraisals(connection, hit.reference_values)
    return Impact(
        target=target,
        affected=hit,
        releases=tuple(releases),
        appraisals=tuple(appraisals[:MAX_APPRAISALS]),
        more_appraisals=len(appraisals) > MAX_APPRAISALS,
    )


def _newest_appraisals(connection: Connection, ids: Sequence[str]) -> list[AppraisalRecord]:
    """The newest appraisals, one more than are listed, so that the caller sees whether there are more."""
    newest: dict[str, AppraisalRecord] = {}
    for start in range(0, len(ids), _IN_CHUNK):
        chunk = list(ids[start : start + _IN_CHUNK])
        hit = select(appraisal_reference.c.jti).where(appraisal_reference.c.reference_id.in_(chunk))
        rows = connection.execute(
            select(appraisal)
            .where(appraisal.c.jti.in_(hit))
            .order_by(appraisal.c.at.desc(), appraisal.c.jti)
            .limit(MAX_APPRAISALS + 1)
        ).mappings()
        found = {row["jti"]: AppraisalRecord(**row, references=()) for row in rows}
        newest = dict(
            sorted((newest | found).items(), key=lambda item: (-item[1].at, item[0]))[: MAX_APPRAISALS + 1]
        )
    relied_on = _references(connection, list(newest), frozenset(ids))
    return [
        msgspec.structs.replace(record, references=tuple(relied_on.get(jti, ())))
        for jti, record in newest.items()
    ]


def _references(connection: Connection, jtis: Sequence[str], ids: frozenset[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for start in range(0, len(jtis), _IN_CHUNK):
        chunk = list(jtis[start : start + _IN_CHUNK])
        rows = connection.execute(
            select(appraisal_reference)
            .where(appraisal_reference.c.jti.in_(chunk))
            .order_by(appraisal_reference.c.reference_id)
        )
        for row in rows:
            if row.reference_id in ids:
                found.setdefault(row.jti, []).append(row.reference_id)
    return found
