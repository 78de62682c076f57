"""Confidential Containers: KBS sessions, and reference values that an administrator declares."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "kbs_session",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kbs_session")),
    )
    op.create_index(op.f("ix_kbs_session_expires_at"), "kbs_session", ["expires_at"])
    op.create_table(
        "declared_value",
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("declared_at", sa.BigInteger(), nullable=False),
        sa.Column("declared_by", sa.String(length=2048), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_declared_value")),
    )
    op.create_index(op.f("ix_declared_value_id"), "declared_value", ["id"])
    op.add_column(
        "reference_state", sa.Column("declared", sa.BigInteger(), server_default="0", nullable=False)
    )
