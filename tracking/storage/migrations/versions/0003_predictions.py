"""What is said of open orders, kept to be held against what came; and open orders by id, to be surveyed as they lie."""

import sqlalchemy as sa
from alembic import op

from tracking.storage.migrations.frozen import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "predictions",
        sa.Column("order_id", KEY, autoincrement=False, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("orders", sa.Integer(), nullable=False),
        sa.Column("half_by", UtcDateTime(), nullable=True),
        sa.Column("nine_in_ten_by", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("order_id", "step"),
    )
    for name in ("half_by", "nine_in_ten_by"):
        op.create_index(f"ix_predictions_{name}", "predictions", [name])
    is_open = sa.text("state NOT IN ('Completed', 'Cancelled', 'Refused')")
    op.create_index("ix_orders_following", "orders", ["id"], sqlite_where=is_open, postgresql_where=is_open)


def downgrade() -> None:
    op.drop_index("ix_orders_following", "orders")
    op.drop_table("predictions")
