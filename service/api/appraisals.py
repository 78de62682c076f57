"""``POST /v1/appraisals``: evidence in, attestation result out. The hot path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policy.errors import PolicyNotFound
from service import metrics
from service.routing import Answer, Call, RouteTable
from verifier.tees import REQUEST
from wire.rcar import AppraisalRequest, AppraisalResponse

if TYPE_CHECKING:
    from service.composition import Services
    from verifier.result import Appraisal

ROUTES = RouteTable("appraisals")


@ROUTES.add(
    "POST",
    "/v1/appraisals",
    body=REQUEST,
    answers={200: AppraisalResponse},
    open_to_all=True,
    fast=True,
    problems=(404, 409, 422, 503),
)
def appraise(services: Services, call: Call) -> Answer:
    """Appraise evidence; a negative verdict is an answer, unauthentic evidence is a problem."""
    request: AppraisalRequest = call.body
    if request.policy is not None:
        _demand_selectable(services, request.policy)
    result = services.appraiser.appraise(request, call.now)
    for item in result.every:
        metrics.appraised(item.evidence.tee, item.status)
    return Answer(200, AppraisalResponse(result.worst, result.token, _explanation(result)))


def _explanation(result: Appraisal) -> dict[str, Any] | None:
    if result.explanation is None or not result.devices:
        return result.explanation
    devices = {name: device.explanation for name, device in result.devices.items()}
    return result.explanation | {"devices": devices}


def _demand_selectable(services: Services, name: str) -> None:
    """Demand that callers may choose this policy: the route is open, and a policy may be lax on purpose."""
    settings = services.settings.policy
    if name != settings.appraisal and name not in settings.selectable:
        raise PolicyNotFound(
            "requests may not name that appraisal policy",
            advice="Leave `policy` out, or have the operator add it to [policy] selectable.",
        )
