"""The ``resource`` plugin: secrets of our store as ``/kbs/v0/resource/<repository>/<type>/<tag>``.

=======  ==================  ==================================================================
method   path                who and what
=======  ==================  ==================================================================
GET      three segments      attested guests; released by ``kms.release``, not here
GET      none                administrators: a page of what is stored; ``cursor``, ``limit``
POST     three segments      administrators: the body becomes the first or the next version
DELETE   three segments      administrators: every version is destroyed for good
=======  ==================  ==================================================================

A release is more than reading: the token's reference values must be live, the release policy must allow it,
and the record is committed first. So ``handle`` refuses a guest's GET, and the caller takes the name from
``resource_ref`` to the release path. The reference's listing does not exist; ours needs no other client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from coco.errors import PluginFailed
from coco.plugins.port import JSON, PluginAnswer, PluginCall, no_such_call
from common.errors import InvalidIdentifier
from kms import secret_id
from kms.errors import SecretNotFound
from kms.secret_model import SecretInfo, VersionState

if TYPE_CHECKING:
    from datetime import datetime

    from kms.secret_id import SecretRef
    from kms.secrets import SecretStore

_SEGMENTS: Final = 3
_DEFAULT_LIMIT: Final = 100
_MAX_LIMIT: Final = 500


class Listed(msgspec.Struct, frozen=True):
    """A stored resource.

    Attributes:
        path: ``repository/type/tag``.
        version: the newest.
        state: of the newest.
        size: of the newest, in bytes.
    """

    path: str
    version: int
    state: str
    size: int


class Listing(msgspec.Struct, frozen=True):
    """A page of resources, in order of path.

    Attributes:
        resources: those of the page.
        next: ``cursor`` of the next page; null at the end.
    """

    resources: tuple[Listed, ...]
    next: str | None


class ResourcePlugin:
    """Writes, deletes and lists resources.

    Args:
        secrets: where they are.
        release_policy: name of the policy that decides about the release of what is stored here.
    """

    name = "resource"

    def __init__(self, secrets: SecretStore, *, release_policy: str) -> None:
        """Keep the parts."""
        self._secrets = secrets
        self._release_policy = release_policy

    def validate_auth(self, call: PluginCall) -> bool:
        """Everything but a guest's GET is for administrators.

        Raises:
            PluginFailed: no such call.
        """
        return not _is_release(call)

    def needs_encryption(self, call: PluginCall) -> bool:
        """What guests get is a secret.

        Raises:
            PluginFailed: no such call.
        """
        return _is_release(call)

    def handle(self, call: PluginCall, *, by: str, now: datetime) -> PluginAnswer:
        """An administrator's call. The store writes the audit record with the change.

        Raises:
            PluginFailed: no such call, a path or page that is not one, nothing to store, or a guest's GET.
            SecretNotFound: nothing of that name is stored any more.
            TooLarge: over the store's limit.
            AuditUnavailable: nothing was done.
        """
        if _is_release(call):
            raise PluginFailed("a resource is released by the release path, never read by the plugin")
        if not call.path:
            return self._list(call)
        ref = resource_ref(call)
        if call.method == "POST":
            if not call.body:
                raise PluginFailed("a resource has at least one byte")
            self._secrets.put(ref, call.body, by=by, now=now, policy=self._release_policy)
        else:
            _require_present(self._secrets.describe(ref))
            self._secrets.delete(ref, by=by, now=now)
        return PluginAnswer()

    def _list(self, call: PluginCall) -> PluginAnswer:
        limit = call.query.get("limit", str(_DEFAULT_LIMIT))
        if not limit.isascii() or not limit.isdigit() or not 0 < int(limit[:9]) <= _MAX_LIMIT:
            raise PluginFailed(f"limit is a number from 1 to {_MAX_LIMIT}")
        page = self._secrets.list(
            secret_id.SecretKind.RESOURCE, cursor=call.query.get("cursor"), limit=int(limit)
        )
        listing = Listing(tuple(_listed(item) for item in page.items), page.next)
        return PluginAnswer(body=msgspec.json.encode(listing), content_type=JSON)


def resource_ref(call: PluginCall) -> SecretRef:
    """The secret that a call names, for the release path and for writes.

    Raises:
        PluginFailed: its path is not one (``path_ref``).
    """
    return path_ref(call.path)


def path_ref(path: tuple[str, ...]) -> SecretRef:
    """The secret of a path.

    Raises:
        PluginFailed: not ``repository/type/tag`` of letters, digits, ``_``, ``-`` and, but for the first
            character, ``.``; nothing is decoded.
    """
    try:
        return secret_id.resource("/".join(path))
    except InvalidIdentifier as error:
        raise PluginFailed("a resource path is repository/type/tag") from error


def _is_release(call: PluginCall) -> bool:
    if (call.method, len(call.path)) == ("GET", _SEGMENTS):
        return True
    admins = {("GET", 0), ("POST", _SEGMENTS), ("DELETE", _SEGMENTS)}
    if (call.method, len(call.path)) not in admins:
        raise no_such_call()
    return False


def _require_present(info: SecretInfo) -> None:
    if all(version.state is VersionState.DESTROYED for version in info.versions):
        raise SecretNotFound("the resource is deleted already")


def _listed(info: SecretInfo) -> Listed:
    newest = info.versions[-1]
    return Listed(info.id, newest.version, newest.state.value, newest.size)
