"""Lineage complete: certificates, materials, tools; trust domains; values that nobody signed.

What was there keeps its meaning: rows of the first schema are verified, need one trust domain, and were
derived by their rule with no tool recorded. A key's digest is taken from the identity that names it; of
certificates it was not kept, so that those rows have none.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_LIVE = "retraction IS NULL AND unverified IS NULL"
_LIVE_UNVERIFIED = "retraction IS NULL AND unverified IS NOT NULL"
_SQLITE_TOOL = "(CASE json_type(inputs, '$.tool') WHEN 'text' THEN json_extract(inputs, '$.tool') END)"
_POSTGRESQL_TOOL = (
    "(CASE json_typeof(inputs::json -> 'tool') WHEN 'string' THEN inputs::json ->> 'tool' END)"
)
_LIVE_CONTEST = "retraction IS NULL AND contest IS NOT NULL"


def upgrade() -> None:
    op.add_column("attestation", sa.Column("log_id", sa.Text(), nullable=True))
    op.add_column("attestation", sa.Column("unverified", sa.Boolean(), nullable=True))
    _signers()
    _materials()
    _values()


def _signers() -> None:
    op.add_column("attestation_signer", sa.Column("certificate", sa.String(length=64), nullable=True))
    op.add_column("attestation_signer", sa.Column("serial", sa.Text(), nullable=True))
    op.add_column("attestation_signer", sa.Column("key", sa.String(length=64), nullable=True))
    # "key:" and 64 hexadecimal digits, see provenance.model.Signer.
    op.execute("UPDATE attestation_signer SET key = substr(identity, 5) WHERE kind = 'key'")
    op.create_index("ix_attestation_signer_certificate", "attestation_signer", ["certificate"])
    op.create_index("ix_attestation_signer_key", "attestation_signer", ["key"])


def _materials() -> None:
    op.create_table(
        "attestation_material",
        sa.Column("attestation", sa.String(length=64), nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("algorithm", sa.String(length=64), nullable=False),
        sa.Column("uri", sa.Text(), nullable=True),
        sa.Column("digest", sa.String(length=256), nullable=True),
        sa.ForeignKeyConstraint(
            ["attestation"], ["attestation.digest"], name=op.f("fk_attestation_material_attestation")
        ),
        sa.PrimaryKeyConstraint(
            "attestation", "ordinal", "algorithm", name=op.f("pk_attestation_material")
        ),
    )
    op.create_index("ix_attestation_material_digest", "attestation_material", ["digest"])
    op.create_index("ix_attestation_material_uri", "attestation_material", ["uri"])


def _values() -> None:
    op.create_table(
        "derivation_part",
        sa.Column("derivation", sa.Text(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("derivation", "part", name=op.f("pk_derivation_part")),
    )
    op.create_index("ix_derivation_part_part", "derivation_part", ["part"])
    op.add_column("reference_value", sa.Column("unverified", sa.Boolean(), nullable=True))
    op.add_column("reference_value", sa.Column("contest", sa.String(length=64), nullable=True))
    op.add_column("reference_value", sa.Column("vote", sa.Text(), nullable=True))
    op.add_column("reference_value", sa.Column("derivation", sa.Text(), nullable=False, server_default=""))
    _derivations()
    op.drop_index("ix_reference_value_live", table_name="reference_value")
    for name, columns, condition in (
        ("live", ["name", "value_key", "expires"], _LIVE),
        ("unverified", ["name", "value_key", "expires"], _LIVE_UNVERIFIED),
        ("group_live", ["release_group", "name", "value_key"], _LIVE),
        ("contest", ["contest", "vote", "expires"], _LIVE_CONTEST),
    ):
        op.create_index(
            f"ix_reference_value_{name}",
            "reference_value",
            columns,
            sqlite_where=sa.text(condition),
            postgresql_where=sa.text(condition),
        )
    op.create_index("ix_reference_value_derivation", "reference_value", ["derivation"])
    op.create_index("ix_reference_value_submitted_by", "reference_value", ["submitted_by"])


def _derivations() -> None:
    """Rule and, where the inputs name one, tool of every value, as ``rvps.derivations`` writes them."""
    tool = _POSTGRESQL_TOOL if op.get_bind().dialect.name == "postgresql" else _SQLITE_TOOL
    op.execute(
        f"UPDATE reference_value SET derivation = rule || COALESCE(' ' || replace({tool}, ' ', '_'), '')"  # noqa: S608
    )
    op.execute(
        "INSERT INTO derivation_part (derivation, part) "
        "SELECT DISTINCT derivation, rule FROM reference_value"
    )
    op.execute(
        "INSERT INTO derivation_part (derivation, part) "
        "SELECT DISTINCT derivation, substr(derivation, length(rule) + 2) FROM reference_value "
        "WHERE length(derivation) > length(rule) + 1"
    )
