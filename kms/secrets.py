"""Secrets at rest: versions, their states, and the audit record of every change.

Invariants:

* Every change and its audit record are one transaction. A change that cannot be recorded is undone.
* A version number is given out once. The newest version is the one that a release takes: if it is
  disabled or destroyed the release is refused; an older version never takes its place by itself.
* States are a history, not a flag: ``destroyed`` anywhere in it is final (``secret_model.fold_states``).
* Destroying deletes the wrapped data key and the ciphertext (crypto-shredding); the rows stay as
  tombstones. Copies in backups stay sealed under the root key: rotate it, ``rewrap``, and drop the old
  version to end them too.
* Plaintext exists in ``put``/``generate`` while it is sealed and in ``unseal`` for its caller. Nothing
  here logs it, caches it or puts it into an error.
"""

from __future__ import annotations

import secrets as randomness
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from common.encoding import identifier
from common.errors import Conflict, InvalidIdentifier, TooLarge
from kms import sealing
from kms.audit import AuditEvent, AuditLog
from kms.errors import RootKeyInvalid, SecretNotFound, VersionUnusable
from kms.root_key import WrappedKey
from kms.sealing import Context, Sealed
from kms.secret_id import SecretKind, SecretRef
from kms.secret_model import SecretVersion, StoredVersion, VersionState, fold_states
from kms.secret_rows import (
    NEWEST,
    SEALED,
    VERSION,
    advance,
    append_state,
    insert_version,
    is_version,
    lock,
    read_info,
    read_page,
    read_states,
    read_version,
    shred,
)
from kms.tables import secret_version
from storage.database import to_micros

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from kms.root_key import RootKey
    from kms.secret_model import SecretInfo, SecretPage
    from storage.database import Database

DEFAULT_POLICY = "default"
_KEY_BYTES = 32  # AES-256
_MAX_PAGE = 500


class _Change(NamedTuple):
    """Who changes what, and when; as the audit log names it."""

    action: str
    ref: SecretRef
    by: str
    now: datetime

    def event(self, details: dict[str, object]) -> AuditEvent:
        return AuditEvent(self.action, self.by, self.ref.text, "done", self.now, details)


