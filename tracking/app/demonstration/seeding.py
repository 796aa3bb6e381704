"""Demo data: fill a store with made-up orders for a demonstration or a measurement, through the real rules.

Every order is a list of observations that `rules` turns into events, stored as live ones are, so that recomputing the
store agrees with it. Nothing of it can be sent: there is no outbox row for any of them.
"""

import functools
import hashlib
import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from tracking.errors import NotAllowed
from tracking.forecasting.classes import first_late_after
from tracking.orders import model
from tracking.orders.model import OrderType, Witness
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
from tracking.provider import recipients
from tracking.storage import inbox
from tracking.storage import orders as order_store
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS

ORDERS_PER_TRANSACTION = 500
_TYPES = {OrderType.LINKS: 45, OrderType.DIGITAL: 38, OrderType.PHYSICAL: 10, OrderType.CODES: 7}
_AMOUNTS = {"CVS": (1000, 2500, 5000), "AMAZON": (1500, 2500, 10000), "TARGET": (2000, 5000), "STARBUCKS": (500, 1000)}
_PLASTIC = {"CVSCARD": (2500, 5000), "GIFTBOX": (5000, 10000)}
_DONE_LINE = {OrderType.DIGITAL: "Sent", OrderType.PHYSICAL: "Shipped"}
_BUSY_HOURS = (1, 1, 1, 1, 1, 1, 2, 4, 8, 12, 14, 14, 12, 13, 14, 13, 11, 9, 7, 5, 4, 3, 2, 1)
_COST_PERCENT = 97


@dataclass(frozen=True, slots=True)
class _History:
    """One order with its log, ready to be stored."""

    events: list[model.Event]
    after: list[model.Order]  # the order after each of the events
    polls: list[datetime]
    webhook_at: datetime | None
    stated_at: datetime  # when it was finished, to the second, as the webhook call says


