"""What the secret store returns: names, states, times and sizes. Plaintext is in none of these."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from kms.sealing import Context, Sealed  # noqa: TC001 (msgspec resolves it at run time)

if TYPE_CHECKING:
    from collections.abc import Iterable


class VersionState(StrEnum):
    """State of one version. ``destroyed`` is final."""

    ACTIVE = "active"
    DISABLED = "disabled"
    DESTROYED = "destroyed"


def fold_states(states: Iterable[str]) -> VersionState:
    """The state after a history, oldest first.

    Any ``destroyed`` in it decides, whatever stands after it: a row that a backup brought back does
    not bring a version back. An empty history is ``disabled``.
    """
    result = VersionState.DISABLED
    for state in states:
        result = VersionState(state)
        if result is VersionState.DESTROYED:
            return result
    return result


class SecretVersion(msgspec.Struct, frozen=True):
    """One version.

    Attributes:
        version: 1, 2, 3 ...; numbers are never used twice.
        state: whether it may be released.
        release_policy: name of the policy that decides about it; fixed for the version's life.
        size: bytes of the plaintext.
        created_at: when.
        created_by: by whom.
    """

    version: int
    state: VersionState
    release_policy: str
    size: int
    created_at: datetime
    created_by: str


class SecretInfo(msgspec.Struct, frozen=True):
    """One secret.

    Attributes:
        kind: ``resource`` or ``key``.
        id: its id.
        latest_version: the version that a release gives out, if its state allows.
        created_at: of the first version.
        versions: all, oldest first, the destroyed ones too.
    """

    kind: str
    id: str
    latest_version: int
    created_at: datetime
    versions: tuple[SecretVersion, ...]


class SecretPage(msgspec.Struct, frozen=True):
    """A page of a listing.

    Attributes:
        items: in order of id.
        next: cursor of the next page; None at the end.
    """

    items: tuple[SecretInfo, ...]
    next: str | None


class StoredVersion(msgspec.Struct, frozen=True):
    """A usable version, still sealed.

    Attributes:
        context: what the blob is bound to: secret, version and release policy.
        sealed: the blob.
    """

    context: Context
    sealed: Sealed
