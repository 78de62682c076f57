"""Rows of secrets, read and written inside the caller's transaction. No cryptography, no audit.

On PostgreSQL a change locks the secret's row, and a release locks it against changes, so that what a
release found active is active when it commits; SQLite has one writer at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, insert, select, update

from common.errors import Conflict
from kms.errors import SecretNotFound
from kms.secret_model import SecretInfo, SecretPage, SecretVersion, VersionState, fold_states
from kms.tables import secret, secret_state, secret_version
from storage.database import from_micros
from storage.prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection, Row

    from kms.sealing import Context, Sealed
    from kms.secret_id import SecretKind, SecretRef


_SECRET: Final = (secret.c.kind == bindparam("kind"), secret.c.id == bindparam("id"))
_VERSION: Final = (
    secret_version.c.kind == bindparam("kind"),
    secret_version.c.id == bindparam("id"),
    secret_version.c.version == bindparam("version"),
)
# Version and release policy: of the newest version, of a particular one.
NEWEST: Final = Prepared(
    lambda: (
        select(secret_version.c.version, secret_version.c.release_policy)
        .join(secret, (secret.c.kind == secret_version.c.kind) & (secret.c.id == secret_version.c.id))
        .where(*_SECRET, secret_version.c.version == secret.c.latest_version)
    )
)
VERSION: Final = Prepared(
    lambda: select(secret_version.c.version, secret_version.c.release_policy).where(*_VERSION)
)
# Content of a version, its secret's row held against changes, but not against other releases.
SEALED: Final = Prepared(
    lambda: (
        select(
            secret_version.c.release_policy,
            secret_version.c.root_key,
            secret_version.c.wrapped_key,
            secret_version.c.ciphertext,
        )
        .join(secret, (secret.c.kind == secret_version.c.kind) & (secret.c.id == secret_version.c.id))
        .where(*_VERSION)
        .with_for_update(read=True)
    )
)
_STATES: Final = Prepared(
    lambda: (
        select(secret_state.c.state)
        .where(
            secret_state.c.kind == bindparam("kind"),
            secret_state.c.id == bindparam("id"),
            secret_state.c.version == bindparam("version"),
        )
        .order_by(secret_state.c.serial)
    )
)


def advance(connection: Connection, ref: SecretRef, at: int, expected: int | None) -> int:
    """Give out the next version number; makes the secret's row for the first.

    Raises:
        Conflict: ``expected`` is not the latest number given out (0: none).
    """
    statement = select(secret.c.latest_version).where(*_is_secret(ref)).with_for_update()
    latest = connection.execute(statement).scalar() or 0
    if expected is not None and expected != latest:
        raise Conflict(f"{ref.text} is at version {latest}, not {expected}", details={"latest": latest})
    if latest == 0:
        connection.execute(
            insert(secret).values(kind=ref.kind.value, id=ref.id, latest_version=1, created_at=at)
        )
    else:
        connection.execute(update(secret).where(*_is_secret(ref)).values(latest_version=latest + 1))
    return latest + 1


def insert_version(
    connection: Connection, context: Context, sealed: Sealed, *, size: int, by: str, at: int
) -> None:
    """A new version, active."""
    connection.execute(
        insert(secret_version).values(
            kind=context.ref.kind.value,
            id=context.ref.id,
            version=context.version,
            release_policy=context.release_policy,
            created_at=at,
            created_by=by,
            size=size,
            root_key=sealed.wrapped.root_key,
            wrapped_key=sealed.wrapped.blob,
            ciphertext=sealed.ciphertext,
        )
    )
    append_state(connection, context.ref, context.version, VersionState.ACTIVE, by=by, at=at)


def append_state(
    connection: Connection, ref: SecretRef, version: int, state: VersionState, *, by: str, at: int
) -> None:
    """One more entry of a version's history. The caller has locked the secret (``lock``)."""
    serial = len(read_states(connection, ref, version)) + 1
    connection.execute(
        insert(secret_state).values(
            kind=ref.kind.value,
            id=ref.id,
            version=version,
            serial=serial,
            state=state.value,
            at=at,
            by=by,
        )
    )


