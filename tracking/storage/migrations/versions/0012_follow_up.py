"""Widens indexes of orders by what is read in their order, narrows that of calls that wait, says more of systems.

Each part has its own steps, there and back.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

from tracking.storage.migrations.frozen import UtcDateTime

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

OF_INTEGRATION: tuple[tuple[str, str, Any], ...] = (
    ("api_tokens", "expires_at", UtcDateTime),
    ("deliveries", "settled_by", sa.String),
    ("deliveries", "settled_why", sa.String),
    ("subscriptions", "sealed_url", sa.String),
    ("subscriptions", "receives_from", UtcDateTime),
)
"""Table, name and type of each column that says more of tokens, deliveries and subscriptions."""


_WAITING = sa.text("outcome = 'waiting'")
"""Of webhook calls that came before their order: all others have no place in an index of their own any more."""


def upgrade() -> None:
    _widen_integration()
    _widen_indexes()
    _index_waiting_calls_alone()


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


def _widen_integration() -> None:
    for table, name, kind in OF_INTEGRATION:
        op.add_column(table, sa.Column(name, kind(), nullable=True))
    op.execute("UPDATE subscriptions SET receives_from = created_at")


def _narrow_integration() -> None:
    sealed = op.get_bind().execute(sa.text("SELECT count(*) FROM subscriptions WHERE sealed_url IS NOT NULL"))
    if count := sealed.scalar_one():
        raise CommandError(
            f"the version before cannot read encrypted addresses of outgoing webhooks ({count:,}): remove them first"
        )
    for table, name, _ in reversed(OF_INTEGRATION):
        with op.batch_alter_table(table) as altered:
            altered.drop_column(name)


def _index_waiting_calls_alone() -> None:
    op.drop_index("ix_callbacks_waiting", "callbacks")
    op.create_index(
        "ix_callbacks_waiting", "callbacks", ["po_number"], sqlite_where=_WAITING, postgresql_where=_WAITING
    )


def _index_all_calls() -> None:
    op.drop_index("ix_callbacks_waiting", "callbacks")
    op.create_index("ix_callbacks_waiting", "callbacks", ["po_number", "outcome"])


def downgrade() -> None:
    _index_all_calls()
    _narrow_integration()
    _narrow_indexes()
