"""Tables of the reference-value room.

Invariants:

* Nothing is deleted or overwritten. A row's only change is ``retraction``, from null to the first
  retraction that hit it; later ones that hit the same attestation stand in ``retraction_attestation``.
* A value belongs to exactly one attestation; two attestations of the same value are two rows, so that
  each lineage lives and dies by itself.
* Times are microseconds since the epoch; ``expires`` of an unbounded value is ``NEVER``, so that one
  comparison serves bounded and unbounded values, and the index orders both.
* ``unverified`` is null for what somebody's signature was verified of, and true for the rest: the default
  of a column that is not set must not be read as either by a comparison.
* Every change of what may match takes the row of ``reference_state`` first, which orders all writers.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    event,
)

from storage.metadata import METADATA

# Largest signed 64-bit integer, in `expires`: no end of validity.
NEVER: Final = 2**63 - 1
# SHA-256 of GENESIS_TEXT: what the chain of changes starts from.
GENESIS_TEXT: Final = b"touchstone-reference-values-v1"
GENESIS: Final = "e4f9740d01e07c40351f01a733f6804315dc44842b411b67746723774a7eb9e0"

# SQLite makes only INTEGER keys an alias of its row id, PostgreSQL needs BIGINT for as many rows.
_RowId: Any = BigInteger().with_variant(Integer, "sqlite")

reference_state = Table(
    "reference_state",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),  # number of changes so far
    Column("chain", String(64), nullable=False),  # digest of the last one, hex
    # Number of changes of declared values so far: they are no part of the chain.
    Column("declared", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("id = 1", name="ck_reference_state_single"),
)

reference_change = Table(
    "reference_change",
    METADATA,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("record", Text, nullable=False),  # RFC 8785 JSON, exactly what was hashed
    Column("chain", String(64), nullable=False),  # SHA-256(previous || record), hex
)

retraction = Table(
    "retraction",
    METADATA,
    Column("id", String(64), primary_key=True),  # rt- and a digest of the target
    Column("kind", String(32), nullable=False),  # rvps.targets.TargetKind
    Column("value", Text, nullable=False),
    Column("issuer", Text),  # of a signer; null: whatever the issuer
    Column("since", BigInteger),  # null: at any time
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    UniqueConstraint("epoch"),
    Index("ix_retraction_kind_value", "kind", "value"),
)

attestation = Table(
    "attestation",
    METADATA,
    Column("digest", String(64), primary_key=True),  # SHA-256 of the envelope, hex
    Column("predicate_type", Text, nullable=False),
    Column("signer", Text, nullable=False),  # the first; all of them in attestation_signer
    Column("signer_issuer", Text),
    Column("signer_root", Text, nullable=False),
    Column("signers", Integer, nullable=False),  # how many
    Column("builder", Text),
    Column("source_uri", Text),
    Column("source_revision", Text),
    Column("signed_at", BigInteger, nullable=False),
    Column("log_index", BigInteger),
    Column("log_time", BigInteger),
    Column("log_id", Text),  # hex
    Column("unverified", Boolean),  # null: verified
    Column("effective_at", BigInteger, nullable=False),  # log_time, else signed_at: what `since` means
    Column("trust_policy", Text, nullable=False),  # digest of the one that first admitted it
    Column("submitted_by", Text, nullable=False),
    Column("submitted_at", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("retraction", String(64), ForeignKey("retraction.id")),
    UniqueConstraint("epoch"),  # one attestation a change: the order of listings
    Index("ix_attestation_builder", "builder"),
    Index("ix_attestation_source_uri", "source_uri"),
    Index("ix_attestation_source_revision", "source_revision"),
)

# Beside the row, not in it: a retraction rewrites the row, and an envelope may have megabytes.
attestation_document = Table(
    "attestation_document",
    METADATA,
    Column("attestation", String(64), ForeignKey("attestation.digest"), primary_key=True),
    Column("envelope", LargeBinary, nullable=False),  # the bytes received
    Column("checks", Text, nullable=False),  # JSON list of check records of the admission
)

attestation_signer = Table(
    "attestation_signer",
    METADATA,
    Column("attestation", String(64), ForeignKey("attestation.digest"), primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("identity", Text, nullable=False),
    Column("issuer", Text),
    Column("root", Text, nullable=False),
    Column("claims", Text, nullable=False),  # JSON object
    Column("certificate", String(64)),  # SHA-256 of its DER, hex
    Column("serial", Text),  # of the certificate, hex
    Column("key", String(64)),  # SHA-256 of the SubjectPublicKeyInfo, DER, hex
    Index("ix_attestation_signer_certificate", "certificate"),
    Index("ix_attestation_signer_identity", "identity"),
    Index("ix_attestation_signer_key", "key"),
)

# What the build consumed, by the builder's word: one row for each digest of each material.
attestation_material = Table(
    "attestation_material",
    METADATA,
    Column("attestation", String(64), ForeignKey("attestation.digest"), primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),  # of the material
    Column("algorithm", String(64), primary_key=True),  # empty: no digest is stated
    Column("uri", Text),
    Column("digest", String(256)),  # hex
    Index("ix_attestation_material_digest", "digest"),
    Index("ix_attestation_material_uri", "uri"),
)

# Attestations that a reference-value statement says its values come from; known here or not.
attestation_origin = Table(
    "attestation_origin",
    METADATA,
    Column("attestation", String(64), ForeignKey("attestation.digest"), primary_key=True),
    Column("origin", String(64), primary_key=True),  # digest of the attestation it rests on
    Column("builder", Text),
    Column("source_uri", Text),
    Column("source_revision", Text),
    Index("ix_attestation_origin_origin", "origin"),
    Index("ix_attestation_origin_builder", "builder"),
    Index("ix_attestation_origin_source_uri", "source_uri"),
    Index("ix_attestation_origin_source_revision", "source_revision"),
)

# Every attestation that a retraction covered, those included that another had covered before.
retraction_attestation = Table(
    "retraction_attestation",
    METADATA,
    Column("retraction", String(64), ForeignKey("retraction.id"), primary_key=True),
    Column("attestation", String(64), ForeignKey("attestation.digest"), primary_key=True),
    Index("ix_retraction_attestation_attestation", "attestation"),
)

# Rule and tools of each way of deriving there has been; few, whatever the number of values.
derivation_part = Table(
    "derivation_part",
    METADATA,
    Column("derivation", Text, primary_key=True),  # its parts, joined by a space
    Column("part", Text, primary_key=True),  # name/version
    Index("ix_derivation_part_part", "part"),
)

reference_value = Table(
    "reference_value",
    METADATA,
    Column("seq", _RowId, primary_key=True),  # order of arrival: what listings page by
    Column("id", String(64), nullable=False),  # rv- and a digest of what it is
    Column("name", Text, nullable=False),
    Column("value", Text, nullable=False),  # JSON scalar
    Column("value_key", Text, nullable=False),  # policy.port.canonical_key of it
    Column("tee", String(16), nullable=False),
    Column("release_group", Text, nullable=False),
    Column("scalar", Boolean, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),  # NEVER: unbounded
    Column("rule", Text, nullable=False),
    Column("inputs", Text, nullable=False),  # JSON object
    Column("attestation", String(64), ForeignKey("attestation.digest"), nullable=False),
    Column("trust_policy", Text, nullable=False),  # digest of the one that admitted this derivation
    Column("submitted_by", Text, nullable=False),
    Column("submitted_at", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("retraction", String(64), ForeignKey("retraction.id")),
    Column("unverified", Boolean),  # null: verified
    Column("contest", String(64)),  # what its vote is about (rvps.quorum); null: one domain suffices
    Column("vote", Text),  # which trust domains speak for it, on what ground
    Column("derivation", Text, nullable=False, server_default=""),  # derivation_part.derivation
    UniqueConstraint("id"),
    Index("ix_reference_value_derivation", "derivation"),
    Index("ix_reference_value_submitted_by", "submitted_by"),
    Index("ix_reference_value_name_seq", "name", "seq"),
    Index("ix_reference_value_release_group_seq", "release_group", "seq"),
    Index("ix_reference_value_attestation_seq", "attestation", "seq"),
)

# What look-ups seek in. Partial: the dead cost a look-up nothing, however many there are.
_LIVE: Final = and_(reference_value.c.retraction.is_(None), reference_value.c.unverified.is_(None))
_LIVE_UNVERIFIED: Final = and_(
    reference_value.c.retraction.is_(None), reference_value.c.unverified.is_not(None)
)
_LIVE_CONTEST: Final = and_(reference_value.c.retraction.is_(None), reference_value.c.contest.is_not(None))
Index(
    "ix_reference_value_live",
    reference_value.c.name,
    reference_value.c.value_key,
    reference_value.c.expires,
    sqlite_where=_LIVE,
    postgresql_where=_LIVE,
)
Index(
    "ix_reference_value_unverified",
    reference_value.c.name,
    reference_value.c.value_key,
    reference_value.c.expires,
    sqlite_where=_LIVE_UNVERIFIED,
    postgresql_where=_LIVE_UNVERIFIED,
)
Index(
    "ix_reference_value_group_live",
    reference_value.c.release_group,
    reference_value.c.name,
    reference_value.c.value_key,
    sqlite_where=_LIVE,
    postgresql_where=_LIVE,
)
Index(
    "ix_reference_value_contest",
    reference_value.c.contest,
    reference_value.c.vote,
    reference_value.c.expires,
    sqlite_where=_LIVE_CONTEST,
    postgresql_where=_LIVE_CONTEST,
)
Index(
    "ix_reference_value_retraction",
    reference_value.c.retraction,
    sqlite_where=reference_value.c.retraction.is_not(None),
    postgresql_where=reference_value.c.retraction.is_not(None),
)

_seed = f"INSERT INTO reference_state (id, epoch, chain) VALUES (1, 0, '{GENESIS}')"  # noqa: S608
event.listen(reference_state, "after_create", DDL(_seed))  # type: ignore[no-untyped-call]

# Reference values that an administrator declares by name (rvps.declared): one row a name, the newest word.
declared_value = Table(
    "declared_value",
    METADATA,
    Column("name", String(512), primary_key=True),
    Column("id", String(64), nullable=False),  # ``dv-`` and hex, of name and value
    Column("value", Text, nullable=False),  # JSON
    Column("kind", String(32), nullable=False),  # of the message that declared it: ``sample``, ``swid`` ...
    Column("declared_at", BigInteger, nullable=False),  # microseconds since the epoch
    Column("declared_by", String(2048), nullable=False),
    Column("expires_at", BigInteger, nullable=False),  # microseconds since the epoch
    Index("ix_declared_value_id", "id"),
)
