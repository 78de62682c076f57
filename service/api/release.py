"""What the release routes of resources and keys share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service import metrics
from service.routing import Answer, Call
from wire.rcar import ReleasedSecret, ReleaseRequest

if TYPE_CHECKING:
    from kms.secret_id import SecretRef
    from service.composition import Services

# Statuses of refusals: token, decision or state, unknown, quota, audit or engine down.
RELEASE_PROBLEMS = (401, 403, 404, 409, 429, 503)


def release_secret(services: Services, ref: SecretRef, call: Call) -> Answer:
    """Release ``ref`` to the guest that the request's token is about."""
    body: ReleaseRequest = call.body
    released = services.releases.release(body.token, ref, call.now, version=body.version)
    metrics.released(ref.kind.value)
    return Answer(200, ReleasedSecret(released.jwe))
