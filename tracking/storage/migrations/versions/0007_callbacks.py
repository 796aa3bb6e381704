"""Where refused calls came from and why; which order each webhook address is for; since when one is completed there.

Addresses are stored as hashes, and for what is sent from now on: those in use are added when a process starts.
"""

import sqlalchemy as sa
from alembic import op

from tracking.storage.migrations.frozen import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("callbacks", sa.Column("source", sa.String(), nullable=True))
    op.add_column("callbacks", sa.Column("rule", sa.String(), nullable=True))
    op.add_column("orders", sa.Column("completed_there_at", UtcDateTime(), nullable=True))
    op.create_table(
        "addresses",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("order_id", KEY, nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index(op.f("ix_addresses_order_id"), "addresses", ["order_id"])


def downgrade() -> None:
    op.drop_table("addresses")
    for table, column in (("callbacks", "source"), ("callbacks", "rule"), ("orders", "completed_there_at")):
        with op.batch_alter_table(table) as changed:
            changed.drop_column(column)
