"""Drafts of orders; what finds a line by its people, however they are written; what adds up the value of open orders.

Of lines that are there already the recipient alone is put into the form that compares, a page of lines at a time.
"""

import re
import unicodedata

import sqlalchemy as sa
from alembic import op

from tracking.storage import migrations
from tracking.storage.migrations.frozen import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

LINES = sa.table("lines", *map(sa.column, ("order_id", "number", "recipient", "recipient_key")))
PHONE = re.compile(r"[\d\s()./+-]+")


def upgrade() -> None:
    op.create_table(
        "drafts",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("saved_at", UtcDateTime(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("owner"),
    )
    is_open = sa.text("state NOT IN ('Completed', 'Cancelled', 'Refused')")
    columns = ["created_at", "state", "currency", "value_minor"]
    op.create_index("ix_orders_value", "orders", columns, sqlite_where=is_open, postgresql_where=is_open)
    op.add_column("lines", sa.Column("recipient_key", sa.String(), nullable=True))
    _fold_recipients(op.get_bind())


def _fold_recipients(connection: sa.Connection) -> None:
    same = sa.and_(LINES.c.order_id == sa.bindparam("key"), LINES.c.number == sa.bindparam("at"))
    keep = sa.update(LINES).where(same).values(recipient_key=sa.bindparam("folded"))
    place = (LINES.c.order_id, LINES.c.number)
    query = sa.select(*place, LINES.c.recipient).where(LINES.c.recipient.is_not(None))
    query = query.order_by(*place).limit(migrations.PAGE)
    page = connection.execute(query).all()
    while page:
        rows = [{"key": row.order_id, "at": row.number, "folded": _folded(row.recipient)} for row in page]
        connection.execute(keep, rows)
        last = (page[-1].order_id, page[-1].number)
        page = connection.execute(query.where(sa.tuple_(*place) > sa.tuple_(*last))).all()


def _folded(recipient: str) -> str:
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", recipient).casefold())
    text = " ".join(text.replace("i\u0307", "i").replace("\u0131", "i").split())
    if PHONE.fullmatch(text):
        digits = re.sub(r"\D", "", text)
        if text.startswith("00"):
            digits = digits[2:]
        elif not text.lstrip("( ").startswith("+") and len(digits) == 10 and digits[0] not in "01":
            digits = f"1{digits}"
        text = digits if len(digits) < 7 or digits[0] == "0" else f"+{digits}"
    elif "@" not in text:
        last, comma, first = text.partition(",")
        text = f"{first} {last}" if comma and first.strip() and "," not in first else text
        text = " ".join(re.sub(r"[^\w\s]", " ", re.sub(r"['\u2019]", "", text)).split()) or text
    bare = "".join(letter for letter in unicodedata.normalize("NFD", text) if not "\u0300" <= letter <= "\u036f")
    return "\n" + "\n".join(dict.fromkeys((text, bare))) + "\n"


def downgrade() -> None:
    op.drop_index("ix_orders_value", "orders")
    op.drop_table("drafts")
    with op.batch_alter_table("lines") as lines:
        lines.drop_column("recipient_key")
