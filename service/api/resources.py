"""``/v1/resources``: secrets that an operator stores, and their release to attested guests.

No route gives a resource's bytes to an administrator: they leave through a release alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from common.encoding import b64url_decode
from kms import secret_id
from kms.secret_id import SecretKind
from kms.secret_model import SecretInfo, SecretPage, SecretVersion
from kms.secrets import DEFAULT_POLICY
from service.access import Scope
from service.api.paging import PageQuery
from service.api.release import RELEASE_PROBLEMS, release_secret
from service.routing import Answer, Call, RouteTable
from wire.rcar import ReleasedSecret, ReleaseRequest

if TYPE_CHECKING:
    from kms.secret_id import SecretRef
    from service.composition import Services

ROUTES = RouteTable("resources")
_PATH = "/v1/resources/<repository>/<type>/<tag>"


class ResourceBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``PUT``.

    Attributes:
        data: the secret, base64url.
        release_policy: name of the release policy that decides about this version.
        expected: latest version that the caller saw (0: none); the write is refused if it is another.
    """

    data: str
    release_policy: str = DEFAULT_POLICY
    expected: int | None = None


@ROUTES.add(
    "PUT",
    _PATH,
    scope=Scope.RESOURCES_WRITE,
    body=ResourceBody,
    answers={201: SecretVersion},
    problems=(409,),
)
def put(services: Services, call: Call) -> Answer:
    """Store a resource, as its first or next version."""
    body: ResourceBody = call.body
    version = services.secrets.put(
        _ref(call),
        b64url_decode(body.data, what="data"),
        by=call.caller,
        now=call.now,
        policy=body.release_policy,
        expected=body.expected,
    )
    return Answer(201, version)


@ROUTES.add("GET", _PATH, scope=Scope.RESOURCES_READ, answers={200: SecretInfo}, problems=(404,))
def get(services: Services, call: Call) -> Answer:
    """Get a resource's metadata: versions, states, sizes; never its bytes."""
    return Answer(200, services.secrets.describe(_ref(call)))


@ROUTES.add(
    "GET",
    "/v1/resources",
    scope=Scope.RESOURCES_READ,
    query=PageQuery,
    answers={200: SecretPage},
)
def list_(services: Services, call: Call) -> Answer:
    """List resources' metadata, in order of id."""
    query: PageQuery = call.query
    return Answer(200, services.secrets.list(SecretKind.RESOURCE, cursor=query.cursor, limit=query.limit))


@ROUTES.add("DELETE", _PATH, scope=Scope.RESOURCES_WRITE, answers={204: None}, problems=(404,))
def delete(services: Services, call: Call) -> Answer:
    """Destroy every version of a resource for good."""
    services.secrets.delete(_ref(call), by=call.caller, now=call.now)
    return Answer(204)


@ROUTES.add(
    "POST",
    f"{_PATH}/release",
    open_to_all=True,
    fast=True,
    body=ReleaseRequest,
    answers={200: ReleasedSecret},
    problems=RELEASE_PROBLEMS,
)
def release(services: Services, call: Call) -> Answer:
    """Release a resource to the guest that an attestation result names, encrypted to its key."""
    return release_secret(services, _ref(call), call)


def _ref(call: Call) -> SecretRef:
    return secret_id.resource(f"{call.path['repository']}/{call.path['type']}/{call.path['tag']}")
