"""Acts of the demonstration's team: who does what and when, to one order or by a job over several. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tracking.orders.model import OrderType
from tracking.orders.observations import Asked, Assigned, ClaimRevealed, Noted, Reopened, Snoozed
from tracking.reports.order_list.filters import Filters
from tracking.team.plans import Act, Parameters

TEAM = ANN, BEN, MIA = "Ann Reyes", "Ben Okafor", "Mia Lindqvist"
VIEW = "Cards by post under way", Filters(view="open", types=(OrderType.PHYSICAL.value,))
SOLD_OUT = 6  # orders that the provider cancelled today for one reason
SOLD_OUT_BETWEEN = 312, 288  # so many minutes ago they were placed
_SHARE_WITH_NOTE, _SHARE_REVEALED = 0.07, 0.12
_NOTES = (
    "Asked when it comes; promised an answer by tomorrow",
    "Wrong department, the budget is marketing's",
    "Recipient changed jobs; the address is still right",
    "Says the mail is in the spam folder",
)
_HAS_CLAIMS = frozenset({OrderType.LINKS, OrderType.CODES})


Doing = Asked | Assigned | ClaimRevealed | Noted | Reopened | Snoozed


@dataclass(frozen=True, slots=True)
class PlannedAct:
    """One act of a person on one order."""

    at: datetime
    person: str
    what: Doing


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """An act on `total` orders, chosen by a filter; without one they are all of an import. `key` is its own."""

    key: str
    at: datetime
    person: str
    act: Act
    total: int
    filters: Filters | None = None
    parameters: Parameters = field(default_factory=Parameters)


Planned = tuple[PlannedAct | PlannedJob, ...]


def everyday(at: datetime, kind: OrderType, rng: random.Random) -> Planned:
    """Draw what somebody did with an order of the form that needs nobody: a note, a look at a link that was sent."""
    return tuple(_everyday(at, kind, rng))


def _everyday(at: datetime, kind: OrderType, rng: random.Random) -> Iterator[PlannedAct]:
    later = at + timedelta(minutes=rng.uniform(15, 300))
    if rng.random() < _SHARE_WITH_NOTE:
        yield PlannedAct(later, rng.choice(TEAM), Noted(rng.choice(_NOTES)))
    if rng.random() < _SHARE_REVEALED and kind in _HAS_CLAIMS:
        yield PlannedAct(later + timedelta(minutes=1), rng.choice(TEAM), ClaimRevealed(1, 1))


def sold_out(until: datetime, number: int) -> Planned:
    """What was done with each of the orders that were cancelled at once: one of them alone, all the others by a job."""
    reason = "Sold out; customers chose another card"
    begin, end = ((until - timedelta(minutes=each)).replace(second=0, microsecond=0) for each in SOLD_OUT_BETWEEN)
    chosen = Filters(view="attention", reasons=("cancelled",), created_from=begin, created_to=end)
    begun, parameters = until - timedelta(minutes=225), Parameters(reason=reason)
    job = PlannedJob("sold out", begun, ANN, Act.ACKNOWLEDGE, SOLD_OUT, chosen, parameters)
    sooner = PlannedAct(begun + timedelta(seconds=0.2), MIA, Noted("Refunded", acknowledges=True))
    return (job,) if number else (sooner, job)


def follow_up(file: str, at: datetime, person: str, orders: int) -> PlannedJob:
    """All orders of a file are given to a colleague by whoever uploaded it."""
    colleague = TEAM[(TEAM.index(person) + 1) % len(TEAM)]
    return PlannedJob(
        file, at + timedelta(minutes=2), person, Act.ASSIGN, orders, parameters=Parameters(assignee=colleague)
    )
