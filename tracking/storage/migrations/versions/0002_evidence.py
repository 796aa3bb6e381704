"""The chained log, keyed hashes of recipients, and encrypted claim data.

What is there already is hashed as it stands, a page at a time. The columns may stay empty as far as the database knows:
SQLite could only forbid it by writing the log anew, and verifying finds a hash that is missing.
"""

import secrets
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from tracking.storage import migrations
from tracking.storage.migrations import frozen
from tracking.storage.migrations.frozen import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ORDERS = sa.table("orders", sa.column("id"), sa.column("po_number"), sa.column("head"))
LINES = sa.table("lines", *map(sa.column, ("order_id", "number", "recipient", "recipient_salt", "recipient_hash")))
EVENTS = sa.table(
    "events",
    *map(sa.column, ("id", "order_id", "seq", "kind", "witness", "previous")),
    *(sa.column(name, UtcDateTime()) for name in ("happened_at", "learned_at")),
    *(sa.column(name, sa.JSON()) for name in ("changes", "line_changes", "detail")),
)


def upgrade() -> None:
    op.add_column("orders", sa.Column("erased", sa.String(), nullable=True))
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
    _chain_events(op.get_bind())
    _hash_recipients(op.get_bind())


def _pages(connection: sa.Connection, query: sa.Select[Any], *key: sa.ColumnClause[Any]) -> Iterator[Any]:
    """The rows of the query by this key, a page of them at a time, so that memory stays bounded."""
    query = query.order_by(*key).limit(migrations.PAGE)
    page = connection.execute(query).all()
    while page:
        yield page
        last = [getattr(page[-1], column.name) for column in key]
        page = connection.execute(query.where(sa.tuple_(*key) > sa.tuple_(*last))).all()


def _chain_events(connection: sa.Connection) -> None:
    carry = sa.update(EVENTS).where(EVENTS.c.id == sa.bindparam("key")).values(previous=sa.bindparam("hash"))
    crown = sa.update(ORDERS).where(ORDERS.c.id == sa.bindparam("key")).values(head=sa.bindparam("hash"))
    log = sa.select(EVENTS, ORDERS.c.po_number).join(ORDERS, ORDERS.c.id == EVENTS.c.order_id)
    current, head = None, ""
    for page in _pages(connection, log, EVENTS.c.order_id, EVENTS.c.seq):
        carried, heads = [], {}
        for row in page:
            if row.order_id != current:
                current, head = row.order_id, frozen.first_hash(row.po_number)
            carried.append({"key": row.id, "hash": head})
            head = heads[row.order_id] = frozen.event_hash(row._asdict(), row.po_number, head)
        connection.execute(carry, carried)
        connection.execute(crown, [{"key": order_id, "hash": newest} for order_id, newest in heads.items()])


def _hash_recipients(connection: sa.Connection) -> None:
    same = sa.and_(LINES.c.order_id == sa.bindparam("key"), LINES.c.number == sa.bindparam("at"))
    keep = sa.update(LINES).where(same)
    keep = keep.values(recipient_salt=sa.bindparam("salt"), recipient_hash=sa.bindparam("hash"))
    lines = sa.select(LINES.c.order_id, LINES.c.number, LINES.c.recipient).where(LINES.c.recipient.is_not(None))
    for page in _pages(connection, lines, LINES.c.order_id, LINES.c.number):
        salted = [(row, secrets.token_hex(16)) for row in page]
        connection.execute(
            keep,
            [
                {"key": row.order_id, "at": row.number, "salt": salt, "hash": frozen.keyed_hash(row.recipient, salt)}
                for row, salt in salted
            ],
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
        orders.drop_column("erased")
