"""Rows of releases, written and counted inside the release's transaction."""

from __future__ import annotations

from datetime import datetime, timedelta  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import bindparam, func, insert, select

from kms.errors import QuotaExceeded
from kms.tables import release_reference, secret_release
from storage.database import to_micros
from storage.prepared import Prepared, PreparedList

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from kms.sealing import Context
    from kms.secret_id import SecretRef
    from kms.session import AttestedSession


_INSERT = Prepared(
    lambda: insert(secret_release).values(
        {column.name: bindparam(column.name) for column in secret_release.c}
    )
)


_INSERT_REFERENCES = PreparedList(
    lambda members: insert(release_reference).values(
        [{"sequence": bindparam("sequence"), "reference_id": member} for member in members]
    )
)


class Quota(msgspec.Struct, frozen=True):
    """How often one hardware identity may get one secret.

    Guests without a proven identity share one allowance: there is nothing to tell them apart by.

    Attributes:
        releases: at most so many ...
        window: ... in any span of this length.
    """

    releases: int
    window: timedelta


def require_quota(
    connection: Connection, quota: Quota, ref: SecretRef, identity: str | None, now: datetime
) -> None:
    """Demand room in the window. The caller holds the audit log's head, so that two cannot share a slot.

    Raises:
        QuotaExceeded: used up.
    """
    same_identity = (
        secret_release.c.identity.is_(None) if identity is None else secret_release.c.identity == identity
    )
    statement = (
        select(func.count())
        .select_from(secret_release)
        .where(
            secret_release.c.kind == ref.kind.value,
            secret_release.c.id == ref.id,
            same_identity,
            secret_release.c.at > to_micros(now - quota.window),
        )
    )
    used = connection.execute(statement).scalar_one()
    if used >= quota.releases:
        raise QuotaExceeded(
            f"{ref.text} was released {used} times to this identity in {quota.window}",
            details={"releases": used, "window_seconds": int(quota.window.total_seconds())},
        )


def insert_release(
    connection: Connection,
    sequence: int,
    session: AttestedSession,
    released: Context,
    *,
    policy_digest: str,
    now: datetime,
) -> None:
    """The release and the reference values it rests on, under its audit record's sequence."""
    _INSERT.run(
        connection,
        sequence=sequence,
        at=to_micros(now),
        jti=session.jti,
        identity=session.identity,
        kind=released.ref.kind.value,
        id=released.ref.id,
        version=released.version,
        evidence_digest=session.evidence_digest,
        appraisal_policy=session.appraisal_policy_digest,
        release_policy=policy_digest,
        snapshot=session.snapshot,
    )
    if session.references:
        names = sorted(session.references)
        for start in range(0, len(names), PreparedList.MOST):
            part = names[start : start + PreparedList.MOST]
            _INSERT_REFERENCES.run(connection, part, sequence=sequence)
