"""Ids as they are compared, without regard to case, beside the ids as they were written.

Their indexes are not unique: a store may hold orders whose PONumbers differ in case alone.
"""

import unicodedata

import sqlalchemy as sa
from alembic import op

from tracking.storage import migrations

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

FOLDED = {"po_number": "po_folded", "provider_id": "provider_folded"}
ORDERS = sa.table("orders", *map(sa.column, ("id", *FOLDED, *FOLDED.values())))


def upgrade() -> None:
    for name in FOLDED.values():
        op.add_column("orders", sa.Column(name, sa.String(), nullable=True))
    _fill(op.get_bind())
    for name in FOLDED.values():
        op.create_index(f"ix_orders_{name}", "orders", [name])


def _fill(connection: sa.Connection) -> None:
    """A page of orders at a time, so that memory stays bounded."""
    keep = sa.update(ORDERS).where(ORDERS.c.id == sa.bindparam("key"))
    keep = keep.values({folded: sa.bindparam(f"new_{folded}") for folded in FOLDED.values()})
    query = sa.select(ORDERS.c.id, *(ORDERS.c[name] for name in FOLDED)).order_by(ORDERS.c.id).limit(migrations.PAGE)
    page = connection.execute(query).all()
    while page:
        rows = [
            {"key": row.id, **{f"new_{folded}": _folded(getattr(row, name)) for name, folded in FOLDED.items()}}
            for row in page
        ]
        connection.execute(keep, rows)
        page = connection.execute(query.where(ORDERS.c.id > page[-1].id)).all()


def _folded(text: str | None) -> str | None:
    return None if text is None else unicodedata.normalize("NFC", text).strip().casefold()


def downgrade() -> None:
    for name in FOLDED.values():
        op.drop_index(f"ix_orders_{name}", "orders")
    with op.batch_alter_table("orders") as orders:
        for name in FOLDED.values():
            orders.drop_column(name)
