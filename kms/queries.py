"""Questions to the record of releases and to the audit log: paged by key, cheap at any size."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import select

from common import strict_json
from kms.audit import AuditRecord
from kms.tables import audit_record, release_reference, secret_release
from storage.database import from_micros

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection, Row

_IN_CHUNK = 500
_MAX_PAGE = 500


class ReleaseRow(msgspec.Struct, frozen=True):
    """A release that was made.

    Attributes:
        sequence: of its audit record.
        at: when.
        jti: the attestation result's id.
        identity: hardware identity of the guest, if proven.
        kind: ``resource`` or ``key``.
        id: of the secret.
        version: that was released.
        evidence_digest: SHA-256, hex.
        appraisal_policy: digest, SHA-256, hex.
        release_policy: digest, SHA-256, hex.
        snapshot: reference-value snapshot of the appraisal.
        references: the reference values asked about that it rested on.
    """

    sequence: int
    at: datetime
    jti: str
    identity: str | None
    kind: str
    id: str
    version: int
    evidence_digest: str
    appraisal_policy: str
    release_policy: str
    snapshot: str
    references: tuple[str, ...]


class AuditPage(msgspec.Struct, frozen=True):
    """A page of the audit log.

    Attributes:
        items: newest first.
        next: ``before`` of the next page; None at the end.
    """

    items: tuple[AuditRecord, ...]
    next: int | None


def releases_by_reference_values(connection: Connection, ids: Iterable[str]) -> list[ReleaseRow]:
    """Releases that rested on any of these reference values, newest first."""
    rows: dict[int, Row[Any]] = {}
    references: dict[int, list[str]] = {}
    wanted = sorted(set(ids))
    for start in range(0, len(wanted), _IN_CHUNK):
        statement = (
            select(secret_release, release_reference.c.reference_id)
            .join(release_reference, release_reference.c.sequence == secret_release.c.sequence)
            .where(release_reference.c.reference_id.in_(wanted[start : start + _IN_CHUNK]))
        )
        for row in connection.execute(statement):
            rows[row.sequence] = row
            references.setdefault(row.sequence, []).append(row.reference_id)
    return [_release(rows[sequence], references[sequence]) for sequence in sorted(rows, reverse=True)]


def audit_page(
    connection: Connection,
    *,
    before: int | None = None,
    limit: int = 100,
    action: str | None = None,
    target: str | None = None,
) -> AuditPage:
    """Records of the audit log, newest first.

    Args:
        connection: the transaction.
        before: only records below this sequence (``next`` of the page before).
        limit: at most so many, 1 to 500.
        action: only this action (``secret.release``).
        target: only this target (``resource/repo/type/tag``).
    """
    limit = max(1, min(limit, _MAX_PAGE))
    statement = select(audit_record).order_by(audit_record.c.sequence.desc()).limit(limit + 1)
    if before is not None:
        statement = statement.where(audit_record.c.sequence < before)
    if action is not None:
        statement = statement.where(audit_record.c.action == action)
    if target is not None:
        statement = statement.where(audit_record.c.target == target)
    rows = connection.execute(statement).all()
    items = tuple(
        AuditRecord(row.sequence, row.digest, strict_json.loads(row.entry, what="audit entry"))
        for row in rows[:limit]
    )
    return AuditPage(items, items[-1].sequence if len(rows) > limit else None)


def _release(row: Row[Any], references: list[str]) -> ReleaseRow:
    return ReleaseRow(
        sequence=row.sequence,
        at=from_micros(row.at),
        jti=row.jti,
        identity=row.identity,
        kind=row.kind,
        id=row.id,
        version=row.version,
        evidence_digest=row.evidence_digest,
        appraisal_policy=row.appraisal_policy,
        release_policy=row.release_policy,
        snapshot=row.snapshot,
        references=tuple(sorted(references)),
    )
