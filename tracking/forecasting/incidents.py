"""Whether it is one order that is late, or everyone: runs of orders placed one after the other of which most are late.

Of orders in the order they were placed, each late one speaks for an incident (half of its orders are late, say) and
each that was done in time against it (one in a hundred is late anyway). The run that speaks loudest is an incident once
chance would make one like it less than once in ten thousand orders: a cumulative sum test. Bounded reads; writes
nothing.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, select
from sqlalchemy.engine import RowMapping

from tracking.forecasting.classes import class_in_words, class_of
from tracking.forecasting.lateness import OPEN, in_class
from tracking.orders.model import State, is_open
from tracking.orders.wording import clock, count
from tracking.storage.tables import ORDERS

USUALLY_LATE, LATE_TOGETHER = 0.01, 0.5
SPEAKS_FOR = math.log(LATE_TOGETHER / USUALLY_LATE)
SPEAKS_AGAINST = math.log((1 - LATE_TOGETHER) / (1 - USUALLY_LATE))
NO_CHANCE = math.log(10_000)
CLOSE = timedelta(hours=1)  # orders placed further apart, and beyond a class's patience, are not late together
FEWEST = 5  # fewer rows need no banner in their place
LATE_READ = 5_000
ORDERS_READ = 10_000
LONGEST_AGO = timedelta(days=30)
AROUND = timedelta(days=7)
NEAR = 10  # orders on each side

_placed_at = sa.func.coalesce(ORDERS.c.accepted_at, ORDERS.c.created_at)
_READ = (ORDERS.c.type, ORDERS.c.units, ORDERS.c.state, ORDERS.c.late_at, ORDERS.c.completed_after)


@dataclass(frozen=True, slots=True)
class Incident:
    """Orders that are late together: those placed from `first` to `last`, of these classes.

    Attributes:
        classes: their names, the one with the most late orders first.
        first: when the first of them was placed.
        last: when the last was.
        late: how many of them are open and late now.
        done_late: how many were late, but are done.
        orders: how many were placed in that time and should be done by now.
    """

    classes: tuple[str, ...]
    first: datetime
    last: datetime
    late: int
    done_late: int
    orders: int

    @property
    def kind(self) -> str:
        """Which orders, in words."""
        kinds = [class_in_words(name) for name in self.classes]
        return kinds[0] if len(kinds) == 1 else f"orders of {count(len(kinds), 'kind')}"

    def summary(self, now: datetime) -> str:
        """The incident in a sentence."""
        placed = f"placed from {clock(self.first, now)} to {clock(self.last, now)}"
        done = f", {self.done_late} more were late and are done" if self.done_late else ""
        return f"{self.late:,} of {self.orders:,} orders {placed} are late ({self.kind}){done}."

    def matches(self, now: datetime) -> ColumnElement[bool]:
        """That an order is one of its late ones."""
        of_these = sa.or_(*(in_class(name) for name in self.classes))
        return sa.and_(OPEN, ORDERS.c.late_at < now, _placed_at.between(self.first, self.last), of_these)


@dataclass(frozen=True, slots=True)
class _Placed:
    """One order that should be done by now."""

    at: datetime
    name: str
    late: bool
    open: bool


def current_incidents(connection: Connection, now: datetime) -> list[Incident]:
    """What is going on now, the worst first: one incident for all where several classes are late together."""
    late = _late(connection, now)
    if sum(len(rows) for rows in late.values()) < FEWEST:
        return []
    placed = {name: _of_age(connection, name, rows, now) for name, rows in late.items()}
    gaps = {name: max(rows[0].late_at - rows[0].placed, CLOSE) for name, rows in late.items()}
    single = [found for name, orders in placed.items() if (found := worst_run(orders, gaps[name])) is not None]
    everyone = sorted((one for orders in placed.values() for one in orders), key=lambda one: one.at)
    together = worst_run(everyone, min(gaps.values()))
    if together is not None and len(together.classes) > 1 and len(single) != 1:
        return [together]
    return sorted(single, key=lambda incident: -incident.late)


def _late(connection: Connection, now: datetime) -> Mapping[str, list[Any]]:
    """Late orders by class, those that became late last."""
    wanted = select(*_READ, _placed_at.label("placed")).where(OPEN, ORDERS.c.late_at < now)
    wanted = wanted.where(ORDERS.c.late_at > now - LONGEST_AGO, ORDERS.c.provider_id.is_not(None))
    found: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(wanted.order_by(ORDERS.c.late_at.desc()).limit(LATE_READ)):
        found[class_of(row.type, row.units)].append(row)
    return found


def _of_age(connection: Connection, name: str, late: Sequence[Any], now: datetime) -> list[_Placed]:
    """The class's orders since the first late one that should be done by now, in the order they were placed."""
    patience = late[0].late_at - late[0].placed
    begin = min(row.placed for row in late)
    # The time an order was made here is just before the provider took it, and has an index.
    around = ORDERS.c.created_at.between(begin - timedelta(hours=1), now - patience)
    wanted = select(*_READ, _placed_at.label("placed")).where(around, in_class(name), ORDERS.c.provider_id.is_not(None))
    rows = connection.execute(wanted.order_by(ORDERS.c.created_at.desc()).limit(ORDERS_READ)).all()
    judged = (_judged(row, name, patience) for row in rows if begin <= row.placed <= now - patience)
    return sorted((one for one in judged if one is not None), key=lambda one: one.at)


