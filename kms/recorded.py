"""What administrators do to reference values, each with its audit record in the same transaction.

Either both are committed or neither: a change that cannot be recorded does not happen. Something done a
second time changes nothing and is not recorded again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kms.audit import AuditEvent
from rvps.ingest import ingest_in
from rvps.retraction import retract_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from kms.audit import AuditLog
    from provenance.model import AdmittedStatement, DerivedValue
    from rvps.ingest import IngestResult
    from rvps.retraction import RetractionResult, RetractionTarget
    from storage.database import Database


def ingest(
    database: Database,
    audit: AuditLog,
    admitted: AdmittedStatement,
    derived: Sequence[DerivedValue],
    *,
    by: str,
    now: datetime,
) -> IngestResult:
    """``rvps.ingest.ingest`` with its audit record."""
    with database.write() as connection:
        return ingest_recorded(connection, audit, admitted, derived, by=by, now=now)


def ingest_recorded(
    connection: Connection,
    audit: AuditLog,
    admitted: AdmittedStatement,
    derived: Sequence[DerivedValue],
    *,
    by: str,
    now: datetime,
) -> IngestResult:
    """The same within the caller's transaction."""
    result = ingest_in(connection, admitted, derived, submitted_by=by, now=now)
    if result.created:
        details = {
            "trust_policy": admitted.trust_policy,
            "signers": [signer.identity for signer in admitted.authentic.signers],
            "added": len(result.added),
            "snapshot": result.snapshot,
        }
        target = f"attestation/{result.attestation}"
        audit.append(connection, AuditEvent("attestation.ingest", by, target, "done", now, details))
    return result


def retract(
    database: Database,
    audit: AuditLog,
    target: RetractionTarget,
    *,
    reason: str,
    by: str,
    now: datetime,
) -> RetractionResult:
    """``rvps.retraction.retract`` with its audit record."""
    with database.write() as connection:
        result = retract_in(connection, target, reason=reason, by=by, now=now)
        if result.created:
            details = {
                "retraction": result.retraction,
                "reason": reason,
                "attestations": len(result.attestations),
                "reference_values": len(result.reference_values),
                "snapshot": result.snapshot,
            }
            named = f"{target.kind.value}/{target.value}"
            audit.append(connection, AuditEvent("reference.retract", by, named, "done", now, details))
    return result
