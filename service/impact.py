"""What relied on something: flow E's second half, from a retraction target to values, appraisals, releases.

Asked before a retraction it tells what would be hit; asked after it, what was. All of it is read in one
snapshot of the database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kms.queries import ReleaseRow, releases_by_reference_values
from rvps.retraction import Affected, RetractionTarget, affected
from verifier.records import AppraisalRecord, newest_appraisals

if TYPE_CHECKING:
    from datetime import datetime

    from storage.database import Database

# Appraisals are many and short-lived: the newest tell who is affected now.
MAX_APPRAISALS = 500


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


def impact_of(database: Database, target: RetractionTarget, *, now: datetime) -> Impact:
    """Everything that relied on ``target``; ``now`` for what else is valid.

    Raises:
        UnknownAttestation, UnknownReferenceValue: nothing has that digest or id.
        Malformed, TooLarge: the target cannot be read.
    """
    with database.read() as connection:
        hit = affected(connection, target, now=now)
        releases = releases_by_reference_values(connection, hit.reference_values)
        appraisals = newest_appraisals(connection, hit.reference_values, limit=MAX_APPRAISALS + 1)
    return Impact(
        target=target,
        affected=hit,
        releases=tuple(releases),
        appraisals=tuple(appraisals[:MAX_APPRAISALS]),
        more_appraisals=len(appraisals) > MAX_APPRAISALS,
    )
