"""Keeps a store of a million orders flat: indexes for what pages read, the search's texts, checkpoints of logs.

Each part has its own steps, there and back.
"""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

from tracking.storage.migrations.frozen import UtcDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FINISHED = (
    "state IN ('Completed', 'Cancelled') AND provider_id IS NOT NULL AND next_look_at IS NULL AND snoozed_at IS NULL "
    "AND NOT (attention IS NOT NULL AND acknowledged_at IS NULL) AND event_count > events_removed"
)
INDEXES = (
    ("ix_orders_type", "orders", ["type", "created_at"]),
    ("ix_orders_source", "orders", ["source", "created_at"]),
    ("ix_orders_units", "orders", ["units"]),
    ("ix_orders_worth", "orders", ["value_minor"]),
    ("ix_orders_completed", "orders", ["completed_by"]),
    ("ix_lines_product", "lines", ["product_id", "order_id"]),
)
OPEN = "state NOT IN ('Completed', 'Cancelled', 'Refused')"
OF_OPEN = ("created_at", "id", "state", "type", "po_number", "units", "currency", "value_minor", "completed_by")
# Texts are folded before they are stored. The index keeps where three letters are: of digits most texts hold many.
SEARCH_ON_SQLITE = """
    CREATE VIRTUAL TABLE search_index USING fts5(
        words, people, content='search_texts', content_rowid='id', tokenize='trigram case_sensitive 1', columnsize=0
    )
"""
# PostgreSQL needs no extension for it. What is new waits in a list that each search reads whole, hence a short one.
TRIGRAMS = """
    CREATE FUNCTION search_trigrams(body text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 1000
    AS 'SELECT ARRAY(SELECT substr(body, at, 3) FROM generate_series(1, length(body) - 2) AS at)'
"""
SEARCH_ON_POSTGRESQL = """
    CREATE INDEX ix_search_trigrams ON search_texts
    USING gin (search_trigrams(words || people) COLLATE "C") WITH (gin_pending_list_limit = 512)
"""
# Orders that are there already get their texts later, in small steps.
NONE_ON_SQLITE = """
    INSERT INTO facts (key, at, value)
    SELECT 'search', strftime('%Y-%m-%d %H:%M:%f000', 'now'), json_object('older', max(id) + 1, 'indexed', 0)
    FROM orders HAVING count(*) > 0
"""
NONE_ON_POSTGRESQL = """
    INSERT INTO facts (key, at, value)
    SELECT 'search', now(), json_build_object('older', max(id) + 1, 'indexed', 0) FROM orders HAVING count(*) > 0
"""


def upgrade() -> None:
    _make_indexes()
    _widen_open()
    _index_beginnings({"po_folded": "text_pattern_ops"})
    _mark_calls()
    _make_checkpoints()
    _make_urgent()
    _make_search()


def _make_indexes() -> None:
    for name, table, columns in INDEXES:
        op.create_index(name, table, columns)
    op.drop_index("ix_lines_product_id", "lines")  # the beginning of ix_lines_product
    repeated = sa.text("repeats > 0")
    op.create_index(
        "ix_callbacks_repeated", "callbacks", ["received_at"], sqlite_where=repeated, postgresql_where=repeated
    )


def _widen_open() -> None:
    """All that open orders are sorted by, in one index of them; and those that only a webhook calls complete."""
    op.drop_index("ix_orders_value", "orders")
    claimed, columns = f"{OPEN} AND notice = 'claimed'", ("notice", *OF_OPEN[:2])
    for name, of_index, condition in (("ix_orders_value", OF_OPEN, OPEN), ("ix_orders_claimed", columns, claimed)):
        where = sa.text(condition)
        op.create_index(name, "orders", list(of_index), sqlite_where=where, postgresql_where=where)


