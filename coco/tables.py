"""Tables of the Confidential Containers room: KBS sessions whose nonce is spent."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table, Text

from storage.metadata import METADATA

# A session is in no table before its nonce is spent: until then the cookie alone carries it (coco.session).
kbs_session = Table(
    "kbs_session",
    METADATA,
    Column("id", String(64), primary_key=True),  # hex
    Column("expires_at", BigInteger, nullable=False),  # microseconds since the epoch
    Column("token", Text),  # the attestation result; null: the attestation failed, or is under way
    Index("ix_kbs_session_expires_at", "expires_at"),
)
