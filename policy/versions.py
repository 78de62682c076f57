"""Policy versions as typed values, and how rows become them. Every text is held to its digest here.

``active_in`` and ``active_digest_in`` read in the caller's transaction, for whoever must decide and act in
one.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from sqlalchemy import and_, bindparam, select

from common.encoding import identifier
from common.errors import SchemaMismatch
from policy.errors import PolicyCorrupt, PolicyNotFound
from policy.port import PolicyKind, PolicySource
from policy.tables import policy_active, policy_version
from storage.database import from_micros
from storage.prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection, Row, Table

_MAX_VERSION: Final = 2**31 - 1  # of an SQL INTEGER


class PolicyVersion(msgspec.Struct, frozen=True):
    """One version.

    Attributes:
        kind: what the policy decides.
        name: its name.
        version: 1, 2, 3 ... per kind and name.
        digest: SHA-256 of the text's UTF-8, hex; checked against the text.
        text: Rego source, exactly as uploaded.
        created_by: who put it.
        created_at: when.
    """

    kind: PolicyKind
    name: str
    version: int
    digest: str
    text: str
    created_by: str
    created_at: datetime

    @property
    def source(self) -> PolicySource:
        """What an engine compiles."""
        return PolicySource(self.kind, self.text)


_ACTIVE_VERSION: Final = Prepared(
    lambda: (
        select(policy_active.c.version)
        .where(policy_active.c.kind == bindparam("kind"), policy_active.c.name == bindparam("name"))
        .with_for_update(read=True)
    )
)
_DIGEST: Final = Prepared(
    lambda: select(policy_version.c.digest).where(
        policy_version.c.kind == bindparam("kind"),
        policy_version.c.name == bindparam("name"),
        policy_version.c.version == bindparam("version"),
    )
)


class PolicySummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """A policy in a listing.

    Attributes:
        kind: what it decides.
        name: its name.
        latest: its highest version.
        active: the active version; absent if none is.
        digest: of the active version.
    """

    kind: PolicyKind
    name: str
    latest: int
    active: int | None = None
    digest: str | None = None


class Activation(msgspec.Struct, frozen=True):
    """That a version became the active one.

    Attributes:
        kind: of the policy.
        name: of the policy.
        version: what became active.
        action: by ``activate`` or by ``rollback``.
        by: who did it.
        at: when.
    """

    kind: PolicyKind
    name: str
    version: int
    action: Literal["activate", "rollback"]
    by: str
    at: datetime


def active_in(connection: Connection, kind: PolicyKind, name: str) -> PolicyVersion:
    """The active version, read in the caller's transaction.

    Raises:
        PolicyNotFound: none is active.
        PolicyCorrupt: its text was altered.
    """
    present = pointer(connection, kind, name)
    if present is None:
        raise PolicyNotFound(f"no {kind} policy {name!a} is active")
    return read_version(connection, kind, name, present.version)


def active_digest_in(connection: Connection, kind: PolicyKind, name: str) -> str | None:
    """Digest of the active version, held so until the caller's write transaction ends; None if none is.

    For whoever acts on an earlier decision and must know that the policy is still the one it rests on.
    """
    # The pointer first and by itself: a wait for its row re-reads that row only, not what it is joined to.
    identifier(name, what="policy name")
    active = _ACTIVE_VERSION.first(connection, kind=kind.value, name=name)
    if active is None:
        return None
    found = _DIGEST.first(connection, kind=kind.value, name=name, version=active[0])
    return None if found is None else str(found[0])


def generation_of(state: Sequence[Any] | None) -> int:
    """The count of activations out of the store's row of state.

    Raises:
        SchemaMismatch: there is none: the database is not migrated.
    """
    if state is None:
        raise SchemaMismatch("the policy store has no state row")
    return int(state[0])


def of_policy(table: Table, kind: PolicyKind, name: str) -> ColumnElement[bool]:
    """Condition for the rows of one policy.

    Raises:
        InvalidIdentifier: the name is none.
    """
    identifier(name, what="policy name")
    return and_(table.c.kind == kind.value, table.c.name == name)


def pointer(connection: Connection, kind: PolicyKind, name: str) -> Any:
    """Row with the active ``version`` and its ``activation``; None if none is active."""
    query = select(policy_active.c.version, policy_active.c.activation)
    return connection.execute(query.where(of_policy(policy_active, kind, name))).one_or_none()


def read_version(connection: Connection, kind: PolicyKind, name: str, version: int) -> PolicyVersion:
    """One version.

    Raises:
        PolicyNotFound: there is none.
        PolicyCorrupt: its text was altered.
    """
    query = select(policy_version).where(of_policy(policy_version, kind, name))
    row = None
    if 0 < version <= _MAX_VERSION:
        row = connection.execute(query.where(policy_version.c.version == version)).one_or_none()
    if row is None:
        raise PolicyNotFound(f"there is no version {version} of a {kind} policy {name!a}")
    return version_of(row)


def version_of(row: Row[Any]) -> PolicyVersion:
    """The version in a row of ``policy_version``.

    Raises:
        PolicyCorrupt: its text was altered.
    """
    if hashlib.sha256(row.text.encode("utf-8")).hexdigest() != row.digest:
        raise PolicyCorrupt(
            f"version {row.version} of {row.kind} policy {row.name} is not what its digest names"
        )
    return PolicyVersion(
        kind=PolicyKind(row.kind),
        name=row.name,
        version=row.version,
        digest=row.digest,
        text=row.text,
        created_by=row.created_by,
        created_at=from_micros(row.created_at),
    )