def _index_beginnings(operators: dict[str, str]) -> None:
    """With operators by characters PostgreSQL finds the beginning of a text too, and what is equal as before."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_orders_po_folded", "orders")
        op.create_index("ix_orders_po_folded", "orders", ["po_folded"], postgresql_ops=operators)


def _mark_calls() -> None:
    """Calls that were answered as the one before leave first; of those there were nobody can tell any more."""
    op.add_column("exchanges", sa.Column("unchanged", sa.Boolean(), nullable=False, server_default=sa.false()))
    unchanged = sa.text("unchanged")
    op.create_index(
        "ix_exchanges_unchanged", "exchanges", ["order_id", "id"], sqlite_where=unchanged, postgresql_where=unchanged
    )


def _make_checkpoints() -> None:
    op.add_column("orders", sa.Column("events_removed", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("orders", sa.Column("quiet_since", UtcDateTime(), nullable=True))
    # No later than its newest event; the step that would remove its log looks that up.
    op.execute("UPDATE orders SET quiet_since = created_at")
    _make_tables()
    for name, table, columns, condition in (
        ("ix_orders_finished", "orders", ["quiet_since", "id"], FINISHED),
        ("ix_checkpoints_unfinished", "checkpoints", ["order_id"], "NOT done"),
    ):
        where = sa.text(condition)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def _make_tables() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("order_id", KEY, nullable=False, autoincrement=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("first_event", "last_event")),
        sa.Column("last_at", UtcDateTime(), nullable=False),
        sa.Column("movements", sa.JSON(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=True),
        sa.Column("removed_at", UtcDateTime(), nullable=False),
        sa.Column("archive_id", sa.BigInteger(), nullable=True),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("order_id"),
    )
    op.create_table(
        "archives",
        sa.Column("id", KEY, nullable=False, autoincrement=True),
        sa.Column("month", sa.String(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("folder", "file", "state")),
        sa.Column("digest", sa.String(), nullable=True),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("orders", "events")),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("month", "part"),
    )


def _make_urgent() -> None:
    """Which orders are to be polled before all others, where more are open than are weighed at once."""
    is_urgent = sa.text(
        "next_look_at IS NOT NULL"
        " AND (next_look_why = 'requested by a person' OR notice = 'claimed' OR state = 'Accepted')"
    )
    op.create_index("ix_orders_urgent", "orders", ["next_look_at"], sqlite_where=is_urgent, postgresql_where=is_urgent)


def _make_search() -> None:
    """The texts that orders are found by, and the index over them; those of older orders are made while it runs."""
    op.create_table(
        "search_texts",
        sa.Column("id", KEY, primary_key=True, autoincrement=True),
        sa.Column("order_id", KEY, nullable=False),
        sa.Column("words", sa.String(), nullable=False),
        sa.Column("people", sa.String(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_search_texts_order_id", "search_texts", ["order_id"])
    sqlite = op.get_bind().dialect.name == "sqlite"
    on_postgresql = (TRIGRAMS, SEARCH_ON_POSTGRESQL, NONE_ON_POSTGRESQL)
    for statement in (SEARCH_ON_SQLITE, NONE_ON_SQLITE) if sqlite else on_postgresql:
        op.execute(statement)


def downgrade() -> None:
    _drop_search()
    op.drop_index("ix_orders_urgent", "orders")
    _drop_checkpoints()
    _unmark_calls()
    _narrow_open()
    _index_beginnings({})
    _drop_indexes()


def _drop_search() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    op.execute("DROP TABLE search_index" if sqlite else "DROP INDEX ix_search_trigrams")
    op.drop_table("search_texts")
    if not sqlite:
        op.execute("DROP FUNCTION search_trigrams(text)")
    op.execute("DELETE FROM facts WHERE key = 'search'")


def _drop_indexes() -> None:
    op.drop_index("ix_callbacks_repeated", "callbacks")
    op.create_index("ix_lines_product_id", "lines", ["product_id"])
    for name, table, _ in reversed(INDEXES):
        op.drop_index(name, table)


def _narrow_open() -> None:
    for name in ("ix_orders_claimed", "ix_orders_value"):
        op.drop_index(name, "orders")
    is_open, columns = sa.text(OPEN), ["created_at", "state", "currency", "value_minor"]
    op.create_index("ix_orders_value", "orders", columns, sqlite_where=is_open, postgresql_where=is_open)


def _unmark_calls() -> None:
    op.drop_index("ix_exchanges_unchanged", "exchanges")
    with op.batch_alter_table("exchanges") as exchanges:
        exchanges.drop_column("unchanged")


def _drop_checkpoints() -> None:
    """Without checkpoints the version before would call each log that left a gap."""
    left = op.get_bind().execute(sa.text("SELECT count(*) FROM checkpoints")).scalar_one()
    if left:
        raise CommandError(f"the logs of {left:,} orders left the store; the version before cannot verify that")
    op.drop_table("archives")
    op.drop_table("checkpoints")
    op.drop_index("ix_orders_finished", "orders")
    with op.batch_alter_table("orders") as orders:
        orders.drop_column("quiet_since")
        orders.drop_column("events_removed")
