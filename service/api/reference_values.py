"""``/v1/reference-values`` and ``/v1/retractions``: who says so, since when, until when."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING

import msgspec

from kms import recorded
from rvps import queries
from rvps.model import Lineage
from rvps.records import Page, RetractionRecord, ValueHistory, ValueRecord, ValueState
from rvps.retraction import RetractionResult
from rvps.targets import RetractionTarget, TargetKind
from service.access import Scope
from service.api.attestations import Reason
from service.api.paging import DEFAULT_PAGE, PageQuery
from service.routing import Answer, Call, RouteTable

if TYPE_CHECKING:
    from service.composition import Services

ROUTES = RouteTable("reference_values")


class ValueQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters and page of a listing; filters are exact and all must be met."""

    name: str | None = None
    tee: str | None = None
    group: str | None = None
    state: ValueState | None = None
    attestation: str | None = None
    limit: int = DEFAULT_PAGE
    cursor: str | None = None


class HistoryQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of ``name``, ``id`` and ``attestation``; and the page."""

    name: str | None = None
    id: str | None = None
    attestation: str | None = None
    limit: int = DEFAULT_PAGE
    cursor: str | None = None


class RetractionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/retractions``; the target's members are those of ``RetractionTarget``.

    Attributes:
        kind: what ``target`` is.
        target: digest, identity, builder id, commit digest, repository, material, rule, tool, submitter, or
            reference-value id.
        reason: why, for those who come later.
        issuer: of a signer: only with this OIDC issuer.
        since: of signer, key, builder, source and material: only what was logged (or, unlogged, judged)
            then or later; of a submitter: only what arrived then or later.
    """

    kind: TargetKind
    target: str
    reason: str
    issuer: str | None = None
    since: datetime | None = None


@ROUTES.add(
    "GET",
    "/v1/reference-values",
    scope=Scope.REFERENCE_VALUES_READ,
    query=ValueQuery,
    answers={200: Page[ValueRecord]},
    problems=(413,),
)
def list_(services: Services, call: Call) -> Answer:
    """List reference values with state and lineage, newest first."""
    query: ValueQuery = call.query
    page = queries.list_reference_values(
        services.database,
        now=call.now,
        name=query.name,
        tee=query.tee,
        group=query.group,
        state=query.state,
        attestation=query.attestation,
        after=query.cursor,
        limit=query.limit,
    )
    return Answer(200, page)


@ROUTES.add(
    "GET",
    "/v1/reference-values/<value_id>",
    scope=Scope.REFERENCE_VALUES_READ,
    answers={200: ValueRecord},
    problems=(404,),
)
def get(services: Services, call: Call) -> Answer:
    """Get one reference value."""
    return Answer(200, queries.get_reference_value(services.database, call.path["value_id"], now=call.now))


@ROUTES.add(
    "GET",
    "/v1/reference-values/<value_id>/lineage",
    scope=Scope.REFERENCE_VALUES_READ,
    answers={200: Lineage},
    problems=(404,),
)
def lineage(services: Services, call: Call) -> Answer:
    """Get where a reference value comes from: attestation, signer, builder, source, materials, rule."""
    record = queries.get_reference_value(services.database, call.path["value_id"], now=call.now)
    return Answer(200, record.lineage)


@ROUTES.add(
    "GET",
    "/v1/reference-values/history",
    scope=Scope.REFERENCE_VALUES_READ,
    query=HistoryQuery,
    answers={200: Page[ValueHistory]},
    problems=(404, 413),
)
def history(services: Services, call: Call) -> Answer:
    """Tell all that happened to the values of a name, an id or an attestation."""
    query: HistoryQuery = call.query
    page = queries.history(
        services.database,
        now=call.now,
        name=query.name,
        id=query.id,
        attestation=query.attestation,
        after=query.cursor,
        limit=query.limit,
    )
    return Answer(200, page)


@ROUTES.add(
    "POST",
    "/v1/reference-values/<value_id>/retract",
    scope=Scope.RETRACT,
    body=Reason,
    answers={200: RetractionResult},
    problems=(404,),
)
def retract(services: Services, call: Call) -> Answer:
    """Retract one reference value; the others of its attestation live on."""
    target = RetractionTarget(TargetKind.REFERENCE_VALUE, call.path["value_id"])
    return Answer(200, _retract(services, call, target, call.body.reason))


@ROUTES.add(
    "POST",
    "/v1/retractions",
    scope=Scope.RETRACT,
    body=RetractionRequest,
    answers={200: RetractionResult},
    problems=(404,),
)
def retract_target(services: Services, call: Call) -> Answer:
    """Retract what attestations or values have in common, and all that rests on it."""
    body: RetractionRequest = call.body
    target = RetractionTarget(body.kind, body.target, body.issuer, body.since)
    return Answer(200, _retract(services, call, target, body.reason))


@ROUTES.add(
    "GET",
    "/v1/retractions",
    scope=Scope.REFERENCE_VALUES_READ,
    query=PageQuery,
    answers={200: Page[RetractionRecord]},
    problems=(413,),
)
def list_retractions(services: Services, call: Call) -> Answer:
    """List retractions, newest first."""
    query: PageQuery = call.query
    page = queries.list_retractions(services.database, after=query.cursor, limit=query.limit)
    return Answer(200, page)


def _retract(services: Services, call: Call, target: RetractionTarget, reason: str) -> RetractionResult:
    return recorded.retract(
        services.database, services.audit, target, reason=reason, by=call.caller, now=call.now
    )