def seed(
    database: Database,
    orders: int,
    *,
    days: int,
    rng: random.Random,
    now: datetime,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Fill an empty store with `orders` orders of the last `days`; returns how many events that made.

    Raises NotAllowed where the store holds orders already.
    """
    with database.read() as connection:
        if connection.execute(sa.select(ORDERS.c.id).limit(1)).first() is not None:
            raise NotAllowed("the database already holds orders; made-up history goes into an empty database only")
    written = events = 0
    makers = (_OrderMaker(*numbered, rng) for numbered in enumerate(_placing_times(orders, days, rng, now), 1))
    while group := [_fold(maker, now) for maker in itertools.islice(makers, ORDERS_PER_TRANSACTION)]:
        database.write(functools.partial(_store, group=group, now=now))
        written += len(group)
        events += sum(len(history.events) for history in group)
        if progress is not None:
            progress(written, orders)
    return events


def _placing_times(orders: int, days: int, rng: random.Random, now: datetime) -> list[datetime]:
    """Draw when the orders were placed, oldest first: busier by day than by night."""
    hours = range(24 * days)
    weights = [_BUSY_HOURS[(now - timedelta(hours=hour)).hour] for hour in hours]
    chosen = rng.choices(hours, weights, k=orders)
    return sorted(now - timedelta(seconds=hour * 3600 + rng.uniform(1, 3600)) for hour in chosen)


class _OrderMaker:
    """Makes up the observations of one order."""

    def __init__(self, number: int, at: datetime, rng: random.Random) -> None:
        self.po_number = f"SEED-{at:%y%m%d}-{number:07d}"
        self.finished = self._at = at
        self._rng = rng
        self._type = rng.choices(list(_TYPES), list(_TYPES.values()))[0]
        self._provider_id = f"SEED-BLK-{number:09d}"
        self._number = number
        size = rng.choices((1, rng.randint(2, 5), rng.randint(6, 30), 100), (76, 18, 5, 1))[0]
        self._lines = tuple(self._line(position) for position in range(1, size + 1))
        self._units = sum(line.quantity for line in self._lines)

    def _line(self, position: int) -> model.Line:
        assortment = _PLASTIC if self._type == OrderType.PHYSICAL else _AMOUNTS
        product = self._rng.choice(list(assortment))
        return model.Line(
            position,
            product,
            self._rng.choice(assortment[product]),
            1 if self._rng.random() < 0.9 else self._rng.randint(2, 5),
            external_id=f"seed-{self._number}-{position}",
            recipient=f"person{self._number}@example.com" if self._type == OrderType.DIGITAL else None,
        )

    def _snapshot(self, status: str) -> model.Snapshot:
        done = status == model.State.COMPLETED
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
        return model.Snapshot(self._provider_id, None, status, self._type, self._at, lines, currency="USD")

    def observations(self) -> Iterator[Observation]:
        """Make the observations in the order in which they were learned; they go on beyond the present."""
        rng = self._rng
        accepted = self._at
        if rng.random() < 0.25:
            first = self._at + timedelta(seconds=rng.uniform(1, 30))
            yield Observation(Witness.POLL, first, first, Polled(self._snapshot("Pending"), via="list"))
        else:
            value = sum(line.quantity * line.value_minor for line in self._lines)
            requested = Requested(self._type, "seed", self._units, value, self._lines, "made up", "USD")
            yield self._observation(Witness.US, self._at, requested)
            sent = self._at + timedelta(seconds=rng.uniform(0.05, 0.5))
            yield self._observation(Witness.US, sent, Attempted(1))
            accepted = sent + timedelta(seconds=rng.uniform(0.1, 1))
            fate = rng.random()
            if fate < 0.01:
                yield self._observation(Witness.ANSWER, accepted, Declined(422, "the balance does not cover the order"))
                return
            if fate < 0.02:
                yield self._observation(Witness.US, accepted, Unclear("no answer within 30 seconds"))
                accepted += timedelta(seconds=rng.uniform(1, 4))
                yield self._observation(Witness.US, accepted, Attempted(2))
            answered = Answered(self._snapshot("Pending"), adopted=0.01 <= fate < 0.02)
            yield self._observation(Witness.ANSWER, accepted, answered)
        yield from self._tracking(accepted)

    def _tracking(self, accepted: datetime) -> Iterator[Observation]:
        """Make polls with growing waits, a webhook call for most, and the poll that finds the end; a few never end."""
        fate = self._rng.random()
        end = "Cancelled" if fate < 0.012 else "Completed"
        duration = self._duration() if fate < 0.998 else timedelta(days=3650)
        self.finished = finished = accepted + duration
        webhook_at = finished + timedelta(seconds=self._rng.uniform(0.2, 5))
        webhook_comes = end == "Completed" and self._rng.random() < 0.85
        at, wait = accepted, timedelta(seconds=2)
        while True:
            at, wait = at + wait, wait * self._rng.uniform(1.8, 2.6)
            if webhook_comes and webhook_at < at:
                yield self._observation(Witness.WEBHOOK, webhook_at, WebhookReported(self._provider_id))
                at = webhook_at + timedelta(seconds=self._rng.uniform(0.05, 1))
            if at >= finished:
                yield self._observation(Witness.POLL, at, Polled(self._snapshot(end)))
                return
            yield self._observation(Witness.POLL, at, Polled(self._snapshot("Pending")))

    def _duration(self) -> timedelta:
        if self._type == OrderType.PHYSICAL:
            return timedelta(hours=self._rng.lognormvariate(math.log(30), 0.5))
        return timedelta(seconds=(8 + 1.5 * self._units) * self._rng.lognormvariate(0, 0.8))

    def _observation(self, witness: Witness, at: datetime, observed: Observed) -> Observation:
        happened = at - timedelta(seconds=0.15) if isinstance(observed, Polled | Answered) else at
        return Observation(witness, happened, at, observed, "seed" if isinstance(observed, Requested) else None)


def _fold(maker: _OrderMaker, now: datetime) -> _History:
    """Fold the observations up to now, the first of them in any case, by the rules that serve live."""
    observations = maker.observations()
    first = next(observations)
    events = interpret(None, maker.po_number, first)
    after = [replace(model.first_order(events[0]), lines=_first_lines(first.observed))]
    again = () if isinstance(first.observed, Requested) else (first,)
    later = itertools.takewhile(lambda observation: observation.learned_at <= now, observations)
    polls, webhook_at = list[datetime](), None
    for observation in itertools.chain(again, later):
        for event in interpret(after[-1], maker.po_number, observation):
            events.append(event)
            after.append(model.apply_event(after[-1], event))
        if isinstance(observation.observed, Polled):
            polls.append(observation.learned_at)
        elif isinstance(observation.observed, WebhookReported):
            webhook_at = observation.learned_at
    return _History(events, after, polls, webhook_at, maker.finished.replace(microsecond=0))


def _first_lines(observed: Observed) -> tuple[model.Line, ...]:
    if isinstance(observed, Requested):
        return observed.lines
    lines = observed.snapshot.lines if isinstance(observed, Polled) and observed.snapshot else ()
    return tuple(replace(line, status=model.State.PENDING.value, claims=0, cost_minor=None) for line in lines)


def _store(connection: Connection, group: Sequence[_History], now: datetime) -> None:
    """Store the histories as `ingest` stores live ones, and the webhook calls that they tell of."""
    for history in group:
        order, polls = history.after[-1], history.polls
        waits = model.is_open(order.state) and order.provider_id is not None
        columns = {
            "looks": len(polls),
            "last_look_at": polls[-1] if polls else None,
            # Finished orders are not followed: the provider has never heard of them, and asking would be in vain.
            "next_look_at": now + timedelta(minutes=5) if waits else None,
            "next_look_why": PollReason.MAY_HAVE_FINISHED.value if waits else None,
            "late_at": (order.accepted_at or order.created_at) + first_late_after(order.type, order.units),
        }
        keys = [recipients.search_key({}, line.recipient) for line in history.after[0].lines]
        stored = order_store.add_order(connection, history.after[0], history.events[0], columns, keys)
        order_store.save_order(connection, stored, history.after[1:], history.events[1:])
        if history.webhook_at is not None:
            call = {
                "digest": hashlib.sha256(f"{order.po_number} notice".encode()).hexdigest(),
                "outcome": "accepted",
                "action": "FulfillmentComplete",
                "po_number": order.po_number,
                "provider_id": order.provider_id,
                "stated_at": history.stated_at,
                "order_id": stored.id,
                "size": 150,
            }
            inbox.record_webhook_call(connection, call, history.webhook_at)
