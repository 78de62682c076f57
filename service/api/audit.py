"""``/v1/audit``: the log that every release and every administrative change stands in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kms.audit import AuditVerification  # noqa: TC001 (msgspec resolves it at run time)
from kms.checkpoints import CheckpointVerification, verify_checkpoints
from kms.consistency import Discrepancy, compare
from kms.queries import AuditPage, audit_page
from rvps.integrity import StoreVerification, verify_store
from service.access import Scope
from service.api.paging import DEFAULT_PAGE
from service.routing import Answer, Call, RouteTable

if TYPE_CHECKING:
    from service.composition import Services

ROUTES = RouteTable("audit")


class AuditQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters and page of the log; ``cursor`` is ``next`` of the page before."""

    action: str | None = None
    target: str | None = None
    limit: int = DEFAULT_PAGE
    cursor: int | None = None


class Verification(msgspec.Struct, frozen=True):
    """Answer of ``verify``.

    Attributes:
        holds: log, checkpoints, tables and reference values agree.
        log: the hash chain, from the first record to the head.
        checkpoints: the signed checkpoints in the database, held against the log. Who does not trust
            the database compares the copies kept elsewhere (``touchstone audit verify``).
        discrepancies: what the tables of secrets and releases say other than the log.
        reference_values: the reference-value store, held against its own chain of changes.
    """

    holds: bool
    log: AuditVerification
    checkpoints: CheckpointVerification
    discrepancies: tuple[Discrepancy, ...]
    reference_values: StoreVerification


@ROUTES.add("GET", "/v1/audit", scope=Scope.AUDIT_READ, query=AuditQuery, answers={200: AuditPage})
def list_(services: Services, call: Call) -> Answer:
    """List audit records, newest first."""
    query: AuditQuery = call.query
    with services.database.read() as connection:
        page = audit_page(
            connection,
            before=query.cursor,
            limit=query.limit,
            action=query.action,
            target=query.target,
        )
    return Answer(200, page)


@ROUTES.add("POST", "/v1/audit/verify", scope=Scope.AUDIT_READ, answers={200: Verification})
def verify(services: Services, call: Call) -> Answer:
    """Walk the log and the reference values' changes, and hold checkpoints and tables against them."""
    del call
    log = services.audit.verify()
    checkpoints = verify_checkpoints(services.database, services.checkpoint_key.public_jwk, None)
    discrepancies = compare(services.database)
    store = verify_store(services.database)
    holds = log.holds and checkpoints.holds and not discrepancies and store.holds
    return Answer(200, Verification(holds, log, checkpoints, discrepancies, store))
