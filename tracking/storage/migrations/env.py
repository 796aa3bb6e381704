"""Alembic's entry: runs the revisions on the connection that `tracking.storage.engines` hands over."""

from alembic import context
from sqlmodel import SQLModel

import tracking.storage.tables

assert tracking.storage.tables.ORDERS is not None  # noqa: S101 - the import fills SQLModel.metadata  # nosec B101

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
