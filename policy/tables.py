"""Tables of the policy room.

Invariants: a version is written once; an activation is written once. Which version is active is the one
mutable row, ``policy_active``; ``policy_activation`` tells how it came to be. Every change of it takes
the row of ``policy_state`` first, which orders all writers and counts for readers that cache.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    Text,
    event,
)

from storage.metadata import METADATA

# SQLite makes only INTEGER keys an alias of its row id.
_RowId: Any = BigInteger().with_variant(Integer, "sqlite")

policy_state = Table(
    "policy_state",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("generation", BigInteger, nullable=False),  # number of activations so far
    CheckConstraint("id = 1", name="ck_policy_state_single"),
)

policy_version = Table(
    "policy_version",
    METADATA,
    Column("kind", String(16), primary_key=True),  # policy.port.PolicyKind
    Column("name", String(128), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 ...
    Column("digest", String(64), nullable=False),  # SHA-256 of the text's UTF-8, hex
    Column("text", Text, nullable=False),  # exactly as uploaded
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),  # microseconds since the epoch
)

policy_activation = Table(
    "policy_activation",
    METADATA,
    Column("seq", _RowId, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("name", String(128), nullable=False),
    Column("version", Integer, nullable=False),
    Column("action", String(16), nullable=False),  # activate, rollback
    # The activation that a rollback of this one goes back to; null: there is none.
    Column("previous", _RowId, ForeignKey("policy_activation.seq")),
    Column("by", Text, nullable=False),
    Column("at", BigInteger, nullable=False),  # microseconds since the epoch
    ForeignKeyConstraint(
        ["kind", "name", "version"],
        ["policy_version.kind", "policy_version.name", "policy_version.version"],
    ),
    Index("ix_policy_activation_kind_name_seq", "kind", "name", "seq"),
)

policy_active = Table(
    "policy_active",
    METADATA,
    Column("kind", String(16), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("activation", _RowId, ForeignKey("policy_activation.seq"), nullable=False),
    ForeignKeyConstraint(
        ["kind", "name", "version"],
        ["policy_version.kind", "policy_version.name", "policy_version.version"],
    ),
)

# Highest serial that was ever active, of policies that have serials: they never go back.
policy_serial = Table(
    "policy_serial",
    METADATA,
    Column("kind", String(16), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("serial", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),  # of the document with that serial, hex
    Column("at", BigInteger, nullable=False),  # microseconds since the epoch
)

_seed = "INSERT INTO policy_state (id, generation) VALUES (1, 0)"
event.listen(policy_state, "after_create", DDL(_seed))  # type: ignore[no-untyped-call]
