"""Moves of orders between states by hour, and open orders now, from which past counts are computed backwards."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.orders.model import CLOSED, is_open
from tracking.reports.order_list.narrowing import FLAGGED
from tracking.storage.counters import hour_of
from tracking.storage.sqlite.times import UtcDateTime
from tracking.storage.tables import COUNTERS, OPEN, ORDERS
from tracking.storage.team import snoozing

FIRST_SIGHT = "Found "
"""Stands before the state of an order that was finished already when it was first seen: nobody here waited for it."""


def counts_since(
    connection: Connection, names: Iterable[str], since: datetime, *, by_day: bool = False
) -> Sequence[Any]:
    """Read the counters of these names from that hour on: name, hour (with `by_day` the day, UTC), state, orders."""
    columns = (COUNTERS.c.name, COUNTERS.c.hour, COUNTERS.c.state, COUNTERS.c.orders)
    within = COUNTERS.c.name.in_(sorted(names)), COUNTERS.c.hour >= since
    if not by_day:
        return connection.execute(select(*columns).where(*within)).all()
    day = _day(connection.dialect.name)
    group = (COUNTERS.c.name, day, COUNTERS.c.state)
    orders = sa.cast(sa.func.sum(COUNTERS.c.orders), sa.BigInteger)
    return connection.execute(select(*group, orders).where(*within).group_by(*group)).all()


def _day(dialect: str) -> sa.ColumnElement[datetime]:
    """The midnight (UTC) before an hour; SQLite keeps it as a text."""
    hour, stored = COUNTERS.c.hour, sa.type_coerce(COUNTERS.c.hour, sa.String)
    on_sqlite = sa.func.substr(stored, 1, 11).concat("00:00:00.000000")
    day = on_sqlite if dialect == "sqlite" else sa.func.date_trunc("day", hour, "UTC")
    return sa.type_coerce(day, UtcDateTime()).label("day")


def open_stock(connection: Connection) -> Sequence[Any]:
    """Read the open orders of now by state: state, orders, units; from the counters since the oldest of them."""
    oldest = select(ORDERS.c.created_at).where(OPEN).order_by(ORDERS.c.created_at).limit(1)
    created: datetime | None = connection.execute(oldest).scalar()
    if created is None:
        return []
    sums = (sa.func.sum(COUNTERS.c[name]).label(name) for name in ("orders", "units"))
    stock = select(COUNTERS.c.state, *sums).where(COUNTERS.c.name == "stock", COUNTERS.c.hour >= hour_of(created))
    by_state = stock.where(COUNTERS.c.state.not_in(sorted(CLOSED)), COUNTERS.c.orders > 0).group_by(COUNTERS.c.state)
    return connection.execute(by_state).all()


def need_decision(connection: Connection, now: datetime) -> tuple[int, int]:
    """Count the orders that need a decision now, and those that would but are snoozed."""
    return snoozing.counted(connection, now, FLAGGED)


def late(connection: Connection, now: datetime) -> tuple[int, int]:
    """Count the open orders that are late, and those that are but are snoozed."""
    return snoozing.counted(connection, now, OPEN, ORDERS.c.late_at < now)


def state_changes(rows: Iterable[Any]) -> Counter[tuple[datetime, str]]:
    """Add up by how many orders each state grew in each step, from the counters "flow" and "left"."""
    changes: Counter[tuple[datetime, str]] = Counter()
    for name, hour, state, orders in rows:
        if name in {"flow", "left"}:
            changes[hour, state.removeprefix(FIRST_SIGHT)] += orders if name == "flow" else -orders
    return changes


def open_changes(changes: Mapping[tuple[datetime, str], int]) -> Counter[datetime]:
    """Add up by how many the open orders grew in each step."""
    grown: Counter[datetime] = Counter()
    for (hour, state), number in changes.items():
        if is_open(state):
            grown[hour] += number
    return grown


def levels(now_number: int, changes: Mapping[datetime, int], steps: Sequence[datetime]) -> list[int]:
    """Compute the number at the end of each step, the last of which is now; `changes` are by step."""
    last, level, backwards = steps[-1], now_number, [now_number]
    level -= sum(change for step, change in changes.items() if step > last)  # of a clock that was ahead
    for step in reversed(steps[1:]):
        level -= changes.get(step, 0)
        backwards.append(level)
    return backwards[::-1]
