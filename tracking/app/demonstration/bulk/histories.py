"""Histories of made-up orders: what was observed of each, and the events and states that the live rules derive."""

import functools
import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

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

_TYPES = (OrderType.LINKS, OrderType.DIGITAL, OrderType.PHYSICAL, OrderType.CODES)
_TYPE_WEIGHTS = (45, 83, 93, 100)  # each with those before it
# Products and amounts, each product as often as any other.
_CARDS = (
    *(("CVS", amount) for amount in (1000, 2500, 5000) * 2),
    *(("AMAZON", amount) for amount in (1500, 2500, 10000) * 2),
    *(("TARGET", amount) for amount in (2000, 5000) * 3),
    *(("STARBUCKS", amount) for amount in (500, 1000) * 3),
)
_PLASTIC = (("CVSCARD", 2500), ("CVSCARD", 5000), ("GIFTBOX", 5000), ("GIFTBOX", 10000))
_DONE_LINE = {OrderType.DIGITAL: "Sent", OrderType.PHYSICAL: "Shipped"}
_COST_PERCENT = 97
_NETWORK = timedelta(seconds=0.15)
_SAME_BYTES = Polled(None)


@dataclass(frozen=True, slots=True)
class History:
    """One order with its log, ready to be stored."""

    events: list[model.Event]
    after: list[model.Order]  # the order after each of the events
    polls: list[datetime]
    webhook_at: datetime | None
    stated_at: datetime  # when it was finished, to the second, as the webhook call says


@functools.lru_cache(maxsize=64)
def _day(ordinal: int) -> str:
    return f"{date.fromordinal(ordinal):%y%m%d}"


class _OrderMaker:
    """Makes up the observations of one order."""

    def __init__(self, number: int, at: datetime, rng: random.Random) -> None:
        self.po_number = f"SEED-{_day(at.toordinal())}-{number:07d}"
        self.finished = self._at = at
        self._rng = rng
        self._type = rng.choices(_TYPES, cum_weights=_TYPE_WEIGHTS)[0]
        self._provider_id = f"SEED-BLK-{number:09d}"
        self._number = number
        size = rng.choices((1, rng.randint(2, 5), rng.randint(6, 30), 100), (76, 18, 5, 1))[0]
        self._lines = tuple(self._line(position) for position in range(1, size + 1))
        self._units = sum([line.quantity for line in self._lines])
        self._pending = self._snapshot("Pending")  # the same whenever it is shown

    def _line(self, position: int) -> model.Line:
        cards = _PLASTIC if self._type == OrderType.PHYSICAL else _CARDS
        product, amount = cards[int(self._rng.random() * len(cards))]  # `choice` takes three times as long
        return model.Line(
            position,
            product,
            amount,
            1 if self._rng.random() < 0.9 else self._rng.randint(2, 5),
            external_id=f"seed-{self._number}-{position}",
            recipient=f"person{self._number}@example.com" if self._type == OrderType.DIGITAL else None,
        )

    def _snapshot(self, status: str) -> model.Snapshot:
        done = status == model.State.COMPLETED
        claimed = done and self._type in {OrderType.LINKS, OrderType.CODES}
        lines = [
            model.Line(
                line.number,
                line.product_id,
                line.value_minor,
                line.quantity,
                _DONE_LINE.get(self._type, "Completed") if done else line.status,
                line.quantity if claimed else 0,
                f"LI-{self._number}-{line.number}",
                line.external_id,
                line.recipient,
                line.value_minor * line.quantity * _COST_PERCENT // 100,
            )
            for line in self._lines
        ]
        return model.Snapshot(self._provider_id, None, status, self._type, self._at, tuple(lines), currency="USD")

    def observations(self) -> Iterator[Observation]:
        """Make the observations in the order in which they were learned; they go on beyond the present."""
        rng = self._rng
        accepted = self._at
        if rng.random() < 0.25:
            first = self._at + timedelta(seconds=rng.uniform(1, 30))
            yield Observation(Witness.POLL, first, first, Polled(self._pending, via="list"))
        else:
            value = sum([line.quantity * line.value_minor for line in self._lines])
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
            answered = Answered(self._pending, adopted=0.01 <= fate < 0.02)
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
        at, wait = accepted, 2.0
        pending = Polled(self._pending)
        while True:
            at, wait = at + timedelta(seconds=wait), wait * self._rng.uniform(1.8, 2.6)
            if webhook_comes and webhook_at < at:
                yield Observation(Witness.WEBHOOK, webhook_at, webhook_at, WebhookReported(self._provider_id))
                at = webhook_at + timedelta(seconds=self._rng.uniform(0.05, 1))
            if at >= finished:
                yield Observation(Witness.POLL, at - _NETWORK, at, Polled(self._snapshot(end)))
                return
            yield Observation(Witness.POLL, at - _NETWORK, at, pending)
            pending = _SAME_BYTES

    def _duration(self) -> timedelta:
        if self._type == OrderType.PHYSICAL:
            return timedelta(hours=self._rng.lognormvariate(math.log(30), 0.5))
        return timedelta(seconds=(8 + 1.5 * self._units) * self._rng.lognormvariate(0, 0.8))

    def _observation(self, witness: Witness, at: datetime, observed: Observed) -> Observation:
        happened = at - _NETWORK if isinstance(observed, Polled | Answered) else at
        return Observation(witness, happened, at, observed, "seed" if isinstance(observed, Requested) else None)


def make_history(number: int, at: datetime, rng: random.Random, now: datetime) -> History:
    """Make up an order that was placed at `at`, and fold what was observed of it up to now by the live rules.

    The first observation is there in any case.
    """
    maker = _OrderMaker(number, at, rng)
    observations = maker.observations()
    first = next(observations)
    events = interpret(None, maker.po_number, first)
    after = [model.first_order(events[0], _first_lines(first.observed))]
    again = () if isinstance(first.observed, Requested) else (first,)
    polls, webhook_at, order = list[datetime](), None, after[0]
    for observation in itertools.chain(again, observations):
        if observation.learned_at > now and observation is not first:
            break
        for event in interpret(order, maker.po_number, observation):
            events.append(event)
            order = model.apply_event(order, event)
            after.append(order)
        if observation.witness is Witness.POLL:
            polls.append(observation.learned_at)
        elif observation.witness is Witness.WEBHOOK:
            webhook_at = observation.learned_at
    return History(events, after, polls, webhook_at, maker.finished.replace(microsecond=0))


def _first_lines(observed: Observed) -> tuple[model.Line, ...]:
    if isinstance(observed, Requested):
        return observed.lines
    lines = observed.snapshot.lines if isinstance(observed, Polled) and observed.snapshot else ()
    return tuple(_as_ordered(line) for line in lines)


def _as_ordered(line: model.Line) -> model.Line:
    """The line before anything became of it."""
    return model.Line(
        line.number,
        line.product_id,
        line.value_minor,
        line.quantity,
        provider_line_id=line.provider_line_id,
        external_id=line.external_id,
        recipient=line.recipient,
    )
