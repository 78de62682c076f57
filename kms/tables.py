"""Tables of the secrets room: secrets at rest, the audit log, releases.

Invariants:

* ``secret_version`` holds ciphertext only. Its key is wrapped under the root key, and both layers are
  bound to (kind, id, version, release policy): a row moved or renamed does not open.
* ``secret_state`` is append-only: a version's state is its last entry, and a version with any
  ``destroyed`` entry is destroyed, whatever stands after it or comes back from a backup.
* ``audit_record`` is append-only, its sequence has no gap. ``audit_head`` is the one row that writers
  queue on.
* A ``secret_release`` row has the sequence of its own audit record as key: neither is there without
  the other.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from storage.metadata import METADATA

SECRET_ID_LENGTH = 400

secret = Table(
    "secret",
    METADATA,
    Column("kind", String(16), primary_key=True),  # resource, key
    Column("id", String(SECRET_ID_LENGTH), primary_key=True),
    Column("latest_version", Integer, nullable=False),  # highest ever given out; never goes back
    Column("created_at", BigInteger, nullable=False),  # microseconds since the epoch
)

secret_version = Table(
    "secret_version",
    METADATA,
    Column("kind", String(16), primary_key=True),
    Column("id", String(SECRET_ID_LENGTH), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("release_policy", String(128), nullable=False),  # name; part of what the blob is bound to
    Column("created_at", BigInteger, nullable=False),  # microseconds since the epoch
    Column("created_by", Text, nullable=False),
    Column("size", Integer, nullable=False),  # bytes of the plaintext
    Column("root_key", String(64)),  # id of the root key version; null once destroyed
    Column("wrapped_key", LargeBinary),  # data key under the root key; null once destroyed
    Column("ciphertext", LargeBinary),  # nonce, AES-256-GCM ciphertext and tag; null once destroyed
    ForeignKeyConstraint(["kind", "id"], ["secret.kind", "secret.id"]),
)

secret_state = Table(
    "secret_state",
    METADATA,
    Column("kind", String(16), primary_key=True),
    Column("id", String(SECRET_ID_LENGTH), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("serial", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 ... per version
    Column("state", String(16), nullable=False),  # active, disabled, destroyed
    Column("at", BigInteger, nullable=False),  # microseconds since the epoch
    Column("by", Text, nullable=False),
    ForeignKeyConstraint(
        ["kind", "id", "version"],
        ["secret_version.kind", "secret_version.id", "secret_version.version"],
    ),
)

audit_record = Table(
    "audit_record",
    METADATA,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),  # 1, 2, 3 ...
    Column("at", BigInteger, nullable=False),  # microseconds since the epoch; also in the entry
    Column("action", String(64), nullable=False),  # also in the entry
    Column("target", String(512), nullable=False),  # also in the entry
    Column("entry", LargeBinary, nullable=False),  # RFC 8785 JSON: what the digest covers
    Column("digest", String(64), nullable=False),  # SHA-256(previous digest || entry), hex
    Index("ix_audit_record_action_sequence", "action", "sequence"),
    Index("ix_audit_record_target_sequence", "target", "sequence"),
)

audit_head = Table(
    "audit_head",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("sequence", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
)

audit_checkpoint = Table(
    "audit_checkpoint",
    METADATA,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),  # microseconds since the epoch
    Column("token", Text, nullable=False),  # compact JWS over sequence, digest and time
)

secret_release = Table(
    "secret_release",
    METADATA,
    Column(
        "sequence",
        BigInteger,
        ForeignKey("audit_record.sequence"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("at", BigInteger, nullable=False),  # microseconds since the epoch
    Column("jti", String(64), nullable=False),  # the attestation result's id
    Column("identity", Text),  # hardware identity, if proven
    Column("kind", String(16), nullable=False),
    Column("id", String(SECRET_ID_LENGTH), nullable=False),
    Column("version", Integer, nullable=False),
    Column("evidence_digest", String(64), nullable=False),  # SHA-256, hex
    Column("appraisal_policy", String(64), nullable=False),  # digest, SHA-256, hex
    Column("release_policy", String(64), nullable=False),  # digest, SHA-256, hex
    Column("snapshot", String(64), nullable=False),  # reference-value snapshot of the appraisal
    Index("ix_secret_release_jti", "jti"),
    Index("ix_secret_release_quota", "kind", "id", "identity", "at"),
)

# Which reference values a release rested on: what a retraction must be able to find.
release_reference = Table(
    "release_reference",
    METADATA,
    Column(
        "sequence",
        BigInteger,
        ForeignKey("secret_release.sequence"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("reference_id", String(64), primary_key=True),
    Index("ix_release_reference_reference_id", "reference_id"),
)
