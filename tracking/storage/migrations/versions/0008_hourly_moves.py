"""Orders that left a state, and that began or ceased to need a decision, by the hour: counted from the log as it is.

How many orders were late in an hour is no part of the log: it is unknown for the time before.
"""

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql, sqlite

from tracking.storage import migrations
from tracking.storage.migrations.frozen import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

NEW = ("left", "decisions", "late")
SUMS = ("orders", "units", "value_minor")
COUNTERS = sa.table(
    "counters", sa.column("name"), sa.column("hour", UtcDateTime()), sa.column("state"), *map(sa.column, SUMS)
)
EVENTS = sa.table("events", *map(sa.column, ("order_id", "seq", "changes")), sa.column("learned_at", UtcDateTime()))
# Only events that name one of these can move a count: most polls find an order as it was.
FACTS = ("state", "attention", "acknowledged_at", "units", "value_minor")
Counts = dict[tuple[str, Any, str], list[int]]


def upgrade() -> None:
    connection = op.get_bind()
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    adding = insert(COUNTERS)
    grown = {name: COUNTERS.c[name] + adding.excluded[name] for name in SUMS}
    add = adding.on_conflict_do_update(index_elements=["name", "hour", "state"], set_=grown)
    current, facts = None, dict[str, Any]()
    for page in _pages(connection):
        counts: Counts = defaultdict(lambda: [0, 0, 0])
        for row in page:
            if row.order_id != current:
                current, facts = row.order_id, {}
            _count(counts, facts, row)
        if counts:
            connection.execute(
                add,
                [
                    dict(zip(("name", "hour", "state", *SUMS), (*key, *sums), strict=True))
                    for key, sums in counts.items()
                ],
            )


def _pages(connection: sa.Connection) -> Iterator[Any]:
    """The events that may move a count, order by order, a page at a time, so that memory stays bounded."""
    place = (EVENTS.c.order_id, EVENTS.c.seq)
    changes = sa.cast(EVENTS.c.changes, sa.Text)
    moving = sa.or_(*(changes.like(f'%"{name}"%') for name in FACTS))
    query = sa.select(*place, EVENTS.c.learned_at, changes.label("changes")).where(moving)
    query = query.order_by(*place).limit(migrations.PAGE)
    page = connection.execute(query).all()
    while page:
        yield page
        last = (page[-1].order_id, page[-1].seq)
        page = connection.execute(query.where(sa.tuple_(*place) > sa.tuple_(*last))).all()


def _count(counts: Counts, facts: dict[str, Any], row: Any) -> None:
    """Brings the facts to what the event changes, and adds what moved."""
    before, needed = facts.get("state"), _needs_decision(facts)
    # An event that was changed by hand until it cannot be read is for `tracking verify` to name.
    with contextlib.suppress(TypeError, ValueError):
        facts.update(json.loads(row.changes))
    hour = row.learned_at.replace(minute=0, second=0, microsecond=0)
    if before is not None and facts.get("state") != before:
        _add(counts["left", hour, str(before)], facts)
    if _needs_decision(facts) != needed:
        _add(counts["decisions", hour, "settled" if needed else "needed"], facts)


def _add(sums: list[int], facts: dict[str, Any]) -> None:
    for at, number in enumerate((1, facts.get("units"), facts.get("value_minor"))):
        sums[at] += number if isinstance(number, int) else 0


def _needs_decision(facts: dict[str, Any]) -> bool:
    return facts.get("attention") is not None and facts.get("acknowledged_at") is None


def downgrade() -> None:
    op.get_bind().execute(sa.delete(COUNTERS).where(COUNTERS.c.name.in_(NEW)))
