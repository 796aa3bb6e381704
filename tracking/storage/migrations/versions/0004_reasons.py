"""Reasons as codes: why an order needs a person, beside the words; and why its next poll is due, in place of them.

The log is not touched: its old events hold the words alone, and are read with the same patterns.
"""

import re
from typing import Any

import sqlalchemy as sa
from alembic import op

from tracking.storage import migrations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ORDERS = sa.table("orders", *map(sa.column, ("id", "attention", "attention_reason", "next_look_why")))
ATTENTION = (
    (r"refused: ", "refused"),
    (r"the PONumber belongs to .*, which is another order \(", "ponumber mismatch"),
    (r"a second order .* under the same PONumber$", "second order"),
    (r"a notice names .* under this PONumber$", "webhook for another order"),
    (r"announced as fulfilled, but cancelled$", "fulfilled but cancelled"),
    (r"cancelled by the provider$", "cancelled"),
    (r"the provider's word .* is not known$", "unknown status"),
    (r".* was asked for, .* was shown$", "another order shown"),
    (r"finished as .*, now shown as ", "changed after end"),
)
PATTERNS = tuple((re.compile(pattern, re.DOTALL), code) for pattern, code in ATTENTION)
POLLS = {
    "it may have finished by then, judged by orders like it": "may have finished",
    "asked for by a person": "requested by a person",
    "announced as done by the webhook": "webhook received",
    "announced as done, not confirmed yet": "webhook not confirmed",
    "listed as done; a look confirms it": "listed as completed",
    "said to be done already; a look confirms it": "answered as completed",
    "its lines may still change": "lines may change",
    "the last look brought no answer": "last poll without answer",
}


def upgrade() -> None:
    op.add_column("orders", sa.Column("attention_reason", sa.String(), nullable=True))
    connection = op.get_bind()
    _code_attention(connection)
    # What an earlier version or made-up history said otherwise is the everyday reason.
    why = ORDERS.c.next_look_why
    coded = sa.case(POLLS, value=why, else_="may have finished")
    connection.execute(sa.update(ORDERS).where(why.is_not(None)).values(next_look_why=coded))


def _code_attention(connection: sa.Connection) -> None:
    """A page of orders at a time, so that memory stays bounded."""
    keep = sa.update(ORDERS).where(ORDERS.c.id == sa.bindparam("key")).values(attention_reason=sa.bindparam("code"))
    query = sa.select(ORDERS.c.id, ORDERS.c.attention).where(ORDERS.c.attention.is_not(None))
    query = query.order_by(ORDERS.c.id).limit(migrations.PAGE)
    page = connection.execute(query).all()
    while page:
        connection.execute(keep, [{"key": row.id, "code": _code_of(row)} for row in page])
        page = connection.execute(query.where(ORDERS.c.id > page[-1].id)).all()


def _code_of(row: Any) -> str:
    return next((code for pattern, code in PATTERNS if pattern.match(row.attention)), "other")


def downgrade() -> None:
    connection = op.get_bind()
    why = ORDERS.c.next_look_why
    words = sa.case({code: text for text, code in POLLS.items()}, value=why, else_=why)
    connection.execute(sa.update(ORDERS).where(why.is_not(None)).values(next_look_why=words))
    with op.batch_alter_table("orders") as orders:
        orders.drop_column("attention_reason")
