"""Incidents: detects that many orders placed one after another are late, so that the cause is common.

Of orders in the order they were placed, each late one speaks for an incident (half of its orders are late, say, or a
tenth) and each that was done in time against it (one in a hundred is late anyway). The run that speaks loudest is an
incident once chance would make one like it less than once in ten thousand orders: a cumulative sum test. Bounded reads.

The worker tests every ten seconds and stores what it found; whoever shows it reads that, however large the store is.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, select
from sqlalchemy.engine import RowMapping

from tracking.forecasting.classes import class_bounds, class_of
from tracking.forecasting.forecasts import LateBasis
from tracking.forecasting.lateness import in_class, stored_limit
from tracking.orders.model import State, is_open
from tracking.storage import facts
from tracking.storage.facts import FactKey
from tracking.storage.integration.late_orders import is_judged
from tracking.storage.tables import OPEN, ORDERS
from tracking.storage.team import snoozing

USUALLY_LATE = 0.01
LATE_TOGETHER = (0.5, 0.1)  # everyone, nearly, and one of several things that the provider has: a warehouse, a product
NO_CHANCE = math.log(10_000)
SEPARATE_AFTER = timedelta(hours=1)  # orders placed further apart, and beyond a class's patience, are not late together
FEWEST = 5  # fewer rows need no banner in their place
MANY_LATE = 10  # orders that are late each by itself
LATE_READ = 5_000
ORDERS_TESTED = 10_000
LONGEST_AGO = timedelta(days=30)
AROUND = timedelta(days=7)
NEAR = 10  # orders on each side
SEARCHED_NEAR = 1_000  # of the type, on each side: a class may be rare

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
        late_since: when the first of those that are late now became late; None where that was not stored.
    """

    classes: tuple[str, ...]
    first: datetime
    last: datetime
    late: int
    done_late: int
    orders: int
    late_since: datetime | None = None

    TIMES: ClassVar = ("first", "last", "late_since")

    def times(self) -> dict[str, datetime | None]:
        """Its times by their names."""
        return {name: getattr(self, name) for name in self.TIMES}

    def types(self) -> tuple[str, ...]:
        """The delivery types of its classes."""
        return tuple(sorted({class_bounds(name)[0] for name in self.classes}))

    def matches(self, now: datetime) -> ColumnElement[bool]:
        """Match its late orders, in SQL."""
        of_these = sa.or_(*(in_class(name) for name in self.classes))
        return sa.and_(OPEN, ORDERS.c.late_at < now, _placed_at.between(self.first, self.last), of_these)


