"""The first schema: every table of every room, as the rooms' ``tables.py`` had them then.

Written out, not computed from those tables: a migration must do the same for ever.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_GENESIS = "e4f9740d01e07c40351f01a733f6804315dc44842b411b67746723774a7eb9e0"


def upgrade() -> None:  # noqa: PLR0915 (one statement per table and index)
    op.create_table(
        "admin_token",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=128), nullable=False),
        sa.Column("roles", sa.String(length=256), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_admin_token")),
    )
    op.create_table(
        "appraisal",
        sa.Column("jti", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("tee", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("bound", sa.String(length=16), nullable=False),
        sa.Column("identity", sa.Text(), nullable=True),
        sa.Column("evidence_digest", sa.String(length=64), nullable=False),
        sa.Column("policy_digest", sa.String(length=64), nullable=False),
        sa.Column("snapshot", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("jti", name=op.f("pk_appraisal")),
    )
    op.create_index("ix_appraisal_at", "appraisal", ["at"], unique=False)
    op.create_table(
        "audit_checkpoint",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_checkpoint")),
    )
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "audit_record",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("target", sa.String(length=512), nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_record")),
    )
    op.create_index("ix_audit_record_action_sequence", "audit_record", ["action", "sequence"], unique=False)
    op.create_index("ix_audit_record_target_sequence", "audit_record", ["target", "sequence"], unique=False)
    op.create_table(
        "challenge",
        sa.Column("nonce", sa.String(length=64), nullable=False),
        sa.Column("tee", sa.String(length=16), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("credential_secret", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("nonce", name=op.f("pk_challenge")),
    )
    op.create_index("ix_challenge_expires_at", "challenge", ["expires_at"], unique=False)
    op.create_table(
        "policy_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_policy_state_single"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy_state")),
    )
    op.create_table(
        "policy_version",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", "version", name=op.f("pk_policy_version")),
    )
    op.create_table(
        "reference_change",
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("chain", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_reference_change")),
    )
    op.create_table(
        "reference_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("chain", sa.String(length=64), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_reference_state_single"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reference_state")),
    )
    op.create_table(
        "retraction",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=True),
        sa.Column("since", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retraction")),
        sa.UniqueConstraint("epoch", name=op.f("uq_retraction_epoch")),
    )
    op.create_index("ix_retraction_kind_value", "retraction", ["kind", "value"], unique=False)
    op.create_table(
        "secret",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("id", sa.String(length=400), nullable=False),
        sa.Column("latest_version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "id", name=op.f("pk_secret")),
    )
    op.create_table(
        "appraisal_reference",
        sa.Column("jti", sa.String(length=64), nullable=False),
        sa.Column("reference_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["jti"], ["appraisal.jti"], name=op.f("fk_appraisal_reference_jti")),
        sa.PrimaryKeyConstraint("jti", "reference_id", name=op.f("pk_appraisal_reference")),
    )
    op.create_index(
        "ix_appraisal_reference_reference_id", "appraisal_reference", ["reference_id"], unique=False
    )
    op.create_table(
        "attestation",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("predicate_type", sa.Text(), nullable=False),
        sa.Column("signer", sa.Text(), nullable=False),
        sa.Column("signer_issuer", sa.Text(), nullable=True),
        sa.Column("signer_root", sa.Text(), nullable=False),
        sa.Column("signers", sa.Integer(), nullable=False),
        sa.Column("builder", sa.Text(), nullable=True),
        sa.Column("source_uri", sa.Text(), nullable=True),
        sa.Column("source_revision", sa.Text(), nullable=True),
        sa.Column("signed_at", sa.BigInteger(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=True),
        sa.Column("log_time", sa.BigInteger(), nullable=True),
        sa.Column("effective_at", sa.BigInteger(), nullable=False),
        sa.Column("trust_policy", sa.Text(), nullable=False),
        sa.Column("submitted_by", sa.Text(), nullable=False),
        sa.Column("submitted_at", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("retraction", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["retraction"], ["retraction.id"], name=op.f("fk_attestation_retraction")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_attestation")),
        sa.UniqueConstraint("epoch", name=op.f("uq_attestation_epoch")),
    )
    op.create_index("ix_attestation_builder", "attestation", ["builder"], unique=False)
    op.create_index("ix_attestation_source_revision", "attestation", ["source_revision"], unique=False)
    op.create_index("ix_attestation_source_uri", "attestation", ["source_uri"], unique=False)
    op.create_table(
        "policy_activation",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("previous", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["kind", "name", "version"],
            ["policy_version.kind", "policy_version.name", "policy_version.version"],
            name=op.f("fk_policy_activation_kind_name_version"),
        ),
        sa.ForeignKeyConstraint(
            ["previous"], ["policy_activation.seq"], name=op.f("fk_policy_activation_previous")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_policy_activation")),
    )
    op.create_index(
        "ix_policy_activation_kind_name_seq", "policy_activation", ["kind", "name", "seq"], unique=False
    )
    op.create_table(
        "secret_release",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("jti", sa.String(length=64), nullable=False),
        sa.Column("identity", sa.Text(), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("id", sa.String(length=400), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("evidence_digest", sa.String(length=64), nullable=False),
        sa.Column("appraisal_policy", sa.String(length=64), nullable=False),
        sa.Column("release_policy", sa.String(length=64), nullable=False),
        sa.Column("snapshot", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["sequence"], ["audit_record.sequence"], name=op.f("fk_secret_release_sequence")
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_secret_release")),
    )
    op.create_index("ix_secret_release_jti", "secret_release", ["jti"], unique=False)
    op.create_index(
        "ix_secret_release_quota", "secret_release", ["kind", "id", "identity", "at"], unique=False
    )
    op.create_table(
        "secret_version",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("id", sa.String(length=400), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("release_policy", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("root_key", sa.String(length=64), nullable=True),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=True),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["kind", "id"], ["secret.kind", "secret.id"], name=op.f("fk_secret_version_kind_id")
        ),
        sa.PrimaryKeyConstraint("kind", "id", "version", name=op.f("pk_secret_version")),
    )
    op.create_table(
        "attestation_document",
        sa.Column("attestation", sa.String(length=64), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("checks", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attestation"], ["attestation.digest"], name=op.f("fk_attestation_document_attestation")
        ),
        sa.PrimaryKeyConstraint("attestation", name=op.f("pk_attestation_document")),
    )
    op.create_table(
        "attestation_origin",
        sa.Column("attestation", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(length=64), nullable=False),
        sa.Column("builder", sa.Text(), nullable=True),
        sa.Column("source_uri", sa.Text(), nullable=True),
        sa.Column("source_revision", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["attestation"], ["attestation.digest"], name=op.f("fk_attestation_origin_attestation")
        ),
        sa.PrimaryKeyConstraint("attestation", "origin", name=op.f("pk_attestation_origin")),
    )
    op.create_index("ix_attestation_origin_builder", "attestation_origin", ["builder"], unique=False)
    op.create_index("ix_attestation_origin_origin", "attestation_origin", ["origin"], unique=False)
    op.create_index(
        "ix_attestation_origin_source_revision", "attestation_origin", ["source_revision"], unique=False
    )
    op.create_index("ix_attestation_origin_source_uri", "attestation_origin", ["source_uri"], unique=False)
    op.create_table(
        "attestation_signer",
        sa.Column("attestation", sa.String(length=64), nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=True),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("claims", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attestation"], ["attestation.digest"], name=op.f("fk_attestation_signer_attestation")
        ),
        sa.PrimaryKeyConstraint("attestation", "ordinal", name=op.f("pk_attestation_signer")),
    )
    op.create_index("ix_attestation_signer_identity", "attestation_signer", ["identity"], unique=False)
    op.create_table(
        "policy_active",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("activation", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["activation"], ["policy_activation.seq"], name=op.f("fk_policy_active_activation")
        ),
        sa.ForeignKeyConstraint(
            ["kind", "name", "version"],
            ["policy_version.kind", "policy_version.name", "policy_version.version"],
            name=op.f("fk_policy_active_kind_name_version"),
        ),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_policy_active")),
    )
    op.create_table(
        "reference_value",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("value_key", sa.Text(), nullable=False),
        sa.Column("tee", sa.String(length=16), nullable=False),
        sa.Column("release_group", sa.Text(), nullable=False),
        sa.Column("scalar", sa.Boolean(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("inputs", sa.Text(), nullable=False),
        sa.Column("attestation", sa.String(length=64), nullable=False),
        sa.Column("trust_policy", sa.Text(), nullable=False),
        sa.Column("submitted_by", sa.Text(), nullable=False),
        sa.Column("submitted_at", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("retraction", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["attestation"], ["attestation.digest"], name=op.f("fk_reference_value_attestation")
        ),
        sa.ForeignKeyConstraint(
            ["retraction"], ["retraction.id"], name=op.f("fk_reference_value_retraction")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_reference_value")),
        sa.UniqueConstraint("id", name=op.f("uq_reference_value_id")),
    )
    op.create_index(
        "ix_reference_value_attestation_seq", "reference_value", ["attestation", "seq"], unique=False
    )
    op.create_index(
        "ix_reference_value_live",
        "reference_value",
        ["name", "value_key", "expires"],
        unique=False,
        sqlite_where=sa.text("retraction IS NULL"),
        postgresql_where=sa.text("retraction IS NULL"),
    )
    op.create_index("ix_reference_value_name_seq", "reference_value", ["name", "seq"], unique=False)
    op.create_index(
        "ix_reference_value_release_group_seq", "reference_value", ["release_group", "seq"], unique=False
    )
    op.create_index(
        "ix_reference_value_retraction",
        "reference_value",
        ["retraction"],
        unique=False,
        sqlite_where=sa.text("retraction IS NOT NULL"),
        postgresql_where=sa.text("retraction IS NOT NULL"),
    )
    op.create_table(
        "release_reference",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reference_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["sequence"], ["secret_release.sequence"], name=op.f("fk_release_reference_sequence")
        ),
        sa.PrimaryKeyConstraint("sequence", "reference_id", name=op.f("pk_release_reference")),
    )
    op.create_index(
        "ix_release_reference_reference_id", "release_reference", ["reference_id"], unique=False
    )
    op.create_table(
        "retraction_attestation",
        sa.Column("retraction", sa.String(length=64), nullable=False),
        sa.Column("attestation", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["attestation"], ["attestation.digest"], name=op.f("fk_retraction_attestation_attestation")
        ),
        sa.ForeignKeyConstraint(
            ["retraction"], ["retraction.id"], name=op.f("fk_retraction_attestation_retraction")
        ),
        sa.PrimaryKeyConstraint("retraction", "attestation", name=op.f("pk_retraction_attestation")),
    )
    op.create_index(
        "ix_retraction_attestation_attestation", "retraction_attestation", ["attestation"], unique=False
    )
    op.create_table(
        "secret_state",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("id", sa.String(length=400), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("serial", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["kind", "id", "version"],
            ["secret_version.kind", "secret_version.id", "secret_version.version"],
            name=op.f("fk_secret_state_kind_id_version"),
        ),
        sa.PrimaryKeyConstraint("kind", "id", "version", "serial", name=op.f("pk_secret_state")),
    )

    op.execute(f"INSERT INTO reference_state (id, epoch, chain) VALUES (1, 0, '{_GENESIS}')")  # noqa: S608
    op.execute("INSERT INTO policy_state (id, generation) VALUES (1, 0)")
