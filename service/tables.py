"""Tables of the service room: the tokens that admin calls are made with, and how far peers were followed.

Of a token only the SHA-256 of its secret part is kept. The secret is 256 random bits, so that a plain
hash is as good as a slow one: there is no dictionary to try.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, String, Table

from storage.metadata import METADATA

admin_token = Table(
    "admin_token",
    METADATA,
    Column("id", String(32), primary_key=True),  # public part of the token, hex
    Column("secret_hash", String(64), nullable=False),  # SHA-256 of the secret part, hex
    Column("label", String(128), nullable=False),  # who or what holds it
    Column("roles", String(256), nullable=False),  # role names, separated by single spaces
    Column("created_at", BigInteger, nullable=False),  # microseconds since the epoch
    Column("created_by", String(128), nullable=False),
    Column("expires_at", BigInteger),  # microseconds since the epoch; null: does not expire
    Column("revoked_at", BigInteger),  # microseconds since the epoch; null: not revoked
)

feed_cursor = Table(
    "feed_cursor",
    METADATA,
    Column("instance", String(255), primary_key=True),  # the peer
    Column("epoch", BigInteger, nullable=False),  # of its last change that was taken
    Column("chain", String(64), nullable=False),  # its chain digest after that change, hex
    Column("at", BigInteger, nullable=False),  # microseconds since the epoch
)
