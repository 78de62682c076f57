"""One way in for attestations, whether a caller submits them or a source is pulled.

Every envelope is admitted under one trust policy from its first byte; what they give together is
``provenance.trust.domains.together``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.encoding import b64url_decode
from common.errors import TooLarge
from kms import recorded
from provenance.trust import domains

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from provenance.model import AdmittedStatement, Artifact, DerivationRequest
    from provenance.pipeline import Pipeline
    from rvps.ingest import IngestResult
    from service.composition import Services

MAX_SUPPORTING = 16


def admit_supporting(
    pipeline: Pipeline, envelopes: Sequence[str], now: datetime
) -> tuple[AdmittedStatement, ...]:
    """Admit the supporting envelopes (base64url).

    Raises:
        TooLarge: more than ``MAX_SUPPORTING``.
        Malformed: not base64url.
        StatementError: one is not admitted.
    """
    if len(envelopes) > MAX_SUPPORTING:
        raise TooLarge(f"a submission has at most {MAX_SUPPORTING} supporting attestations")
    return tuple(pipeline.admit(b64url_decode(item, what="supporting envelope"), now) for item in envelopes)


def store(
    services: Services,
    pipeline: Pipeline,
    admitted: AdmittedStatement,
    *,
    by: str,
    now: datetime,
    artifacts: Sequence[Artifact] = (),
    requests: Sequence[DerivationRequest] = (),
    supporting: Sequence[AdmittedStatement] = (),
) -> IngestResult:
    """Derive what is asked for, and store the attestation, what supports it, and its values; idempotent.

    Args:
        services: the stores.
        pipeline: that admitted the statements.
        admitted: the statement.
        by: who submits, for the record.
        now: aware UTC.
        artifacts: what derivations need; each must be a subject of the statement.
        requests: what to derive.
        supporting: further statements about the same artefacts.

    Raises:
        StatementError, DerivationError: together they do not give what is asked for.
        ReferenceValueError: the attestation is retracted.
        UnavailableError: nothing was stored.
    """
    if requests:
        admitted = domains.together(admitted, supporting, artifacts)
    derived = [value for request in requests for value in pipeline.derive(admitted, request, artifacts)]
    for item in supporting:
        recorded.ingest(services.database, services.audit, item, (), by=by, now=now)
    return recorded.ingest(services.database, services.audit, admitted, derived, by=by, now=now)