def shred(connection: Connection, ref: SecretRef, version: int) -> None:
    """Delete a version's wrapped data key and ciphertext; overwritten in SQLite's file, too."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
    connection.execute(
        update(secret_version)
        .where(*is_version(ref, version))
        .values(root_key=None, wrapped_key=None, ciphertext=None)
    )


def lock(connection: Connection, ref: SecretRef) -> None:
    """Hold the secret's row until the write transaction ends.

    Raises:
        SecretNotFound: no such secret.
    """
    statement = select(secret.c.latest_version).where(*_is_secret(ref)).with_for_update()
    if connection.execute(statement).scalar() is None:
        raise SecretNotFound(f"there is no {ref.text}")


def latest_version(connection: Connection, ref: SecretRef) -> int:
    """The highest version number given out.

    Raises:
        SecretNotFound: no such secret.
    """
    latest = connection.execute(select(secret.c.latest_version).where(*_is_secret(ref))).scalar()
    if latest is None:
        raise SecretNotFound(f"there is no {ref.text}")
    return int(latest)


def read_version(connection: Connection, ref: SecretRef, version: int) -> Row[Any]:
    """The row of one version.

    Raises:
        SecretNotFound: no such version.
    """
    statement = select(secret_version).where(*is_version(ref, version))
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise SecretNotFound(f"{ref.text} has no version {version}")
    return row


def read_states(connection: Connection, ref: SecretRef, version: int) -> list[str]:
    """The history of a version, oldest first."""
    return [str(row[0]) for row in _STATES.all(connection, kind=ref.kind.value, id=ref.id, version=version)]


def read_info(connection: Connection, ref: SecretRef) -> SecretInfo:
    """Metadata of one secret.

    Raises:
        SecretNotFound: no such secret.
    """
    rows = connection.execute(select(secret).where(*_is_secret(ref))).all()
    if not rows:
        raise SecretNotFound(f"there is no {ref.text}")
    return _infos(connection, ref.kind, rows)[0]


def read_page(connection: Connection, kind: SecretKind, cursor: str | None, limit: int) -> SecretPage:
    """A page of metadata, in order of id."""
    statement = select(secret).where(secret.c.kind == kind.value).order_by(secret.c.id).limit(limit + 1)
    if cursor is not None:
        statement = statement.where(secret.c.id > cursor)
    rows = connection.execute(statement).all()
    items = _infos(connection, kind, rows[:limit])
    return SecretPage(items, items[-1].id if len(rows) > limit else None)


def is_version(ref: SecretRef, version: int) -> tuple[ColumnElement[bool], ...]:
    """The condition that picks one row of ``secret_version``."""
    return (
        secret_version.c.kind == ref.kind.value,
        secret_version.c.id == ref.id,
        secret_version.c.version == version,
    )


def _is_secret(ref: SecretRef) -> tuple[ColumnElement[bool], ...]:
    return (secret.c.kind == ref.kind.value, secret.c.id == ref.id)


def _infos(connection: Connection, kind: SecretKind, rows: Sequence[Row[Any]]) -> tuple[SecretInfo, ...]:
    ids = [row.id for row in rows]
    states: dict[tuple[str, int], list[str]] = {}
    for entry in connection.execute(
        select(secret_state.c.id, secret_state.c.version, secret_state.c.state)
        .where(secret_state.c.kind == kind.value, secret_state.c.id.in_(ids))
        .order_by(secret_state.c.serial)
    ):
        states.setdefault((entry.id, entry.version), []).append(entry.state)
    versions: dict[str, list[SecretVersion]] = {}
    columns = [column for column in secret_version.c if column.name not in ("wrapped_key", "ciphertext")]
    for row in connection.execute(
        select(*columns)
        .where(secret_version.c.kind == kind.value, secret_version.c.id.in_(ids))
        .order_by(secret_version.c.version)
    ):
        state = fold_states(states.get((row.id, row.version), ()))
        versions.setdefault(row.id, []).append(_version(row, state))
    return tuple(
        SecretInfo(
            kind=kind.value,
            id=row.id,
            latest_version=row.latest_version,
            created_at=from_micros(row.created_at),
            versions=tuple(versions.get(row.id, ())),
        )
        for row in rows
    )


def _version(row: Row[Any], state: VersionState) -> SecretVersion:
    return SecretVersion(
        version=row.version,
        state=state,
        release_policy=row.release_policy,
        size=row.size,
        created_at=from_micros(row.created_at),
        created_by=row.created_by,
    )
