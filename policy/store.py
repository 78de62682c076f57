"""Policy versions: immutable texts, numbered per kind and name, one of them active.

Invariants:

* A version never changes and is never deleted. Its digest is stored beside it and computed again at each
  read: a text that was altered in the database is refused, not used.
* Putting a version activates nothing. Who activated what, and when, stays on record.
* ``rollback`` goes back to what was active before, and once more to what was active before that: it never
  alternates between two versions.
* Policies with serials only go forward (``policy.serials``): no rollback, no lower serial.
* Who names the version that was seen active (``expected``) is told when that is no longer so.

Not done here: compiling. The caller compiles with its engine first, so that only what compiles is put.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import and_, func, insert, select, update

from common.encoding import identifier
from common.errors import Malformed, TooLarge
from policy import serials
from policy.errors import PolicyNotFound, PolicyStale
from policy.port import PolicyKind
from policy.tables import policy_activation, policy_active, policy_state, policy_version
from policy.versions import (
    Activation,
    PolicySummary,
    PolicyVersion,
    active_digest_in,
    active_in,
    generation_of,
    of_policy,
    pointer,
    read_version,
    version_of,
)
from storage.database import from_micros, to_micros

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from policy.serials import Serial
    from storage.database import Database

__all__ = [
    "MAX_TEXT_BYTES",
    "Activation",
    "PolicyStore",
    "PolicySummary",
    "PolicyVersion",
    "active_digest_in",
    "active_in",
]

MAX_TEXT_BYTES: Final = 1 << 20
_MAX_CALLER: Final = 2048
_GENERATION_SQL: Final = "SELECT generation FROM policy_state WHERE id = 1"


class PolicyStore:
    """The versions in a database. Thread-safe.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        """Keep the database."""
        self._database = database

    def put(self, kind: PolicyKind, name: str, text: str, *, by: str, now: datetime) -> PolicyVersion:
        """Add a version; the latest one is returned, and nothing added, if its text is the same.

        Raises:
            InvalidIdentifier: the name.
            TooLarge: the text has more than ``MAX_TEXT_BYTES``.
            Malformed: the text is not storable, or the caller is not named.
        """
        identifier(name, what="policy name")
        digest = _digest(text)
        _check_caller(by)
        with self._database.write() as connection:
            _lock(connection)
            latest = connection.execute(
                select(policy_version)
                .where(of_policy(policy_version, kind, name))
                .order_by(policy_version.c.version.desc())
                .limit(1)
            ).one_or_none()
            if latest is not None and latest.digest == digest:
                return version_of(latest)
            row = {
                "kind": kind.value,
                "name": name,
                "version": 1 if latest is None else latest.version + 1,
                "digest": digest,
                "text": text,
                "created_by": by,
                "created_at": to_micros(now),
            }
            connection.execute(insert(policy_version).values(row))
            return read_version(connection, kind, name, int(str(row["version"])))

    def get(self, kind: PolicyKind, name: str, version: int) -> PolicyVersion:
        """One version.

        Raises:
            PolicyNotFound: there is none.
            PolicyCorrupt: its text was altered.
        """
        with self._database.read() as connection:
            return read_version(connection, kind, name, version)

    def active(self, kind: PolicyKind, name: str) -> PolicyVersion:
        """The active version.

        Raises:
            PolicyNotFound: none is active.
            PolicyCorrupt: its text was altered.
        """
        with self._database.read() as connection:
            return active_in(connection, kind, name)

    def generation(self) -> int:
        """A number that changes with every activation of any policy; for whoever keeps compiled ones.

        One cheap read, meant for every request.

        Raises:
            SchemaMismatch: the database is not migrated.
            DatabaseUnavailable: the database does not answer.
        """
        return generation_of(self._database.fast_row(_GENERATION_SQL))

    def activate(
        self,
        kind: PolicyKind,
        name: str,
        version: int,
        *,
        by: str,
        now: datetime,
        expected: int | msgspec.UnsetType | None = msgspec.UNSET,
        serial: Serial | None = None,
    ) -> PolicyVersion:
        """Make a version the active one; nothing happens if it is already.

        Args:
            kind: of the policy.
            name: of the policy.
            version: what to activate.
            by: the caller.
            now: aware UTC.
            expected: the version that the caller saw active (None: saw none); not compared if not given.
            serial: what the version says of its place; the caller has read it out of its text.

        Raises:
            PolicyNotFound: there is no such version.
            PolicyCorrupt: its text was altered.
            PolicyStale: another version than ``expected`` is active.
            PolicySerialStale: its serial is behind one that was active, or it has none and others had.
        """
        _check_caller(by)
        with self._database.write() as connection:
            generation = _lock(connection)
            present = pointer(connection, kind, name)
            _demand_expected(present, expected)
            chosen = read_version(connection, kind, name, version)
            serials.advance(connection, kind, name, serial, now)
            if present is None or present.version != version:
                previous = None if present is None else present.activation
                row = _activation_row(chosen, "activate", previous, by, now)
                _point(connection, row, generation)
            return chosen

    def rollback(
        self,
        kind: PolicyKind,
        name: str,
        *,
        by: str,
        now: datetime,
        expected: int | msgspec.UnsetType = msgspec.UNSET,
    ) -> PolicyVersion:
        """Make the version active that was active before the present one; returns it.

        Raises:
            PolicyNotFound: none is active, or none was before.
            PolicyCorrupt: its text was altered.
            PolicyStale: another version than ``expected`` is active.
            PolicyRollbackRefused: policies of that name have serials.
        """
        _check_caller(by)
        with self._database.write() as connection:
            generation = _lock(connection)
            serials.refuse_rollback(connection, kind, name)
            present = pointer(connection, kind, name)
            _demand_expected(present, expected)
            earlier = None if present is None else _earlier(connection, present.activation)
            if earlier is None:
                raise PolicyNotFound(
                    f"no {kind} policy {name!a} was active before the present one",
                    advice="Activate the version that is meant: `touchstone policy versions` lists them.",
                )
            chosen = read_version(connection, kind, name, earlier.version)
            _point(connection, _activation_row(chosen, "rollback", earlier.previous, by, now), generation)
            return chosen

    def list(self) -> tuple[PolicySummary, ...]:
        """Every policy, by kind and name."""
        latest = (
            select(
                policy_version.c.kind,
                policy_version.c.name,
                func.max(policy_version.c.version).label("latest"),
            )
            .group_by(policy_version.c.kind, policy_version.c.name)
            .subquery()
        )
        query = (
            select(latest, policy_active.c.version, policy_version.c.digest)
            .outerjoin(
                policy_active,
                and_(policy_active.c.kind == latest.c.kind, policy_active.c.name == latest.c.name),
            )
            .outerjoin(
                policy_version,
                and_(
                    policy_version.c.kind == policy_active.c.kind,
                    policy_version.c.name == policy_active.c.name,
                    policy_version.c.version == policy_active.c.version,
                ),
            )
            .order_by(latest.c.kind, latest.c.name)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return tuple(
            PolicySummary(PolicyKind(row.kind), row.name, row.latest, row.version, row.digest)
            for row in rows
        )

    def versions(self, kind: PolicyKind, name: str) -> tuple[PolicyVersion, ...]:
        """Every version of a policy, newest first.

        Raises:
            PolicyNotFound: there is none.
            PolicyCorrupt: a text was altered.
        """
        query = (
            select(policy_version)
            .where(of_policy(policy_version, kind, name))
            .order_by(policy_version.c.version.desc())
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        if not rows:
            raise PolicyNotFound(f"there is no {kind} policy {name!a}")
        return tuple(version_of(row) for row in rows)

    def history(self, kind: PolicyKind, name: str) -> tuple[Activation, ...]:
        """Every activation of a policy, newest first; empty if there was none."""
        query = (
            select(policy_activation)
            .where(of_policy(policy_activation, kind, name))
            .order_by(policy_activation.c.seq.desc())
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return tuple(
            Activation(PolicyKind(row.kind), row.name, row.version, row.action, row.by, from_micros(row.at))
            for row in rows
        )


def _digest(text: str) -> str:
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Malformed("the policy's text has a lone surrogate") from error
    if len(data) > MAX_TEXT_BYTES:
        raise TooLarge(f"the policy has {len(data)} bytes, the limit is {MAX_TEXT_BYTES}")
    if "\0" in text:
        raise Malformed("the policy's text has a NUL character")
    return hashlib.sha256(data).hexdigest()


def _check_caller(by: str) -> None:
    if not by or len(by) > _MAX_CALLER or not by.isprintable():
        raise Malformed("the caller is not named by 1 to 2048 printable characters")


def _lock(connection: Connection) -> int:
    query = select(policy_state.c.generation).where(policy_state.c.id == 1).with_for_update()
    return generation_of(connection.execute(query).one_or_none())


def _demand_expected(present: Any, expected: int | msgspec.UnsetType | None) -> None:
    version = None if present is None else present.version
    if expected is msgspec.UNSET or expected == version:
        return
    raise PolicyStale(
        f"version {version} is active now, not {expected}" if version else "no version is active now",
        details={"active": version, "expected": expected},
    )


def _earlier(connection: Connection, activation: int) -> Any:
    """The activation that was in force before ``activation``."""
    present = policy_activation.alias("present")
    query = (
        select(policy_activation.c.version, policy_activation.c.previous)
        .join(present, present.c.previous == policy_activation.c.seq)
        .where(present.c.seq == activation)
    )
    return connection.execute(query).one_or_none()


def _activation_row(
    chosen: PolicyVersion, action: str, previous: int | None, by: str, now: datetime
) -> dict[str, Any]:
    return {
        "kind": chosen.kind.value,
        "name": chosen.name,
        "version": chosen.version,
        "action": action,
        "previous": previous,
        "by": by,
        "at": to_micros(now),
    }


def _point(connection: Connection, row: dict[str, Any], generation: int) -> None:
    """Write an activation and point at it."""
    seq = connection.execute(
        insert(policy_activation).values(row).returning(policy_activation.c.seq)
    ).scalar_one()
    key = {"kind": row["kind"], "name": row["name"]}
    pointer = {"version": row["version"], "activation": seq}
    # Updated in place where it is there: a reader that waits for this row then sees what it became.
    moved = connection.execute(
        update(policy_active)
        .where(policy_active.c.kind == row["kind"], policy_active.c.name == row["name"])
        .values(pointer)
    )
    if moved.rowcount == 0:
        connection.execute(insert(policy_active).values(**key, **pointer))
    connection.execute(update(policy_state).where(policy_state.c.id == 1).values(generation=generation + 1))
