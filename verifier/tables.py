"""Tables of the verifier room: challenges that are still unspent, and the record of appraisals."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, String, Table, Text

from storage.metadata import METADATA

challenge = Table(
    "challenge",
    METADATA,
    Column("nonce", String(64), primary_key=True),  # hex of 32 bytes
    Column("tee", String(16), nullable=False),
    Column("expires_at", BigInteger, nullable=False),  # microseconds since the epoch
    Column("credential_secret", LargeBinary),  # TPM: what ActivateCredential must give back
    Index("ix_challenge_expires_at", "expires_at"),
)

appraisal = Table(
    "appraisal",
    METADATA,
    Column("jti", String(64), primary_key=True),
    Column("at", BigInteger, nullable=False),  # microseconds since the epoch
    Column("tee", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("bound", String(16), nullable=False),
    Column("identity", Text),
    Column("evidence_digest", String(64), nullable=False),
    Column("policy_digest", String(64), nullable=False),
    Column("snapshot", String(64), nullable=False),
    Index("ix_appraisal_at", "at"),
)

# Which reference values an appraisal rests on: what a retraction must be able to find.
appraisal_reference = Table(
    "appraisal_reference",
    METADATA,
    Column("jti", String(64), ForeignKey("appraisal.jti"), primary_key=True),
    Column("reference_id", String(64), primary_key=True),
    Index("ix_appraisal_reference_reference_id", "reference_id"),
)
