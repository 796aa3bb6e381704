"""Overview: count what is open, late or needs a decision, and say it in a sentence. Bounded reads; writes nothing.

Counts come from the counters and from partial indexes, never from a walk over all orders.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.orders.model import State
from tracking.orders.wording import verdict
from tracking.reports.board import moves
from tracking.reports.health import ComponentStatus, component_status
from tracking.reports.trends import day_start
from tracking.storage.database import Database
from tracking.storage.tables import COUNTERS, OPEN, ORDERS

# The address of the list of orders that each count stands for; it shows as many.
COUNTED_LISTS: Mapping[str, Mapping[str, str]] = {
    "attention": {"view": "attention"},
    "late": {"view": "late", "each": "true"},
    "unknown": {"view": "unknown"},
    "open": {"view": "open"},
    "done_today": {"view": "today"},
}


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of things, in a sentence (`verdict`) and in numbers; `oldest` is the age of the oldest open order.

    `discovered_today` are those that were complete when first seen today; they are not among `done_today`. Snoozed
    orders are in no number but `open` and those of their own.
    """

    verdict: str
    attention: int
    attention_snoozed: int
    late: int
    late_snoozed: int
    unknown: int
    open: int
    done_today: int
    discovered_today: int
    oldest: timedelta | None
    components: tuple[ComponentStatus, ...]
    empty: bool


def overview(database: Database, now: datetime) -> Overview:
    """The overview's figures, in one short transaction."""
    with database.read() as connection:
        return overview_of(connection, now)


def overview_of(connection: Connection, now: datetime) -> Overview:
    """The same within a transaction, beside what is shown with it."""
    stock = {row.state: int(row.orders) for row in moves.open_stock(connection)}
    empty = connection.execute(select(ORDERS.c.id).limit(1)).first() is None
    attention, attention_snoozed = moves.need_decision(connection, now)
    late, late_snoozed = moves.late(connection, now)
    flow = _flow(connection, day_start(now))
    oldest = _oldest(connection, now)
    signs = component_status(connection, now)
    number = sum(stock.values())
    return Overview(
        verdict=verdict(0 if empty else 1, number, late, oldest, attention, attention_snoozed),
        attention=attention,
        attention_snoozed=attention_snoozed,
        late=late,
        late_snoozed=late_snoozed,
        unknown=stock.get(State.UNKNOWN, 0),
        open=number,
        done_today=flow.get("Completed", 0),
        discovered_today=flow.get("Found Completed", 0),
        oldest=oldest,
        components=signs,
        empty=empty,
    )


def _oldest(connection: Connection, now: datetime) -> timedelta | None:
    """The age of the oldest open order."""
    first = select(ORDERS.c.created_at).where(OPEN).order_by(ORDERS.c.created_at).limit(1)
    created: datetime | None = connection.execute(first).scalar()
    return None if created is None else max(timedelta(), now - created)


def _flow(connection: Connection, since: datetime) -> dict[str, int]:
    entered = select(COUNTERS.c.state, sa.func.sum(COUNTERS.c.orders)).group_by(COUNTERS.c.state)
    rows = connection.execute(entered.where(COUNTERS.c.name == "flow", COUNTERS.c.hour >= since))
    return {state: int(number) for state, number in rows}
