"""Figures of the overview: needs a decision, late, unconfirmed, open, completed; each with its last 24 hours.

Each number of the past is the one of now, less what changed since. How many were late is known for the hours in which
the worker recorded it, and for no other.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from tracking.orders.model import State
from tracking.reports.board import moves
from tracking.reports.trends import day_start
from tracking.storage.counters import LATE, hour_of
from tracking.storage.database import Database

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure and its course by hour, the current hour last; None where nobody recorded it.

    `before` is the number at `since`, and `change` the difference to it. Of the completed, `now` are those of today
    (UTC) and `hourly` those of each hour alone; `before` are yesterday's up to `since`, which is the last full hour a
    day ago, and `change` is what today had more by its last full hour: None before there was one. `snoozed` orders
    are not among `now`; the course, which knows hours and no single orders, counts them.
    """

    now: int
    hourly: tuple[int | None, ...]
    before: int | None
    change: int | None
    since: datetime
    snoozed: int = 0


@dataclass(frozen=True, slots=True)
class Trend:
    """The five figures; `hours` are the full hours in which the steps of `hourly` begin."""

    hours: tuple[datetime, ...]
    needs_decision: Figure
    late: Figure
    unconfirmed: Figure
    open: Figure
    completed: Figure


def trend(database: Database, now: datetime, hours: int = 24) -> Trend:
    """Read the figures of now and of so many hours, the current one included; they are compared with an hour ago.

    The numbers are known at full hours: an hour ago is the full hour nearest to it.
    """
    with database.snapshot() as connection:
        return trend_of(connection, now, hours)


def trend_of(connection: Connection, now: datetime, hours: int = 24) -> Trend:
    """The same within a transaction, beside what is shown with it."""
    last = hour_of(now)
    steps = tuple(last - HOUR * back for back in range(hours - 1, -1, -1))
    since = hour_of(now - HOUR / 2)
    begin = min(steps[0], since - HOUR, day_start(now) - DAY)
    rows = moves.counts_since(connection, ("flow", "left", "decisions", LATE), begin)
    stock = {row.state: int(row.orders) for row in moves.open_stock(connection)}
    flagged, flagged_snoozed = moves.need_decision(connection, now)
    late, late_snoozed = moves.late(connection, now)
    by_state = moves.state_changes(rows)
    unconfirmed = Counter({hour: number for (hour, state), number in by_state.items() if state == State.UNKNOWN})
    return Trend(
        steps,
        needs_decision=_without(flagged_snoozed, _level(flagged + flagged_snoozed, _decisions(rows), steps, since)),
        late=_without(late_snoozed, _late(late + late_snoozed, rows, steps, since)),
        unconfirmed=_level(stock.get(State.UNKNOWN, 0), unconfirmed, steps, since),
        open=_level(sum(stock.values()), moves.open_changes(by_state), steps, since),
        completed=_completed(rows, steps, now),
    )


def _without(snoozed: int, figure: Figure) -> Figure:
    return replace(figure, now=figure.now - snoozed, snoozed=snoozed)


def _decisions(rows: Sequence[Any]) -> Counter[datetime]:
    changes: Counter[datetime] = Counter()
    for name, hour, state, orders in rows:
        if name == "decisions":
            changes[hour] += orders if state == "needed" else -orders
    return changes


def _level(now_number: int, changes: Mapping[datetime, int], steps: Sequence[datetime], since: datetime) -> Figure:
    """What goes up and down, by what it is at each hour's end."""
    before = now_number - sum(change for hour, change in changes.items() if hour >= since)
    return Figure(now_number, tuple(moves.levels(now_number, changes, steps)), before, now_number - before, since)


def _late(now_number: int, rows: Sequence[Any], steps: Sequence[datetime], since: datetime) -> Figure:
    recorded = {row.hour: int(row.orders) for row in rows if row.name == LATE}
    before = recorded.get(since - HOUR)
    change = None if before is None else now_number - before
    return Figure(now_number, (*(recorded.get(step) for step in steps[:-1]), now_number), before, change, since)


def _completed(rows: Sequence[Any], steps: Sequence[datetime], now: datetime) -> Figure:
    """Orders seen completed after they were open here; those first seen so are no throughput."""
    by_hour = {row.hour: int(row.orders) for row in rows if (row.name, row.state) == ("flow", State.COMPLETED)}
    today, last = day_start(now), hour_of(now)
    full = sum(number for hour, number in by_hour.items() if today <= hour < last)
    before = sum(number for hour, number in by_hour.items() if today - DAY <= hour < last - DAY)
    number = sum(count for hour, count in by_hour.items() if hour >= today)
    hourly = tuple(by_hour.get(step, 0) for step in steps)
    comparable = last > today
    return Figure(number, hourly, before if comparable else None, full - before if comparable else None, last - DAY)
