"""The first schema: orders, lines, events, outbox, callbacks, exchanges, batches, counters, facts."""

import sqlalchemy as sa
from alembic import op

from tracking.storage.migrations.frozen import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("orders", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_batches_digest", "batches", ["digest"], unique=False)
    op.create_table(
        "callbacks",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("digest", sa.String(), nullable=True),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.Column("last_at", UtcDateTime(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("repeats", sa.Integer(), nullable=False),
        sa.Column("action", sa.String(), nullable=True),
        sa.Column("po_number", sa.String(), nullable=True),
        sa.Column("provider_id", sa.String(), nullable=True),
        sa.Column("stated_at", UtcDateTime(), nullable=True),
        sa.Column("order_id", KEY, nullable=True),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_index("ix_callbacks_order_id", "callbacks", ["order_id"], unique=False)
    op.create_index("ix_callbacks_outcome", "callbacks", ["outcome", "id"], unique=False)
    op.create_index("ix_callbacks_received", "callbacks", ["received_at"], unique=False)
    op.create_index("ix_callbacks_waiting", "callbacks", ["po_number", "outcome"], unique=False)
    op.create_table(
        "counters",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("hour", UtcDateTime(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("orders", sa.BigInteger(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("value_minor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "hour", "state"),
    )
    op.create_table(
        "events",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("order_id", KEY, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("witness", sa.String(), nullable=False),
        sa.Column("happened_at", UtcDateTime(), nullable=False),
        sa.Column("learned_at", UtcDateTime(), nullable=False),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.Column("line_changes", sa.JSON(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("order_id", "seq"),
    )
    op.create_index("ix_events_kind", "events", ["kind", "learned_at"], unique=False)
    op.create_index("ix_events_learned", "events", ["learned_at"], unique=False)
    op.create_table(
        "exchanges",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("order_id", KEY, nullable=True),
        sa.Column("request", sa.String(), nullable=True),
        sa.Column("answer", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_exchanges_at", "exchanges", ["at"], unique=False)
    op.create_index("ix_exchanges_order", "exchanges", ["order_id", "at"], unique=False)
    op.create_table(
        "facts",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "lines",
        sa.Column("order_id", KEY, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("product_id", sa.String(), nullable=False),
        sa.Column("value_minor", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("provider_line_id", sa.String(), nullable=True),
        sa.Column("external_id", sa.String(), nullable=True),
        sa.Column("recipient", sa.String(), nullable=True),
        sa.Column("cost_minor", sa.BigInteger(), nullable=True),
        sa.Column("claim_digest", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("order_id", "number"),
    )
    op.create_index("ix_lines_external_id", "lines", ["external_id"], unique=False)
    op.create_index("ix_lines_product_id", "lines", ["product_id"], unique=False)
    op.create_index("ix_lines_recipient", "lines", ["recipient"], unique=False)
    op.create_table(
        "orders",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("po_number", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("submission", sa.String(), nullable=False),
        sa.Column("notice", sa.String(), nullable=False),
        sa.Column("provider_id", sa.String(), nullable=True),
        sa.Column("provider_status", sa.String(), nullable=True),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("units_fulfilled", sa.BigInteger(), nullable=False),
        sa.Column("value_minor", sa.BigInteger(), nullable=False),
        sa.Column("cost_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(), nullable=True),
        sa.Column("note", sa.String(), nullable=True),
        sa.Column("actor", sa.String(), nullable=True),
        sa.Column("provider_created_at", UtcDateTime(), nullable=True),
        sa.Column("accepted_at", UtcDateTime(), nullable=True),
        sa.Column("last_open_at", UtcDateTime(), nullable=True),
        sa.Column("completed_after", UtcDateTime(), nullable=True),
        sa.Column("completed_by", UtcDateTime(), nullable=True),
        sa.Column("claimed_at", UtcDateTime(), nullable=True),
        sa.Column("attention", sa.String(), nullable=True),
        sa.Column("acknowledged_at", UtcDateTime(), nullable=True),
        sa.Column("acknowledged_by", sa.String(), nullable=True),
        sa.Column("acknowledged_why", sa.String(), nullable=True),
        sa.Column("batch_id", sa.Integer(), nullable=True),
        sa.Column("line_count", sa.Integer(), nullable=False),
        sa.Column("event_count", sa.Integer(), nullable=False),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_look_at", UtcDateTime(), nullable=True),
        sa.Column("next_look_at", UtcDateTime(), nullable=True),
        sa.Column("next_look_why", sa.String(), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("webhook_look_at", UtcDateTime(), nullable=True),
        sa.Column("late_at", UtcDateTime(), nullable=True),
        sa.Column("digest", sa.String(), nullable=True),
        sa.Column("document", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("po_number"),
        sa.UniqueConstraint("provider_id"),
    )
    op.create_index("ix_orders_batch_id", "orders", ["batch_id"], unique=False)
    op.create_index("ix_orders_created", "orders", ["created_at", "id"], unique=False)
    op.create_index(
        "ix_orders_due",
        "orders",
        ["next_look_at"],
        unique=False,
        sqlite_where=sa.text("next_look_at IS NOT NULL"),
        postgresql_where=sa.text("next_look_at IS NOT NULL"),
    )
    op.create_index(
        "ix_orders_flagged",
        "orders",
        ["created_at"],
        unique=False,
        sqlite_where=sa.text("attention IS NOT NULL AND acknowledged_at IS NULL"),
        postgresql_where=sa.text("attention IS NOT NULL AND acknowledged_at IS NULL"),
    )
    op.create_index(
        "ix_orders_open",
        "orders",
        ["late_at"],
        unique=False,
        sqlite_where=sa.text("state NOT IN ('Completed', 'Cancelled', 'Refused')"),
        postgresql_where=sa.text("state NOT IN ('Completed', 'Cancelled', 'Refused')"),
    )
    op.create_index("ix_orders_provider_created", "orders", ["provider_created_at"], unique=False)
    op.create_index("ix_orders_state", "orders", ["state", "created_at"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("order_id", KEY, autoincrement=False, nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", UtcDateTime(), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("last_error", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("order_id"),
    )
    op.create_index("ix_outbox_due", "outbox", ["done", "next_attempt_at"], unique=False)


def downgrade() -> None:
    op.drop_table("outbox")
    op.drop_table("orders")
    op.drop_table("lines")
    op.drop_table("facts")
    op.drop_table("exchanges")
    op.drop_table("events")
    op.drop_table("counters")
    op.drop_table("callbacks")
    op.drop_table("batches")