def _judged(row: Any, name: str, patience: timedelta) -> _Placed | None:
    """Late is what took longer than that, or is open now; what was cancelled says nothing."""
    if row.state in {State.CANCELLED, State.REFUSED}:
        return None
    opened = is_open(row.state)
    late = opened or (row.completed_after is not None and row.completed_after - row.placed > patience)
    return _Placed(row.placed, name, late, opened)


def worst_run(placed: Sequence[_Placed], gap: timedelta = CLOSE) -> Incident | None:
    """The run of orders that speaks loudest for an incident, if it is one; longer gaps part one run from another."""
    best, loudest, begin, score = (0, 0), 0.0, 0, 0.0
    for index, one in enumerate(placed):
        if score <= 0 or one.at - placed[index - 1].at > gap:
            begin, score = index, 0.0
        score += SPEAKS_FOR if one.late else SPEAKS_AGAINST
        if score > loudest:
            best, loudest = (begin, index + 1), score
    run = placed[slice(*best)]
    late = [one for one in run if one.late and one.open]
    if loudest < NO_CHANCE or len(late) < FEWEST:
        return None
    names = [one.name for one in late]
    classes = sorted(set(names), key=lambda name: (-names.count(name), name))
    done = sum(one.late and not one.open for one in run)
    return Incident(tuple(classes), run[0].at, run[-1].at, len(late), done, len(run))


# One order


def late_with_others(connection: Connection, row: RowMapping, now: datetime) -> str | None:
    """Of a late order, whether others are late as well, in a sentence; None of an order that is not late.

    Args:
        connection: to read by.
        row: the order's type, units, state, accepted_at and late_at.
        now: aware.
    """
    placed, late_at = row["accepted_at"], row["late_at"]
    if placed is None or late_at is None or late_at >= now or not is_open(row["state"]):
        return None
    name = class_of(row["type"], row["units"])
    for found in current_incidents(connection, now):
        if name in found.classes and found.first <= placed <= found.last:
            return f"Not this order alone: {found.summary(now)}"
    near = _near(connection, name, placed, late_at - placed, now)
    if not near:
        return "No order like it was placed around it that should be done by now."
    others = sum(one.late for one in near)
    more = (
        "none of them is late" if not others else "1 of them is late" if others == 1 else f"{others} of them are late"
    )
    return f"Of the {count(len(near), 'order')} like it that were placed around it, {more}."


def _near(connection: Connection, name: str, placed: datetime, patience: timedelta, now: datetime) -> list[_Placed]:
    """The orders of the class that were placed just before and just after, and should be done by now."""
    created = ORDERS.c.created_at
    wanted = select(*_READ, _placed_at.label("placed")).where(in_class(name), ORDERS.c.provider_id.is_not(None))
    before = wanted.where(created.between(placed - AROUND, placed), _placed_at < placed).order_by(created.desc())
    after = wanted.where(created.between(placed - timedelta(hours=1), now - patience), _placed_at > placed)
    rows = [*connection.execute(before.limit(NEAR)), *connection.execute(after.order_by(created).limit(NEAR))]
    judged = (_judged(row, name, patience) for row in rows if row.placed <= now - patience)
    return [one for one in judged if one is not None]
