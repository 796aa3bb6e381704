"""The chained log, keyed hashes of recipients, and encrypted claim data."""

import sqlalchemy as sa
from alembic import op

from tracking.tables import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("orders", sa.Column("head", sa.String(), nullable=True))
    op.add_column("events", sa.Column("previous", sa.String(), nullable=True))
    op.add_column("lines", sa.Column("recipient_salt", sa.String(), nullable=True))
    op.add_column("lines", sa.Column("recipient_hash", sa.String(), nullable=True))
    op.create_table(
        "claims",
        sa.Column("order_id", KEY, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("units", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.String(), nullable=False),
        sa.Column("learned_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("order_id", "number", "digest"),
    )


def downgrade() -> None:
    op.drop_table("claims")
    with op.batch_alter_table("lines") as lines:
        lines.drop_column("recipient_hash")
        lines.drop_column("recipient_salt")
    with op.batch_alter_table("events") as events:
        events.drop_column("previous")
    with op.batch_alter_table("orders") as orders:
        orders.drop_column("head")