class SecretStore:
    """The secrets of one database.

    Args:
        database: holds them, sealed.
        root_key: wraps their data keys.
        max_bytes: size limit of one secret.
    """

    def __init__(self, database: Database, root_key: RootKey, *, max_bytes: int = 1 << 20) -> None:
        """Keep the parts."""
        self._database = database
        self._root_key = root_key
        self._audit = AuditLog(database)
        self._max_bytes = max_bytes

    def put(
        self,
        ref: SecretRef,
        data: bytes,
        *,
        by: str,
        now: datetime,
        policy: str = DEFAULT_POLICY,
        expected: int | None = None,
    ) -> SecretVersion:
        """Store a resource: its first version, or the next one. Older versions keep their state.

        Args:
            ref: a resource.
            data: the bytes, at least one.
            by: who stores it.
            now: when.
            policy: name of the release policy of this version.
            expected: the latest version that the caller saw (0: none); refuse if it is another.

        Raises:
            InvalidIdentifier: a key's name (keys are generated here, never imported), or no policy name.
            TooLarge: over the size limit, or empty.
            Conflict: ``expected`` is not the latest version.
            AuditUnavailable: the record could not be written; nothing was stored.
        """
        if ref.kind is not SecretKind.RESOURCE:
            raise InvalidIdentifier("bytes are stored as a resource; keys are generated")
        if not 0 < len(data) <= self._max_bytes:
            raise TooLarge(f"a resource has 1 to {self._max_bytes} bytes, this one {len(data)}")
        change = _Change("secret.put", ref, by, now)
        return self._add(change, data, policy, expected)

    def generate(
        self, ref: SecretRef, *, by: str, now: datetime, policy: str = DEFAULT_POLICY
    ) -> SecretVersion:
        """Generate an AES-256 key as version 1. Its bytes leave only through a release.

        Raises:
            InvalidIdentifier: not a key's name, or no policy name.
            Conflict: the key exists, or existed: a new version is made by ``rotate``.
            AuditUnavailable: the record could not be written; nothing was stored.
        """
        material = self._key_material(ref)
        return self._add(_Change("secret.generate", ref, by, now), material, policy, 0)

    def rotate(self, ref: SecretRef, *, by: str, now: datetime, policy: str | None = None) -> SecretVersion:
        """Generate the next version of a key; older ones keep their state, to decrypt what is old.

        Args:
            ref: a key.
            by: who.
            now: when.
            policy: name of the release policy of the new version; that of the latest otherwise.

        Raises:
            SecretNotFound: no such key.
            AuditUnavailable: the record could not be written; nothing was stored.
        """
        material = self._key_material(ref)
        info = self.describe(ref)
        name = policy or info.versions[-1].release_policy
        return self._add(_Change("secret.rotate", ref, by, now), material, name, info.latest_version)

    def describe(self, ref: SecretRef) -> SecretInfo:
        """Metadata of a secret, destroyed versions included.

        Raises:
            SecretNotFound: it never existed.
        """
        with self._database.read() as connection:
            return read_info(connection, ref)

    def list(self, kind: SecretKind, *, cursor: str | None = None, limit: int = 100) -> SecretPage:
        """Metadata of the secrets of a kind, in order of id, from after ``cursor``."""
        with self._database.read() as connection:
            return read_page(connection, kind, cursor, max(1, min(limit, _MAX_PAGE)))

    def disable(self, ref: SecretRef, version: int, *, by: str, now: datetime) -> None:
        """Refuse releases of a version until it is enabled.

        Raises:
            SecretNotFound: no such version.
            VersionUnusable: it is destroyed.
            AuditUnavailable: the record could not be written; nothing changed.
        """
        self._set_state(_Change("secret.state", ref, by, now), version, VersionState.DISABLED)

    def enable(self, ref: SecretRef, version: int, *, by: str, now: datetime) -> None:
        """Allow releases of a disabled version.

        Raises:
            SecretNotFound: no such version.
            VersionUnusable: it is destroyed.
            AuditUnavailable: the record could not be written; nothing changed.
        """
        self._set_state(_Change("secret.state", ref, by, now), version, VersionState.ACTIVE)

    def destroy(self, ref: SecretRef, version: int, *, by: str, now: datetime) -> None:
        """Destroy one version for good. A second time changes nothing.

        Raises:
            SecretNotFound: no such version.
            AuditUnavailable: the record could not be written; nothing changed.
        """
        with self._database.write() as connection:
            lock(connection, ref)
            read_version(connection, ref, version)
            self._destroy(connection, _Change("secret.state", ref, by, now), version)

    def delete(self, ref: SecretRef, *, by: str, now: datetime) -> None:
        """Destroy every version for good; the name stays as a tombstone, its numbers are not reused.

        Raises:
            SecretNotFound: it never existed.
            AuditUnavailable: the record could not be written; nothing changed.
        """
        with self._database.write() as connection:
            lock(connection, ref)
            change = _Change("secret.state", ref, by, now)
            for item in read_info(connection, ref).versions:
                self._destroy(connection, change, item.version)

    def find(self, ref: SecretRef, version: int | None = None) -> Context | None:
        """Which version a release would take and which policy decides about it, whatever its state.

        Args:
            ref: the secret.
            version: a particular one; the newest otherwise.

        Returns:
            None where there is no such secret or version.
        """
        row = self._database.fast_first(NEWEST, kind=ref.kind.value, id=ref.id)
        if version is not None:
            row = self._database.fast_first(VERSION, kind=ref.kind.value, id=ref.id, version=version)
        return None if row is None else Context(ref, row[0], row[1])

    def usable(self, connection: Connection, ref: SecretRef, version: int) -> StoredVersion:
        """A sealed version that may be released; it stays so until the write transaction ends.

        Raises:
            SecretNotFound: no such secret or version.
            VersionUnusable: it is disabled or destroyed.
        """
        row = SEALED.first(connection, kind=ref.kind.value, id=ref.id, version=version)
        if row is None:
            raise SecretNotFound(f"{ref.text} has no version {version}")
        state = fold_states(read_states(connection, ref, version))
        if state is not VersionState.ACTIVE:
            raise VersionUnusable(f"{ref.text} version {version} is {state.value}")
        release_policy, root_key, wrapped_key, ciphertext = row
        if root_key is None or wrapped_key is None or ciphertext is None:
            raise VersionUnusable(f"{ref.text} version {version} has no content")
        sealed = Sealed(WrappedKey(root_key, wrapped_key), ciphertext)
        return StoredVersion(Context(ref, version, release_policy), sealed)

    def unseal(self, stored: StoredVersion) -> bytes:
        """The plaintext, for its recipient alone.

        Raises:
            SecretUnreadable: altered, or moved from another row.
            RootKeyInvalid: the root key lacks the version it was wrapped under.
        """
        return sealing.unseal(self._root_key, stored.context, stored.sealed)

    def require_root_key(self) -> None:
        """Demand that every version in the database can be unwrapped with the root key at hand.

        Raises:
            RootKeyInvalid: a record names a root key version that is not there.
        """
        statement = select(secret_version.c.root_key).where(secret_version.c.root_key.is_not(None))
        with self._database.read() as connection:
            used = connection.execute(statement.distinct()).scalars().all()
        missing = sorted(name for name in used if name is not None and not self._root_key.knows(name))
        if missing:
            raise RootKeyInvalid(f"secrets are wrapped under root key {', '.join(missing)}, not at hand")

    def rewrap(self, *, by: str, now: datetime) -> int:
        """Wrap every data key under the root key's current version. Secrets are not opened.

        Returns:
            How many versions were wrapped anew.

        Raises:
            SecretUnreadable: a record does not open; nothing changed.
            RootKeyInvalid: the root key lacks a version that is in use; nothing changed.
            AuditUnavailable: the record could not be written; nothing changed.
        """
        current = self._root_key.current
        statement = select(secret_version).where(
            secret_version.c.root_key.is_not(None), secret_version.c.root_key != current
        )
        with self._database.write() as connection:
            rows = connection.execute(statement).all()
            for row in rows:
                ref = SecretRef(SecretKind(row.kind), row.id)
                context = Context(ref, row.version, row.release_policy)
                wrapped = sealing.rewrap(self._root_key, context, WrappedKey(row.root_key, row.wrapped_key))
                connection.execute(
                    update(secret_version)
                    # Unless it was shredded since it was read.
                    .where(*is_version(ref, row.version), secret_version.c.root_key == row.root_key)
                    .values(root_key=wrapped.root_key, wrapped_key=wrapped.blob)
                )
            details = {"root_key": current, "versions": len(rows)}
            self._audit.append(
                connection, AuditEvent("secret.rewrap", by, "root-key", "done", now, details)
            )
        return len(rows)

    def _key_material(self, ref: SecretRef) -> bytes:
        if ref.kind is not SecretKind.KEY:
            raise InvalidIdentifier("only keys are generated; bytes are stored as a resource")
        return randomness.token_bytes(_KEY_BYTES)

    def _add(self, change: _Change, data: bytes, policy: str, expected: int | None) -> SecretVersion:
        identifier(policy, what="release policy")
        ref, at = change.ref, to_micros(change.now)
        try:
            with self._database.write() as connection:
                version = advance(connection, ref, at, expected)
                context = Context(ref, version, policy)
                sealed = sealing.seal(self._root_key, context, data)
                insert_version(connection, context, sealed, size=len(data), by=change.by, at=at)
                details = {"version": version, "size": len(data), "release_policy": policy}
                self._audit.append(connection, change.event(details))
        except IntegrityError as error:
            raise Conflict(f"{ref.text} is being written by another call") from error
        return SecretVersion(version, VersionState.ACTIVE, policy, len(data), change.now, change.by)

    def _set_state(self, change: _Change, version: int, state: VersionState) -> None:
        ref = change.ref
        with self._database.write() as connection:
            lock(connection, ref)
            read_version(connection, ref, version)
            present = fold_states(read_states(connection, ref, version))
            if present is VersionState.DESTROYED:
                raise VersionUnusable(f"{ref.text} version {version} is destroyed")
            if present is not state:
                self._record_state(connection, change, version, state)

    def _destroy(self, connection: Connection, change: _Change, version: int) -> None:
        present = fold_states(read_states(connection, change.ref, version))
        if present is not VersionState.DESTROYED:
            self._record_state(connection, change, version, VersionState.DESTROYED)
        shred(connection, change.ref, version)

    def _record_state(
        self, connection: Connection, change: _Change, version: int, state: VersionState
    ) -> None:
        at = to_micros(change.now)
        append_state(connection, change.ref, version, state, by=change.by, at=at)
        self._audit.append(connection, change.event({"version": version, "state": state.value}))
