"""Widens the index of orders that need a decision by all that is read of many of them.

Each part has its own steps, there and back.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

FLAGGED = "attention IS NOT NULL AND acknowledged_at IS NULL"
OF_FLAGGED = [
    *("created_at", "id", "po_number", "attention_reason", "currency", "value_minor"),
    *("snoozed_at", "snoozed_until", "assignee"),
]
WIDENED: tuple[tuple[str, str, list[str], str], ...] = (("ix_orders_flagged", "orders", OF_FLAGGED, FLAGGED),)
"""Name, table, columns and condition of each index that had its first column alone until now."""


def upgrade() -> None:
    _widen_indexes()


def _widen_indexes() -> None:
    for name, table, columns, condition in WIDENED:
        op.drop_index(name, table)
        _index(name, table, columns, condition)


def _index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def _narrow_indexes() -> None:
    for name, table, columns, condition in reversed(WIDENED):
        op.drop_index(name, table)
        _index(name, table, columns[:1], condition)


def downgrade() -> None:
    _narrow_indexes()
