"""Widens indexes of orders by what is read of many orders in their order, so that no order's row is.

Each part has its own steps, there and back.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

FLAGGED = "attention IS NOT NULL AND acknowledged_at IS NULL"
UNSETTLED = f"(state NOT IN ('Completed', 'Cancelled', 'Refused') OR ({FLAGGED}))"
WIDENED: tuple[tuple[str, list[str], list[str], str], ...] = (
    ("ix_orders_created", ["created_at", "id"], ["po_folded"], ""),
    (
        "ix_orders_flagged",
        ["created_at"],
        [
            *("id", "po_number", "attention_reason", "currency", "value_minor"),
            *("snoozed_at", "snoozed_until", "assignee"),
        ],
        FLAGGED,
    ),
    (
        "ix_orders_mine",
        ["assignee", "created_at"],
        ["id", "snoozed_at", "snoozed_until"],
        f"assignee IS NOT NULL AND {UNSETTLED}",
    ),
)
"""Name, columns, more columns and condition of each index of orders that holds more of what is read by it now."""


def upgrade() -> None:
    _widen_indexes()


def _widen_indexes() -> None:
    for name, columns, more, condition in WIDENED:
        _make_anew(name, columns + more, condition)


def _narrow_indexes() -> None:
    for name, columns, _, condition in reversed(WIDENED):
        _make_anew(name, columns, condition)


def _make_anew(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition) if condition else None
    op.drop_index(name, "orders")
    op.create_index(name, "orders", columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    _narrow_indexes()
