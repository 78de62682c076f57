"""Signed checkpoints of the audit log: they show that its end was cut off or that it was rewritten.

A checkpoint is a compact JWS (RFC 7515), ES256, over RFC 8785 JSON ``{"at", "digest", "sequence"}``, by
a key that signs nothing else. It stands in the database and, appended, in a file that an operator can
copy elsewhere: an attacker who rewrites the database cannot make it agree with the copy.

A checkpoint is written after ``every`` records or ``interval`` of time, whichever comes first, and at a
graceful stop. It follows what it covers; it is not a condition of a release (the audit record is).
"""

from __future__ import annotations

import fcntl
import logging
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from sqlalchemy import func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from common import strict_json
from common.binding import thumbprint_text
from common.errors import DatabaseUnavailable, InputError, InvalidSetting
from common.files import read_limited, read_private
from kms.audit import lock_head, read_head
from kms.errors import AuditUnavailable, CheckpointInvalid
from kms.files import create_once
from kms.tables import audit_checkpoint, audit_record
from storage.database import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sqlalchemy import Connection

    from storage.database import Database

_LOG = logging.getLogger(__name__)
_ALGORITHM = "ES256"
_TYPE = "touchstone-audit-checkpoint"
_MAX_FILE_BYTES = 256 << 20
_FILE_MODE = 0o644


class Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a checkpoint says.

    Attributes:
        sequence: the last record it covers.
        digest: that record's digest, hex.
        at: RFC 3339 UTC.
    """

    sequence: int
    digest: str
    at: str


class CheckpointKey:
    """The ES256 key that signs checkpoints and nothing else."""

    def __init__(self, private_key: ec.EllipticCurvePrivateKey) -> None:
        """Prepare header and public key."""
        self._key = ECKey.import_key(private_key)
        public = self._key.as_dict(private=False)
        members = {name: str(public[name]) for name in ("kty", "crv", "x", "y")}
        self.public_jwk: dict[str, str] = members | {"kid": thumbprint_text(members)}

    @classmethod
    def open_or_create(cls, path: Path) -> CheckpointKey:
        """Open a PEM file of mode 0600, or make it.

        Raises:
            InvalidSetting: not a P-256 key, readable by others, or the folder cannot be written.
        """
        if not path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            create_once(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        try:
            loaded = load_pem_private_key(read_private(path, what="checkpoint key"), password=None)
        except (ValueError, TypeError) as error:
            raise InvalidSetting(f"{path} is not an unencrypted PEM private key") from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey) or not isinstance(loaded.curve, ec.SECP256R1):
            raise InvalidSetting(f"{path} is not a P-256 key")
        return cls(loaded)

    def sign(self, checkpoint: Checkpoint) -> str:
        """The checkpoint as a compact JWS."""
        header = {"alg": _ALGORITHM, "typ": _TYPE, "kid": self.public_jwk["kid"]}
        payload = strict_json.canonical(msgspec.structs.asdict(checkpoint))
        return jws.serialize_compact(header, payload, self._key, algorithms=[_ALGORITHM])


def read_checkpoint(token: str, public_jwk: Mapping[str, str]) -> Checkpoint:
    """Verify a checkpoint.

    Raises:
        CheckpointInvalid: not signed by that key, or not a checkpoint.
    """
    try:
        key = ECKey.import_key(dict(public_jwk))
        signed = jws.deserialize_compact(token, key, algorithms=[_ALGORITHM])
        if signed.headers() != {"alg": _ALGORITHM, "typ": _TYPE, "kid": public_jwk["kid"]}:
            raise CheckpointInvalid("the checkpoint's header is not ours")
        document = strict_json.loads(signed.payload, what="checkpoint")
        return msgspec.convert(document, Checkpoint)
    except (JoseError, ValueError, InputError, msgspec.ValidationError) as error:
        raise CheckpointInvalid("the checkpoint is not signed by the checkpoint key") from error


class Checkpointer:
    """Writes checkpoints of one log.

    Args:
        database: of the log.
        key: signs.
        path: file of one JWS a line, appended to; None for the database alone.
        every: records between checkpoints.
        interval: time between checkpoints, while there are new records.
    """

    def __init__(
        self,
        database: Database,
        key: CheckpointKey,
        path: Path | None,
        *,
        every: int = 256,
        interval: timedelta = timedelta(minutes=1),
    ) -> None:
        """Keep the parts."""
        self._database = database
        self._key = key
        self._path = path
        self._every = every
        self._interval = interval
        self._last_sequence = 0
        self._last_at: datetime | None = None

    def after(self, sequence: int, now: datetime) -> None:
        """Tell of a committed record; writes a checkpoint when one is due.

        A failure is logged, not raised: the record is committed, and ``verify`` says how many records
        no checkpoint covers.
        """
        due = (
            self._last_at is None
            or sequence - self._last_sequence >= self._every
            or now - self._last_at >= self._interval
        )
        if not due:
            return
        try:
            self.write(now)
        except AuditUnavailable:
            _LOG.exception("an audit checkpoint could not be written")

    def write(self, now: datetime) -> Checkpoint | None:
        """Sign the present end of the log; None if it is covered already.

        Raises:
            AuditUnavailable: the database or the file cannot be written.
        """
        try:
            return self._write(now)
        except (DatabaseUnavailable, SQLAlchemyError, OSError) as error:
            raise AuditUnavailable("the audit checkpoint could not be written") from error

    def _write(self, now: datetime) -> Checkpoint | None:
        with self._database.write() as connection:
            lock_head(connection)
            head = read_head(connection)
            covered = connection.execute(select(func.max(audit_checkpoint.c.sequence))).scalar() or 0
            self._last_sequence, self._last_at = max(covered, head.sequence), now
            if head.sequence <= covered:
                return None
            checkpoint = Checkpoint(head.sequence, head.digest, now.astimezone(UTC).isoformat())
            token = self._key.sign(checkpoint)
            connection.execute(
                insert(audit_checkpoint).values(sequence=head.sequence, at=to_micros(now), token=token)
            )
        if self._path is not None:
            _append_line(self._path, token)
        return checkpoint


class CheckpointVerification(msgspec.Struct, frozen=True, omit_defaults=True):
    """Result of holding checkpoints against the log.

    Attributes:
        holds: whether all agree.
        checkpoints: how many were compared.
        covered: the highest sequence that a checkpoint covers.
        broken_at: sequence of the first checkpoint that does not agree.
        reason: what is wrong there.
    """

    holds: bool
    checkpoints: int
    covered: int
    broken_at: int | None = None
    reason: str = ""


def verify_checkpoints(
    database: Database, public_jwk: Mapping[str, str], path: Path | None
) -> CheckpointVerification:
    """Hold every checkpoint in the database, and in the file if given, against the log.

    The log itself is verified by ``AuditLog.verify``; here each checkpoint must name the digest that
    its record has. A checkpoint beyond the end of the log means that the end was cut off, or that a
    backup was restored.

    Raises:
        NotFound: the file is not there.
    """
    tokens = _file_tokens(path) if path is not None else []
    with database.read() as connection:
        rows = connection.execute(select(audit_checkpoint.c.token).order_by(audit_checkpoint.c.sequence))
        tokens.extend(row.token for row in rows)
        return _compare(connection, tokens, public_jwk)


def _compare(
    connection: Connection, tokens: Iterable[str], public_jwk: Mapping[str, str]
) -> CheckpointVerification:
    count = covered = 0
    for token in tokens:
        try:
            checkpoint = read_checkpoint(token, public_jwk)
        except CheckpointInvalid as error:
            return _broken(count, covered, covered + 1, error.message)
        digest = connection.execute(
            select(audit_record.c.digest).where(audit_record.c.sequence == checkpoint.sequence)
        ).scalar()
        if digest is None:
            reason = "the log ends before this checkpoint: records were removed, or a backup restored"
            return _broken(count, covered, checkpoint.sequence, reason)
        if digest != checkpoint.digest:
            reason = "the record is not the one that was signed: the log was rewritten"
            return _broken(count, covered, checkpoint.sequence, reason)
        count, covered = count + 1, max(covered, checkpoint.sequence)
    return CheckpointVerification(holds=True, checkpoints=count, covered=covered)


def _broken(count: int, covered: int, at: int, reason: str) -> CheckpointVerification:
    return CheckpointVerification(
        holds=False, checkpoints=count, covered=covered, broken_at=at, reason=reason
    )


def _file_tokens(path: Path) -> list[str]:
    data: Any = read_limited(path, what="checkpoints", max_bytes=_MAX_FILE_BYTES)
    return str(data.decode("ascii", "replace")).split()


def _append_line(path: Path, token: str) -> None:
    """Append one line durably; a lock keeps lines of several processes whole."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, token.encode("ascii") + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
