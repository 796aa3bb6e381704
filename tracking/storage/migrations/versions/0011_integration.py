"""Keeps what other systems get and ask: subscriptions and deliveries, alerts, tokens of the API.

Each part has its own steps, there and back.
"""

import sqlalchemy as sa
from alembic import op

from tracking.storage.migrations.frozen import UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
WAITING = "state = 'waiting'"
LEASED = "lease_owner IS NOT NULL"
OPEN = "state NOT IN ('Completed', 'Cancelled', 'Refused')"
MORE_INDEXES: tuple[tuple[str, str, list[str], str], ...] = (
    ("ix_orders_lifecycle", "orders", ["state", "currency", "value_minor"], OPEN),
    ("ix_orders_first_sight", "orders", ["completed_by"], "submission = 'elsewhere' AND last_open_at IS NULL"),
)
"""Name, table, columns and condition of each index that reads of orders need beside those of 0010."""
LATENESS = ["late_at", "state", "snoozed_at", "snoozed_until", "created_at", "accepted_at", "type", "units"]
WIDENED: tuple[tuple[str, str, list[str], str], ...] = (
    ("ix_orders_open", "orders", LATENESS, OPEN),
    ("ix_callbacks_received", "callbacks", ["received_at", "id", "outcome"], ""),
)
"""The same of indexes that had their first column alone, and hold all that is counted by it now."""


def upgrade() -> None:
    _make_deliveries()
    _make_alerts()
    _make_tokens()
    _more_indexes()


def _key() -> sa.Column[int]:
    return sa.Column("id", KEY, nullable=False, autoincrement=True)


def _texts(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(), nullable=nullable) for name in names]


def _times(*names: str, nullable: bool = True) -> list[sa.Column[object]]:
    return [sa.Column(name, UtcDateTime(), nullable=nullable) for name in names]


def _index(name: str, table: str, columns: list[str], condition: str = "", *, unique: bool = False) -> None:
    where = sa.text(condition) if condition else None
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)


def _make_deliveries() -> None:
    op.create_table(
        "subscriptions",
        _key(),
        *_texts("name", "url"),
        sa.Column("event_types", sa.JSON(), nullable=False),
        *_texts("po_prefix", "order_type", "source", nullable=True),
        sa.Column("secrets", sa.JSON(), nullable=False),
        *_texts("state", "state_by", "created_by"),
        *_texts("state_why", nullable=True),
        *_times("state_at", "created_at", nullable=False),
        *_times("failing_since", "failed_at", "retry_at", "succeeded_at"),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "deliveries",
        _key(),
        sa.Column("subscription_id", KEY, nullable=False),
        *_texts("message_id", "event_type", "state"),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("seq", "attempts")),
        *_times("created_at", "next_attempt_at", nullable=False),
        *_times("lease_until", "settled_at"),
        *_texts("payload", "lease_owner", "asked_by", "last_error", nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("subscription_id", "message_id"),
    )
    _index("ix_deliveries_order", "deliveries", ["subscription_id", "order_id", "seq", "id"], WAITING)
    _index("ix_deliveries_due", "deliveries", ["subscription_id", "next_attempt_at", "id"], WAITING)
    _index("ix_deliveries_waiting", "deliveries", ["created_at"], WAITING)
    _index("ix_deliveries_leased", "deliveries", ["lease_owner"], LEASED)
    _index("ix_deliveries_listed", "deliveries", ["subscription_id", "state", "id"])
    _index("ix_deliveries_of_order", "deliveries", ["order_id", "id"])
    op.create_table(
        "delivery_attempts",
        sa.Column("delivery_id", KEY, nullable=False, autoincrement=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        *_times("at", nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        *_texts("answer", "error", "by", nullable=True),
        sa.PrimaryKeyConstraint("delivery_id", "number"),
    )
    _index("ix_delivery_attempts_at", "delivery_attempts", ["at"])


def _make_alerts() -> None:
    op.create_table(
        "alerts",
        _key(),
        *_texts("rule", "subject"),
        sa.Column("detail", sa.JSON(), nullable=False),
        *_times("began_at", "updated_at", nullable=False),
        *_times("clear_since", "ended_at", "sent_at", "end_sent_at", "next_attempt_at"),
        *(sa.Column(name, sa.JSON(), nullable=False) for name in ("sent_to", "end_sent_to")),
        sa.Column("attempts", sa.Integer(), nullable=False),
        *_texts("last_error", nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("ix_alerts_open", "alerts", ["rule", "subject"], "ended_at IS NULL", unique=True)
    _index("ix_alerts_unsent", "alerts", ["next_attempt_at"], "next_attempt_at IS NOT NULL")
    _index("ix_alerts_began", "alerts", ["began_at"])


def _make_tokens() -> None:
    op.create_table(
        "api_tokens",
        _key(),
        *_texts("name", "digest", "access", "created_by"),
        *_texts("revoked_by", nullable=True),
        *_times("created_at", nullable=False),
        *_times("revoked_at", "last_used_at"),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("reads", "acts")),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "api_requests",
        sa.Column("token_id", KEY, nullable=False, autoincrement=False),
        *_texts("key", "digest"),
        *_times("at", nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("token_id", "key"),
    )
    _index("ix_api_requests_at", "api_requests", ["at"])
    op.create_table(
        "api_use",
        *_times("hour", nullable=False),
        sa.Column("token_id", KEY, nullable=False, autoincrement=False),
        *_texts("what"),
        sa.Column("times", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "token_id", "what"),
    )


def _more_indexes() -> None:
    for name, table, columns, condition in MORE_INDEXES:
        _index(name, table, columns, condition)
    for name, table, columns, condition in WIDENED:
        op.drop_index(name, table)
        _index(name, table, columns, condition)


def downgrade() -> None:
    for name, table, columns, condition in WIDENED:
        op.drop_index(name, table)
        _index(name, table, columns[:1], condition)
    for name, table, *_ in reversed(MORE_INDEXES):
        op.drop_index(name, table)
    for table in (
        "api_use",
        "api_requests",
        "api_tokens",
        "alerts",
        "delivery_attempts",
        "deliveries",
        "subscriptions",
    ):
        op.drop_table(table)
