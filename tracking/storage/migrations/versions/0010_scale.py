"""Keeps a store of a million orders flat: indexes for what pages read, the search's texts, checkpoints of logs.

Each part has its own steps, there and back.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

INDEXES = (("ix_orders_type", "orders", ["type", "created_at"]),)


def upgrade() -> None:
    _make_indexes()
    _mark_calls()


def _make_indexes() -> None:
    for name, table, columns in INDEXES:
        op.create_index(name, table, columns)


def _mark_calls() -> None:
    """Calls that were answered as the one before leave first; of those there were nobody can tell any more."""
    op.add_column("exchanges", sa.Column("unchanged", sa.Boolean(), nullable=False, server_default=sa.false()))
    unchanged = sa.text("unchanged")
    op.create_index(
        "ix_exchanges_unchanged", "exchanges", ["order_id", "id"], sqlite_where=unchanged, postgresql_where=unchanged
    )


def downgrade() -> None:
    _unmark_calls()
    _drop_indexes()


def _drop_indexes() -> None:
    for name, table, _ in reversed(INDEXES):
        op.drop_index(name, table)


def _unmark_calls() -> None:
    op.drop_index("ix_exchanges_unchanged", "exchanges")
    with op.batch_alter_table("exchanges") as exchanges:
        exchanges.drop_column("unchanged")
