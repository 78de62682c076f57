"""``/v1/keys``: keys that are generated here, their life, and their release to attested guests.

A key's bytes are on no answer: they leave through a release alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from common.errors import Malformed
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

ROUTES = RouteTable("keys")
_VERSION = re.compile(r"[1-9][0-9]{0,8}\Z")


class KeyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``PUT``: name of the release policy that decides about the key."""

    release_policy: str = DEFAULT_POLICY


class RotateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``rotate``: name of the new version's release policy; that of the latest otherwise."""

    release_policy: str | None = None


@ROUTES.add(
    "PUT",
    "/v1/keys/<key_id>",
    scope=Scope.KEYS_WRITE,
    body=KeyBody,
    answers={201: SecretVersion},
    problems=(409,),
)
def create(services: Services, call: Call) -> Answer:
    """Generate an AES-256 key."""
    version = services.secrets.generate(
        _ref(call), by=call.caller, now=call.now, policy=call.body.release_policy
    )
    return Answer(201, version)


@ROUTES.add("GET", "/v1/keys", scope=Scope.KEYS_READ, query=PageQuery, answers={200: SecretPage})
def list_(services: Services, call: Call) -> Answer:
    """List keys' metadata, in order of id."""
    query: PageQuery = call.query
    return Answer(200, services.secrets.list(SecretKind.KEY, cursor=query.cursor, limit=query.limit))


@ROUTES.add("GET", "/v1/keys/<key_id>", scope=Scope.KEYS_READ, answers={200: SecretInfo}, problems=(404,))
def get(services: Services, call: Call) -> Answer:
    """Get a key's metadata: versions and states; never its bytes."""
    return Answer(200, services.secrets.describe(_ref(call)))


@ROUTES.add(
    "POST",
    "/v1/keys/<key_id>/rotate",
    scope=Scope.KEYS_WRITE,
    body=RotateBody,
    answers={201: SecretVersion},
    problems=(404, 409),
)
def rotate(services: Services, call: Call) -> Answer:
    """Generate the next version of a key; older ones keep their state."""
    version = services.secrets.rotate(
        _ref(call), by=call.caller, now=call.now, policy=call.body.release_policy
    )
    return Answer(201, version)


@ROUTES.add(
    "POST",
    "/v1/keys/<key_id>/versions/<version>/disable",
    scope=Scope.KEYS_WRITE,
    answers={204: None},
    problems=(404,),
)
def disable(services: Services, call: Call) -> Answer:
    """Refuse releases of a version until it is enabled."""
    services.secrets.disable(_ref(call), _version(call), by=call.caller, now=call.now)
    return Answer(204)


@ROUTES.add(
    "POST",
    "/v1/keys/<key_id>/versions/<version>/enable",
    scope=Scope.KEYS_WRITE,
    answers={204: None},
    problems=(404,),
)
def enable(services: Services, call: Call) -> Answer:
    """Allow releases of a disabled version."""
    services.secrets.enable(_ref(call), _version(call), by=call.caller, now=call.now)
    return Answer(204)


@ROUTES.add(
    "DELETE",
    "/v1/keys/<key_id>/versions/<version>",
    scope=Scope.KEYS_WRITE,
    answers={204: None},
    problems=(404,),
)
def destroy(services: Services, call: Call) -> Answer:
    """Destroy a version for good."""
    services.secrets.destroy(_ref(call), _version(call), by=call.caller, now=call.now)
    return Answer(204)


@ROUTES.add("DELETE", "/v1/keys/<key_id>", scope=Scope.KEYS_WRITE, answers={204: None}, problems=(404,))
def delete(services: Services, call: Call) -> Answer:
    """Destroy every version of a key for good."""
    services.secrets.delete(_ref(call), by=call.caller, now=call.now)
    return Answer(204)


@ROUTES.add(
    "POST",
    "/v1/keys/<key_id>/release",
    open_to_all=True,
    fast=True,
    body=ReleaseRequest,
    answers={200: ReleasedSecret},
    problems=RELEASE_PROBLEMS,
)
def release(services: Services, call: Call) -> Answer:
    """Release a key to the guest that an attestation result names, encrypted to its key."""
    return release_secret(services, _ref(call), call)


def _ref(call: Call) -> SecretRef:
    return secret_id.key(call.path["key_id"])


def _version(call: Call) -> int:
    text = call.path["version"]
    if not _VERSION.match(text):
        raise Malformed("the version is not a number from 1")
    return int(text)