@dataclass(frozen=True, slots=True)
class _Placed:
    """One order that should be done by now."""

    at: datetime
    name: str
    late: bool
    open: bool
    late_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LateOrders:
    """The late orders of one moment: the incidents, the worst first, and how many are late apart from them.

    `oldest`: since when the one that has been late longest is, of those apart; None without any.
    """

    incidents: tuple[Incident, ...] = ()
    others: int = 0
    oldest: datetime | None = None

    def to_fact(self) -> dict[str, Any]:
        """What is stored of it."""
        incidents = [
            asdict(one) | {name: at and at.isoformat() for name, at in one.times().items()} for one in self.incidents
        ]
        return {"incidents": incidents, "others": self.others, "oldest": self.oldest and self.oldest.isoformat()}

    @classmethod
    def from_fact(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_fact` made."""
        oldest = value["oldest"]
        incidents = (
            Incident(
                **one
                | {name: datetime.fromisoformat(one[name]) for name in Incident.TIMES if one.get(name)}
                | {"classes": (*one["classes"],)}
            )
            for one in value["incidents"]
        )
        return cls(tuple(incidents), value["others"], oldest and datetime.fromisoformat(oldest))


def store_late_orders(connection: Connection, late: LateOrders, now: datetime) -> None:
    """Store the late orders of now."""
    facts.set_fact(connection, FactKey.LATE_ORDERS, late.to_fact(), now)


def stored_late_orders(connection: Connection) -> LateOrders:
    """Read the late orders as they were when the worker last found others than before; none where it never did."""
    fact = facts.get_fact(connection, FactKey.LATE_ORDERS)
    return LateOrders.from_fact(fact.value) if fact else LateOrders()


def find_late_orders(connection: Connection, now: datetime) -> LateOrders:
    """Find out which orders are late together now, and how many are late apart from them.

    Snoozed orders speak for an incident as all others do, but ask for nobody: where all of one are, it is left out.
    """
    awake = snoozing.awake(now)
    incidents = [one for one in current_incidents(connection, now) if _any(connection, one.matches(now), awake)]
    counted = select(sa.func.count(), sa.func.min(ORDERS.c.late_at)).where(OPEN, ORDERS.c.late_at < now, awake)
    counted = counted.where(is_judged(connection, now))
    apart = (sa.not_(one.matches(now)) for one in incidents)
    others, oldest = connection.execute(counted.where(*apart)).one()
    return LateOrders(tuple(incidents), others, oldest)


def _any(connection: Connection, *matching: ColumnElement[bool]) -> bool:
    return connection.execute(select(ORDERS.c.id).where(*matching).limit(1)).first() is not None


def late_number(connection: Connection, now: datetime) -> int:
    """Count the open orders that are late now, snoozed or not."""
    counted = select(sa.func.count()).select_from(ORDERS).where(OPEN, ORDERS.c.late_at < now)
    return int(connection.execute(counted).scalar_one())


def current_incidents(connection: Connection, now: datetime) -> list[Incident]:
    """Find the incidents of now, the worst first: one for all where several classes are late together."""
    late = _late(connection, now)
    if sum(len(rows) for rows in late.values()) < FEWEST:
        return []
    placed = {name: _due_orders(connection, name, rows, now) for name, rows in late.items()}
    gaps = {name: max(rows[0].late_at - rows[0].placed, SEPARATE_AFTER) for name, rows in late.items()}
    runs = [worst_run(orders, gaps[name]) for name, orders in placed.items()]
    single = [incident for incident in runs if incident is not None]
    everyone = sorted((one for orders in placed.values() for one in orders), key=lambda one: one.at)
    together = worst_run(everyone, min(gaps.values()))
    if together is not None and len(together.classes) > 1 and len(single) != 1:
        return [together]
    return sorted(single, key=lambda incident: -incident.late)


def _late(connection: Connection, now: datetime) -> Mapping[str, list[Any]]:
    """Read the late orders by class, those that became late last first; of classes whose limit is no guess."""
    query = select(*_READ, _placed_at.label("placed")).where(OPEN, ORDERS.c.late_at < now)
    query = query.where(ORDERS.c.late_at > now - LONGEST_AGO, ORDERS.c.provider_id.is_not(None))
    query = query.where(is_judged(connection, now))
    rows: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(query.order_by(ORDERS.c.late_at.desc()).limit(LATE_READ)):
        rows[class_of(row.type, row.units)].append(row)
    # Nobody knows how many orders exceed a guess: many that do may be as fast as ever.
    return {name: of_class for name, of_class in rows.items() if not _is_guessed(connection, name)}


def _is_guessed(connection: Connection, name: str) -> bool:
    order_type, _, most = class_bounds(name)
    limit = stored_limit(connection, order_type, most)
    return limit is not None and limit.basis == LateBasis.GUESS


def _due_orders(connection: Connection, name: str, late: Sequence[Any], now: datetime) -> list[_Placed]:
    """Read the class's orders since the first late one that should be done by now, in the order they were placed."""
    patience = late[0].late_at - late[0].placed
    begin = min(row.placed for row in late)
    # The time an order was made here is just before the provider took it, and has an index.
    around = ORDERS.c.created_at.between(begin - timedelta(hours=1), now - patience)
    columns = (*_READ, _placed_at.label("placed"), is_judged(connection, now).label("is_judged"))
    query = select(*columns).where(around, in_class(name), ORDERS.c.provider_id.is_not(None))
    rows = connection.execute(query.order_by(ORDERS.c.created_at.desc()).limit(ORDERS_TESTED)).all()
    # An open one of which nobody knows yet whether it is late speaks neither way.
    due = (row for row in rows if begin <= row.placed <= now - patience and (row.is_judged or not is_open(row.state)))
    judged = (_placed(row, name, patience) for row in due)
    return sorted((one for one in judged if one is not None), key=lambda one: one.at)


def _placed(row: Any, name: str, patience: timedelta) -> _Placed | None:
    """Judge whether an order is late: it took longer than that, or is open now; a cancelled one says nothing."""
    if row.state in {State.CANCELLED, State.REFUSED}:
        return None
    opened = is_open(row.state)
    late = opened or (row.completed_after is not None and row.completed_after - row.placed > patience)
    return _Placed(row.placed, name, late, opened, row.late_at)


def worst_run(placed: Sequence[_Placed], gap: timedelta = SEPARATE_AFTER) -> Incident | None:
    """Find the run of orders that speaks loudest for an incident, if it is one; longer gaps part the runs."""
    for share in LATE_TOGETHER:
        incident = _worst_run(placed, gap, share)
        if incident is not None:
            return incident
    return None


def _worst_run(placed: Sequence[_Placed], gap: timedelta, share: float) -> Incident | None:
    """The same, for incidents in which this share of the orders is late."""
    speaks_for, speaks_against = math.log(share / USUALLY_LATE), math.log((1 - share) / (1 - USUALLY_LATE))
    best, loudest, begin, score = (0, 0), 0.0, 0, 0.0
    for index, one in enumerate(placed):
        if score <= 0 or one.at - placed[index - 1].at > gap:
            begin, score = index, 0.0
        score += speaks_for if one.late else speaks_against
        if score > loudest:
            best, loudest = (begin, index + 1), score
    run = placed[slice(*best)]
    late = [one for one in run if one.late and one.open]
    if loudest < NO_CHANCE or len(late) < FEWEST:
        return None
    names = [one.name for one in late]
    classes = sorted(set(names), key=lambda name: (-names.count(name), name))
    done = sum(one.late and not one.open for one in run)
    late_since = min((one.late_at for one in late if one.late_at is not None), default=None)
    return Incident(tuple(classes), run[0].at, run[-1].at, len(late), done, len(run), late_since)


# One order


@dataclass(frozen=True, slots=True)
class LateWithOthers:
    """What else is late with one late order.

    Attributes:
        incident: the one that it is part of.
        near: where it is part of none, how many orders of its class that were placed around it should be done by now.
        late: how many of these are late.
    """

    incident: Incident | None
    near: int = 0
    late: int = 0


def late_with_others(connection: Connection, row: RowMapping, now: datetime) -> LateWithOthers | None:
    """Find out whether other orders are late with this one; None of an order that is not late.

    Args:
        connection: to read by.
        row: the order's type, units, state, accepted_at and late_at.
        now: aware.
    """
    placed, late_at = row["accepted_at"], row["late_at"]
    if placed is None or late_at is None or late_at >= now or not is_open(row["state"]):
        return None
    name = class_of(row["type"], row["units"])
    for incident in stored_late_orders(connection).incidents:
        if name in incident.classes and incident.first <= placed <= incident.last:
            return LateWithOthers(incident)
    near = _near(connection, name, placed, late_at - placed, now)
    return LateWithOthers(None, len(near), sum(order.late for order in near))


def _near(connection: Connection, name: str, placed: datetime, patience: timedelta, now: datetime) -> list[_Placed]:
    """Read the orders of the class that were placed just before and just after, and should be done by now."""
    created = ORDERS.c.created_at
    order_type, _, _ = class_bounds(name)

    def nearest(begin: datetime, end: datetime, by: Any, beyond: Any) -> Any:
        of_type = select(ORDERS.c.id).where(ORDERS.c.type == order_type, created.between(begin, end))
        searched = of_type.order_by(by).limit(SEARCHED_NEAR).subquery()
        query = select(*_READ, _placed_at.label("placed")).join(searched, searched.c.id == ORDERS.c.id)
        of_class = query.where(in_class(name), ORDERS.c.provider_id.is_not(None), beyond)
        return of_class.order_by(by).limit(NEAR)

    before = nearest(placed - AROUND, placed, created.desc(), _placed_at < placed)
    after = nearest(placed - timedelta(hours=1), now - patience, created.asc(), _placed_at > placed)
    rows = [*connection.execute(before), *connection.execute(after)]
    judged = (_placed(row, name, patience) for row in rows if row.placed <= now - patience)
    return [one for one in judged if one is not None]
