"""Made-up history for a demonstration or a measurement: orders that never were, told through the real rules.

Every order is a list of observations that `rules` turns into events and folds into its row, so that recomputing the
store agrees with it. Only the writing is in bulk. Nothing of it can be sent: there is no outbox row for any of them.
"""

import hashlib
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tracking.errors import NotAllowed
from tracking.forecasting.classes import first_late_after
from tracking.orders import event_chain as chain
from tracking.orders.model import (
    ORDER_FIELDS,
    Event,
    Line,
    Order,
    OrderType,
    Snapshot,
    State,
    Witness,
    apply_event,
    first_order,
    is_open,
)
from tracking.orders.observations import (
    Answered,
    Attempted,
    Declined,
    Observation,
    Observed,
    Polled,
    Requested,
    Unclear,
    WebhookReported,
)
from tracking.orders.rules import interpret
from tracking.orders.vocabulary import PollReason
from tracking.storage import counters
from tracking.storage import orders as store
from tracking.storage.database import Database
from tracking.storage.tables import CALLBACKS, COUNTERS, EVENTS, LINES, ORDERS, upsert

GROUP = 500
_TYPES = {OrderType.LINKS: 45, OrderType.DIGITAL: 38, OrderType.PHYSICAL: 10, OrderType.CODES: 7}
_AMOUNTS = {"CVS": (1000, 2500, 5000), "AMAZON": (1500, 2500, 10000), "TARGET": (2000, 5000), "STARBUCKS": (500, 1000)}
_PLASTIC = {"CVSCARD": (2500, 5000), "GIFTBOX": (5000, 10000)}
_DONE_LINE = {OrderType.DIGITAL: "Sent", OrderType.PHYSICAL: "Shipped"}
_BUSY_HOURS = (1, 1, 1, 1, 1, 1, 2, 4, 8, 12, 14, 14, 12, 13, 14, 13, 11, 9, 7, 5, 4, 3, 2, 1)
_COST_PERCENT = 97


@dataclass(slots=True)
class _Told:
    """One order with its log, ready to be stored."""

    order: Order
    events: list[Event] = field(default_factory=list)
    befores: list[Order | None] = field(default_factory=list)
    looks: list[datetime] = field(default_factory=list)
    notice: datetime | None = None
    stated: datetime | None = None


