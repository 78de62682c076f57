"""Admin access: bearer tokens, their roles, and the scopes that roles give.

A token reads ``ts_<id>_<secret>``: the id (12 hex digits) finds the row, the secret (256 random bits,
base64url) proves possession. Its SHA-256 alone is stored and is compared in constant time; an unknown
id is compared too, with a value that nothing hashes to.

A route asks for exactly one scope (``service.api``); a token holds the union of its roles' scopes.
Roles keep duties apart: who writes policies does not store secrets, who publishes does neither.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import func, insert, select, update

from common.errors import NotFound
from common.files import write_private
from service.errors import RoleUnknown, ScopeMissing, Unauthenticated
from service.tables import admin_token
from storage.database import from_micros, to_micros

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, RowMapping

    from storage.database import Database

_ID_BYTES = 6
_SECRET_BYTES = 32
_HEADER = re.compile(r"Bearer ts_([0-9a-f]{12})_([A-Za-z0-9_-]{43})\Z")
_NO_HASH = "0" * 64


class Scope(StrEnum):
    """What a route may ask for."""

    ATTESTATIONS_READ = "attestations:read"
    ATTESTATIONS_WRITE = "attestations:write"
    REFERENCE_VALUES_READ = "reference-values:read"
    RETRACT = "retract"
    IMPACT_READ = "impact:read"
    POLICIES_READ = "policies:read"
    POLICIES_WRITE = "policies:write"
    RESOURCES_READ = "resources:read"
    RESOURCES_WRITE = "resources:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    AUDIT_READ = "audit:read"
    METRICS_READ = "metrics:read"


_READ = frozenset(scope for scope in Scope if scope.value.endswith(":read"))

ROLES: Mapping[str, frozenset[Scope]] = {
    "admin": frozenset(Scope),
    "auditor": _READ,
    "publisher": frozenset(
        {Scope.ATTESTATIONS_READ, Scope.ATTESTATIONS_WRITE, Scope.REFERENCE_VALUES_READ}
    ),
    "policy-author": frozenset({Scope.POLICIES_READ, Scope.POLICIES_WRITE, Scope.REFERENCE_VALUES_READ}),
    "secret-admin": frozenset(
        {Scope.RESOURCES_READ, Scope.RESOURCES_WRITE, Scope.KEYS_READ, Scope.KEYS_WRITE}
    ),
    "responder": frozenset(
        {
            Scope.ATTESTATIONS_READ,
            Scope.REFERENCE_VALUES_READ,
            Scope.RETRACT,
            Scope.IMPACT_READ,
            Scope.AUDIT_READ,
        }
    ),
    "monitor": frozenset({Scope.METRICS_READ}),
}


class Principal(msgspec.Struct, frozen=True):
    """Who makes a call.

    Attributes:
        id: public id of the token.
        label: what its maker wrote about its holder.
        scopes: what it may do.
    """

    id: str
    label: str
    scopes: frozenset[Scope]

    @property
    def name(self) -> str:
        """How records name it: the label, and the id that makes it unique."""
        return f"{self.label} (ts_{self.id})"

    def require(self, scope: Scope) -> None:
        """Demand a scope.

        Raises:
            ScopeMissing: the token does not have it.
        """
        if scope not in self.scopes:
            raise ScopeMissing(f"this needs scope {scope.value}", details={"scope": scope.value})


class TokenInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What may be shown of a token.

    Attributes:
        id: its public id.
        label: its holder.
        roles: role names.
        created_at: when.
        created_by: by whom.
        expires_at: end of validity, if bounded.
        revoked_at: when it was revoked, if it was.
    """

    id: str
    label: str
    roles: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class TokenStore:
    """Admin tokens in the database."""

    def __init__(self, database: Database) -> None:
        """Keep the database."""
        self._database = database

    def create(
        self,
        *,
        label: str,
        roles: Sequence[str],
        by: str,
        now: datetime,
        expires_at: datetime | None = None,
    ) -> tuple[str, TokenInfo]:
        """Make a token.

        Returns:
            The token, which is never shown again, and what is known about it.

        Raises:
            RoleUnknown: a role that does not exist, or none.
        """
        token, values = _new_token(label, roles, by, now, expires_at)
        with self._database.write() as connection:
            connection.execute(insert(admin_token).values(**values))
            return token, _info(_row(connection, values["id"]))

    def bootstrap(self, path: Path, now: datetime) -> bool:
        """At the very first start make an ``admin`` token and write it to ``path``, mode 0600.

        The file is written before the row is committed: a crash between leaves a file whose token is
        unknown, which the next start replaces.

        Returns:
            Whether one was made.
        """
        token, values = _new_token("bootstrap", ("admin",), "first start", now, None)
        with self._database.write() as connection:
            if connection.execute(select(func.count()).select_from(admin_token)).scalar_one():
                return False
            write_private(path, token.encode("ascii") + b"\n")
            connection.execute(insert(admin_token).values(**values))
        return True

    def authenticate(self, authorization: str | None, now: datetime) -> Principal:
        """Who sends this ``Authorization`` header.

        Raises:
            Unauthenticated: no bearer token of ours, or unknown, expired or revoked. The message does
                not tell which, beyond "no token" and "not valid".
        """
        match = _HEADER.match(authorization or "")
        if match is None:
            raise Unauthenticated("no admin bearer token was sent")
        token_id, secret = match.groups()
        with self._database.read() as connection:
            row = (
                connection.execute(select(admin_token).where(admin_token.c.id == token_id))
                .mappings()
                .first()
            )
        known = _NO_HASH if row is None else str(row["secret_hash"])
        proven = hmac.compare_digest(known, _hash(secret))
        if row is None or not proven or not _valid(row, now):
            raise Unauthenticated("the bearer token is not valid")
        roles = str(row["roles"]).split(" ")
        scopes = frozenset[Scope]().union(*(ROLES.get(role, frozenset()) for role in roles))
        return Principal(id=token_id, label=str(row["label"]), scopes=scopes)

    def list(self) -> tuple[TokenInfo, ...]:
        """Every token, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(admin_token).order_by(admin_token.c.created_at)).mappings()
            return tuple(_info(row) for row in rows)

    def revoke(self, token_id: str, now: datetime) -> TokenInfo:
        """End a token at once, on every replica. Revoking twice keeps the first time.

        Raises:
            NotFound: no such token.
        """
        with self._database.write() as connection:
            connection.execute(
                update(admin_token)
                .where(admin_token.c.id == token_id, admin_token.c.revoked_at.is_(None))
                .values(revoked_at=to_micros(now))
            )
            return _info(_row(connection, token_id))


def _new_token(
    label: str, roles: Sequence[str], by: str, now: datetime, expires_at: datetime | None
) -> tuple[str, dict[str, object]]:
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not roles:
        raise RoleUnknown(f"no such role: {', '.join(unknown)}" if unknown else "a token needs a role")
    token_id = secrets.token_hex(_ID_BYTES)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    values: dict[str, object] = {
        "id": token_id,
        "secret_hash": _hash(secret),
        "label": label,
        "roles": " ".join(sorted(set(roles))),
        "created_at": to_micros(now),
        "created_by": by,
        "expires_at": None if expires_at is None else to_micros(expires_at),
    }
    return f"ts_{token_id}_{secret}", values


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("ascii")).hexdigest()


def _valid(row: RowMapping, now: datetime) -> bool:
    expires_at = row["expires_at"]
    return row["revoked_at"] is None and (expires_at is None or expires_at > to_micros(now))


def _row(connection: Connection, token_id: object) -> RowMapping:
    row = connection.execute(select(admin_token).where(admin_token.c.id == token_id)).mappings().first()
    if row is None:
        raise NotFound("no token has that id", advice="`touchstone token list` shows the ids.")
    return row


def _info(row: RowMapping) -> TokenInfo:
    return TokenInfo(
        id=row["id"],
        label=row["label"],
        roles=tuple(row["roles"].split(" ")),
        created_at=from_micros(row["created_at"]),
        created_by=row["created_by"],
        expires_at=None if row["expires_at"] is None else from_micros(row["expires_at"]),
        revoked_at=None if row["revoked_at"] is None else from_micros(row["revoked_at"]),
    )
