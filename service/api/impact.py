"""``GET /v1/impact``: what relied on something that can be retracted."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING

import msgspec

from rvps.targets import RetractionTarget, TargetKind
from service.access import Scope
from service.impact import Impact, impact_of
from service.routing import Answer, Call, RouteTable

if TYPE_CHECKING:
    from service.composition import Services

ROUTES = RouteTable("impact")


class ImpactQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The target, as a retraction would name it (``rvps.targets.RetractionTarget``)."""

    kind: TargetKind
    target: str
    issuer: str | None = None
    since: datetime | None = None


@ROUTES.add(
    "GET",
    "/v1/impact",
    scope=Scope.IMPACT_READ,
    query=ImpactQuery,
    answers={200: Impact},
    problems=(404, 413),
)
def impact(services: Services, call: Call) -> Answer:
    """Tell which values, appraisals and releases rest on something, before or after its retraction."""
    query: ImpactQuery = call.query
    target = RetractionTarget(query.kind, query.target, query.issuer, query.since)
    return Answer(200, impact_of(services.database, target, now=call.now))