def seed(
    database: Database,
    orders: int,
    *,
    days: int,
    rng: random.Random,
    now: datetime,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Fills an empty store with `orders` orders of the last `days`; returns how many events that made.

    Raises:
        NotAllowed: the store holds orders already.
    """
    with database.read() as connection:
        if connection.execute(sa.select(ORDERS.c.id).limit(1)).first() is not None:
            raise NotAllowed("the store holds orders already; made-up history goes into an empty store only")
    made = events = 0
    told = _all(orders, days, rng, now)
    while group := list(itertools.islice(told, GROUP)):
        database.write(_Writing(group, now))
        made += len(group)
        events += sum(len(one.events) for one in group)
        if progress is not None:
            progress(made, orders)
    return events


def _all(orders: int, days: int, rng: random.Random, now: datetime) -> Iterator[_Told]:
    for number, at in enumerate(_moments(orders, days, rng, now), 1):
        maker = _Maker(number, at, rng)
        told = _tell(maker.observations(), f"SEED-{at:%y%m%d}-{number:07d}", now)
        told.stated = maker.finished.replace(microsecond=0)
        yield told


def _moments(orders: int, days: int, rng: random.Random, now: datetime) -> list[datetime]:
    """When the orders were placed, oldest first: busier by day than by night."""
    hours = range(24 * days)
    weights = [_BUSY_HOURS[(now - timedelta(hours=hour)).hour] for hour in hours]
    chosen = rng.choices(hours, weights, k=orders)
    return sorted(now - timedelta(seconds=hour * 3600 + rng.uniform(1, 3600)) for hour in chosen)


class _Maker:
    """Makes up what would have been seen of one order."""

    def __init__(self, number: int, at: datetime, rng: random.Random) -> None:
        self.finished = self._at = at
        self._rng = rng
        self._type = rng.choices(list(_TYPES), list(_TYPES.values()))[0]
        self._provider_id = f"SEED-BLK-{number:09d}"
        self._number = number
        self._lines = tuple(self._line(position) for position in range(1, self._size() + 1))
        self._units = sum(line.quantity for line in self._lines)

    def _size(self) -> int:
        return self._rng.choices((1, self._rng.randint(2, 5), self._rng.randint(6, 30), 100), (76, 18, 5, 1))[0]

    def _line(self, position: int) -> Line:
        assortment = _PLASTIC if self._type == OrderType.PHYSICAL else _AMOUNTS
        product = self._rng.choice(list(assortment))
        return Line(
            position,
            product,
            self._rng.choice(assortment[product]),
            1 if self._rng.random() < 0.9 else self._rng.randint(2, 5),
            external_id=f"seed-{self._number}-{position}",
            recipient=f"person{self._number}@example.com" if self._type == OrderType.DIGITAL else None,
        )

    def _shown(self, status: str) -> Snapshot:
        done = status == State.COMPLETED
        lines = tuple(
            replace(
                line,
                status=_DONE_LINE.get(self._type, "Completed") if done else line.status,
                claims=line.quantity if done and self._type in {OrderType.LINKS, OrderType.CODES} else 0,
                provider_line_id=f"LI-{self._number}-{line.number}",
                cost_minor=line.value_minor * line.quantity * _COST_PERCENT // 100,
            )
            for line in self._lines
        )
        return Snapshot(self._provider_id, None, status, self._type, self._at, lines, currency="USD")

    def observations(self) -> Iterator[Observation]:
        """What was seen, in the order in which it was learned; it goes on beyond the present."""
        rng = self._rng
        accepted = self._at
        if rng.random() < 0.25:
            first = self._at + timedelta(seconds=rng.uniform(1, 30))
            yield Observation(Witness.POLL, first, first, Polled(self._shown("Pending"), via="list"))
        else:
            yield self._seen(Witness.US, self._at, self._requested())
            sent = self._at + timedelta(seconds=rng.uniform(0.05, 0.5))
            yield self._seen(Witness.US, sent, Attempted(1))
            accepted = sent + timedelta(seconds=rng.uniform(0.1, 1))
            fate = rng.random()
            if fate < 0.01:
                yield self._seen(Witness.ANSWER, accepted, Declined(422, "the balance does not cover the order"))
                return
            if fate < 0.02:
                yield self._seen(Witness.US, accepted, Unclear("no answer within 30 seconds"))
                accepted += timedelta(seconds=rng.uniform(1, 4))
                yield self._seen(Witness.US, accepted, Attempted(2))
            yield self._seen(Witness.ANSWER, accepted, Answered(self._shown("Pending"), adopted=0.01 <= fate < 0.02))
        yield from self._followed(accepted)

    def _followed(self, accepted: datetime) -> Iterator[Observation]:
        """Looks with growing waits, a notice for most, and the look that shows the end; a few never end."""
        fate = self._rng.random()
        end = "Cancelled" if fate < 0.012 else "Completed"
        took = self._took() if fate < 0.998 else timedelta(days=3650)
        self.finished = finished = accepted + took
        noticed = finished + timedelta(seconds=self._rng.uniform(0.2, 5))
        sees_notice = end == "Completed" and self._rng.random() < 0.85
        at, wait = accepted, timedelta(seconds=2)
        while True:
            at, wait = at + wait, wait * self._rng.uniform(1.8, 2.6)
            if sees_notice and noticed < at:
                yield self._seen(Witness.WEBHOOK, noticed, WebhookReported(self._provider_id))
                at = noticed + timedelta(seconds=self._rng.uniform(0.05, 1))
            if at >= finished:
                yield self._seen(Witness.POLL, at, Polled(self._shown(end)))
                return
            yield self._seen(Witness.POLL, at, Polled(self._shown("Pending")))

    def _took(self) -> timedelta:
        if self._type == OrderType.PHYSICAL:
            return timedelta(hours=self._rng.lognormvariate(math.log(30), 0.5))
        return timedelta(seconds=(8 + 1.5 * self._units) * self._rng.lognormvariate(0, 0.8))

    def _requested(self) -> Requested:
        value = sum(line.quantity * line.value_minor for line in self._lines)
        return Requested(self._type, "seed", self._units, value, self._lines, "made up", "USD")

    def _seen(self, witness: Witness, at: datetime, seen: Observed) -> Observation:
        happened = at - timedelta(seconds=0.15) if isinstance(seen, Polled | Answered) else at
        return Observation(witness, happened, at, seen, "seed" if isinstance(seen, Requested) else None)


def _tell(observations: Iterable[Observation], po_number: str, now: datetime) -> _Told:
    """Folds what was learned up to now by the rules that serve live."""
    told: _Told | None = None
    for observation in observations:
        if told is not None and observation.learned_at > now:
            break
        seen = observation.observed
        if told is None:
            [first] = interpret(None, po_number, observation)
            told = _Told(replace(first_order(first), lines=_first_lines(seen)), [first], [None])
            if isinstance(seen, Requested):
                continue
        for event in interpret(told.order, po_number, observation):
            told.befores.append(told.order)
            told.events.append(event)
            told.order = apply_event(told.order, event)
        if isinstance(seen, Polled):
            told.looks.append(observation.learned_at)
        elif isinstance(seen, WebhookReported):
            told.notice = observation.learned_at
    if told is None:
        raise ValueError("an order needs an observation to begin with")
    return told


def _first_lines(seen: Observed) -> tuple[Line, ...]:
    if isinstance(seen, Requested):
        return seen.lines
    shown = seen.snapshot.lines if isinstance(seen, Polled) and seen.snapshot else ()
    return tuple(replace(line, status=State.PENDING.value, claims=0, cost_minor=None) for line in shown)


@dataclass(frozen=True, slots=True)
class _Writing:
    """The job that stores one group."""

    group: Sequence[_Told]
    now: datetime

    def __call__(self, connection: Connection) -> None:
        written = [_written(told, self.now) for told in self.group]
        added = sa.insert(ORDERS).returning(ORDERS.c.id, sort_by_parameter_order=True)
        ids = connection.execute(added, [row for row, _, _ in written]).scalars().all()
        numbered = list(zip(ids, self.group, strict=True))
        lines = [{"order_id": key} | line for key, (_, rows, _) in zip(ids, written, strict=True) for line in rows]
        events = [{"order_id": key} | event for key, (_, _, rows) in zip(ids, written, strict=True) for event in rows]
        connection.execute(sa.insert(LINES), lines)
        connection.execute(sa.insert(EVENTS), events)
        if notices := [_callback_row(number, told) for number, told in numbered if told.notice]:
            connection.execute(sa.insert(CALLBACKS), notices)
        connection.execute(*_counted(connection, self.group))


def _written(told: _Told, now: datetime) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of the order, of its lines and of its log, the latter two without the order's id."""
    order = told.order
    lines = chain.line_rows(order.lines, store.new_salt)
    first, *others = told.events
    events = [chain.with_contents(first, lines), *others]
    log, head = chain.event_rows(order.po_number, chain.first_hash(order.po_number), 0, events)
    waits = is_open(order.state) and order.provider_id is not None
    row = {name: getattr(order, name) for name in ORDER_FIELDS} | {
        "line_count": len(lines),
        "event_count": len(log),
        "head": head,
        "looks": len(told.looks),
        "last_look_at": told.looks[-1] if told.looks else None,
        # Finished orders are not followed: the provider has never heard of them, and asking would be in vain.
        "next_look_at": now + timedelta(minutes=5) if waits else None,
        "next_look_why": PollReason.MAY_HAVE_FINISHED.value if waits else None,
        "late_at": (order.accepted_at or order.created_at) + first_late_after(order.type, order.units),
    }
    return row, lines, log


def _callback_row(order_id: int, told: _Told) -> dict[str, Any]:
    return {
        "digest": hashlib.sha256(f"{told.order.po_number} notice".encode()).hexdigest(),
        "received_at": told.notice,
        "last_at": told.notice,
        "outcome": "accepted",
        "action": "FulfillmentComplete",
        "po_number": told.order.po_number,
        "provider_id": told.order.provider_id,
        "stated_at": told.stated,
        "order_id": order_id,
        "repeats": 0,
        "method": "POST",
        "size": 150,
    }


def _counted(connection: Connection, group: Sequence[_Told]) -> tuple[Any, list[dict[str, Any]]]:
    """The statement that adds what the group means for the counters, and its rows."""
    sums: dict[tuple[str, datetime, str], Counter[str]] = {}
    for told in group:
        order = told.order
        for before, event in zip(told.befores, told.events, strict=True):
            after = first_order(event) if before is None else apply_event(before, event)
            for name, hour, state, sign in counters.event_movements(before, after, event):
                adding = {"orders": sign, "units": sign * order.units, "value_minor": sign * order.value_minor}
                sums.setdefault((name, hour, state), Counter()).update(adding)
    statement: Any = upsert(connection, COUNTERS)
    columns = ("orders", "units", "value_minor")
    grown = {column: COUNTERS.c[column] + statement.excluded[column] for column in columns}
    rows = [
        {"name": name, "hour": hour, "state": state, **{column: counts[column] for column in columns}}
        for (name, hour, state), counts in sums.items()
    ]
    return statement.on_conflict_do_update(index_elements=["name", "hour", "state"], set_=grown), rows
