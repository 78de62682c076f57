"""Alembic's environment: migrations run in the transaction that ``storage.migrate`` opened."""

from __future__ import annotations

from alembic import context

from storage.metadata import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
)
context.run_migrations()
