"""Counts of the views of the list: from the counters, or counted along an index up to a limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.orders.model import CLOSED, State
from tracking.reports.order_list.conditions import conditions, to_count
from tracking.reports.order_list.filters import VIEWS, Filters
from tracking.reports.trends import day_start
from tracking.storage.database import Database
from tracking.storage.tables import COUNTERS, ORDERS

MOST_COUNTED = 1_000
FLOWS = {"today": "Completed", "found": "Found Completed"}


@dataclass(frozen=True, slots=True)
class ViewCount:
    """So many orders; with `more` there are at least so many."""

    orders: int
    more: bool = False

    def __str__(self) -> str:
        """As people read it: "1,000+"."""
        return f"{self.orders:,}{'+' if self.more else ''}"


def view_counts(database: Database, now: datetime, name: str = "") -> Mapping[str, ViewCount]:
    """How many orders each view holds, by its word; what would take a walk over too many is left out.

    `name` is whose the view "mine" is; without one it has no count.
    """
    with database.read() as connection:
        stock = _sums(connection, "stock", None)
        flow = ended_today(connection, now)
        attention, late, asleep = waiting(connection, now)
        counts = {
            "all": ViewCount(sum(stock.values())),
            "attention": attention,
            "approval": unapproved(connection, now),
            "late": late,
            "snoozed": asleep,
            "unassigned": _counted(connection, Filters(view="unassigned"), now),
            "mine": _counted(connection, Filters(view="mine", assigned=name), now) if name else None,
            "unknown": ViewCount(stock.get(State.UNKNOWN, 0)),
            "claimed": _counted(connection, Filters(view="claimed"), now),
            "open": ViewCount(sum(number for state, number in stock.items() if state not in CLOSED)),
            **{view: ViewCount(number) for view, number in flow.items()},
        }
    return {view: count for view in VIEWS if (count := counts[view]) is not None}


def ended_today(connection: Connection, now: datetime) -> dict[str, int]:
    """How many orders the views of orders completed today hold, by view."""
    flow = _sums(connection, "flow", day_start(now))
    return {view: flow.get(state, 0) for view, state in FLOWS.items()}


def waiting(connection: Connection, now: datetime) -> tuple[ViewCount, ViewCount, ViewCount]:
    """How many orders need a decision, are late, are snoozed: what every page says, so it costs little."""
    views = (Filters(view="attention"), Filters(view="late", each=True), Filters(view="snoozed"))
    attention, late, asleep = (_counted(connection, view, now) for view in views)
    return attention, late, asleep


def unapproved(connection: Connection, now: datetime) -> ViewCount:
    """How many orders wait for a second operator's approval."""
    return _counted(connection, Filters(view="approval"), now)


def _sums(connection: Connection, name: str, since: datetime | None) -> dict[str, int]:
    query = select(COUNTERS.c.state, sa.func.sum(COUNTERS.c.orders)).where(COUNTERS.c.name == name)
    if since is not None:
        query = query.where(COUNTERS.c.hour >= since)
    return {state: int(number) for state, number in connection.execute(query.group_by(COUNTERS.c.state))}


def _counted(connection: Connection, filters: Filters, now: datetime) -> ViewCount:
    """Count what has an index of its own."""
    matching = to_count(filters, conditions(connection, filters, now), now)
    some = select(ORDERS.c.id).where(*matching).limit(MOST_COUNTED + 1).subquery()
    number = int(connection.execute(select(sa.func.count()).select_from(some)).scalar_one())
    return ViewCount(min(number, MOST_COUNTED), more=number > MOST_COUNTED)
