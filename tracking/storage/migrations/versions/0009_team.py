"""A team's work: assignments, snoozes and approvals of orders, the audit log of people, jobs, imports, saved views.

What was imported earlier has no rows of its own, only its orders.
"""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

from tracking.storage.migrations.frozen import UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FACTS = {"assignee": sa.String, "snoozed_at": UtcDateTime, "snoozed_until": UtcDateTime, "approval": sa.String}
UNSETTLED = (
    "(state NOT IN ('Completed', 'Cancelled', 'Refused') OR (attention IS NOT NULL AND acknowledged_at IS NULL))"
)
INDEXES = (
    ("ix_orders_snoozed", ["snoozed_at"], "snoozed_at IS NOT NULL"),
    ("ix_orders_assignee", ["assignee", "created_at"], "assignee IS NOT NULL"),
    ("ix_orders_mine", ["assignee", "created_at"], f"assignee IS NOT NULL AND {UNSETTLED}"),
    ("ix_orders_approval", ["created_at"], "approval = 'waiting'"),
)
TABLES = ("audit_log", "jobs", "job_orders", "import_rows", "saved_views", "contract_sightings", "drills")


def upgrade() -> None:
    for name, kind in FACTS.items():
        op.add_column("orders", sa.Column(name, kind(), nullable=True))
    for name, columns, condition in INDEXES:
        op.create_index(name, "orders", columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))
    op.add_column("outbox", sa.Column("held", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.drop_index("ix_outbox_due", "outbox")
    op.create_index("ix_outbox_due", "outbox", ["done", "held", "next_attempt_at"])
    for make in (_make_audit_log, _make_jobs, _make_import_rows, _make_the_rest):
        make()


def _make_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("seq", KEY, nullable=False, autoincrement=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("signed_in", sa.Boolean(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=True),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("previous", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("ix_audit_log_at", "audit_log", ["at"])
    for name, column in (("person", "person"), ("kind", "kind"), ("order", "order_id")):
        op.create_index(f"ix_audit_log_{name}", "audit_log", [column, "seq"])
    op.create_index("ix_audit_log_person_kind", "audit_log", ["person", "kind", "seq"])


def _make_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", KEY, nullable=False, autoincrement=True),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("act", sa.String(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("filter", sa.JSON(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("signed_in", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("total", "done", "skipped")),
        sa.Column("skipped_why", sa.JSON(), nullable=False),
        *(sa.Column(name, UtcDateTime(), nullable=True) for name in ("next_turn_at", "changed_at")),
        sa.Column("changed_by", sa.String(), nullable=True),
        *(sa.Column(name, UtcDateTime(), nullable=True) for name in ("finished_at", "lease_until")),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    op.create_index("ix_jobs_state", "jobs", ["state", "id"])
    op.create_table(
        "job_orders",
        *(sa.Column(name, KEY, nullable=False, autoincrement=False) for name in ("job_id", "order_id")),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=True),
        sa.Column("at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "order_id"),
    )
    op.create_index("ix_job_orders_outcome", "job_orders", ["job_id", "outcome", "order_id"])


def _make_import_rows() -> None:
    op.create_table(
        "import_rows",
        sa.Column("batch_id", KEY, nullable=False, autoincrement=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        *(sa.Column(name, sa.Integer(), nullable=True) for name in ("first_row", "last_row")),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("po_number", "po_folded", "outcome")),
        sa.Column("message", sa.String(), nullable=True),
        sa.Column("order_id", sa.BigInteger(), nullable=True),
        sa.Column("lines", sa.JSON(), nullable=False),
        sa.Column("request", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("batch_id", "number"),
    )
    op.create_index("ix_import_rows_outcome", "import_rows", ["batch_id", "outcome", "number"])
    op.create_index("ix_import_rows_order", "import_rows", ["order_id"])
    waiting = sa.text("outcome = 'waiting'")
    op.create_index(
        "ix_import_rows_waiting", "import_rows", ["po_folded"], sqlite_where=waiting, postgresql_where=waiting
    )


def _make_the_rest() -> None:
    op.create_table(
        "saved_views",
        sa.Column("id", KEY, nullable=False, autoincrement=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("query", sa.JSON(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("owner", "name"),
    )
    op.create_table(
        "contract_sightings",
        sa.Column("id", KEY, nullable=False, autoincrement=True),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("endpoint", "kind", "place", "value")),
        *(sa.Column(name, UtcDateTime(), nullable=False) for name in ("first_at", "last_at")),
        sa.Column("times", sa.BigInteger(), nullable=False),
        sa.Column("example", sa.String(), nullable=True),
        sa.Column("above_times", sa.BigInteger(), nullable=False),
        sa.Column("read_as", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("endpoint", "kind", "place", "value"),
    )
    op.create_table(
        "drills",
        sa.Column("id", KEY, nullable=False, autoincrement=True),
        sa.Column("scenario", sa.String(), nullable=False),
        sa.Column("started_by", sa.String(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("unnamed", sa.Boolean(), nullable=False),
        sa.Column("orders", sa.JSON(), nullable=False),
        sa.Column("times", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    _check_held()
    for table in reversed(TABLES):
        op.drop_table(table)
    op.drop_index("ix_outbox_due", "outbox")
    with op.batch_alter_table("outbox") as outbox:
        outbox.drop_column("held")
    op.create_index("ix_outbox_due", "outbox", ["done", "next_attempt_at"])
    for name, _, _ in INDEXES:
        op.drop_index(name, "orders")
    with op.batch_alter_table("orders") as orders:
        for name in FACTS:
            orders.drop_column(name)


def _check_held() -> None:
    """Without `held`, the version before would send what nobody has approved."""
    held = op.get_bind().execute(sa.text("SELECT count(*) FROM outbox WHERE held AND NOT done")).scalar_one()
    if held:
        raise CommandError(
            f"orders that wait for an approval ({held:,}) would be sent by the version before: decide on each first"
        )
