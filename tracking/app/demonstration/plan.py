"""Plan of the demonstration's week: which orders were placed when and by whom, and what became of each. Pure."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from tracking.app.demonstration.past import Course
from tracking.app.demonstration.requests import NOTES, TYPES_ELSEWHERE, draw_sizes, make_document, order_type
from tracking.app.demonstration.team.acts import (
    ANN,
    BEN,
    MIA,
    SOLD_OUT,
    TEAM,
    Doing,
    Planned,
    PlannedAct,
    everyday,
    follow_up,
    sold_out,
)
from tracking.orders.model import OrderType
from tracking.orders.observations import Assigned, ClaimRevealed, Noted, Reopened, Snoozed
from tracking.submissions.submit import new_po_number

DAYS = 7
ORDERS = 780  # at random; the files and the orders of today's cast come on top
SYSTEMS = ("SHOP", "CRM", "HR", "SURVEY")
FIRST_SERIAL = 100_001  # beyond the numbers that live traffic from elsewhere begins with
_ELSEWHERE = 0.5
_OUTAGES = ((9, 3), (19, 2), (75, 4))  # hours ago, orders that were sent into it
_FILES = ((5.2, 18, 1), (3.4, 30, 2), (1.3, 24, 1), (0.23, 16, 2))  # days ago, orders, lines of each


class Mishap(Enum):
    """What goes wrong while an order is sent: the result of each attempt, and the last one's of all further ones."""

    NONE = ("accepted",)
    TIMEOUT = ("timeout after", "conflict")
    TIMEOUT_BEFORE = ("timeout", "accepted")
    UNSETTLED = ("timeout",)
    OUTAGE = (*("timeout",) * 14, "accepted")
    BALANCE = ("too little balance", "accepted")
    REJECTED = ("rejected",)
    THROTTLED = ("throttled", "accepted")
    CUT_OFF = ("cut off",)
    TAKEN = ("taken",)


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """One order of the week.

    `person` acts on what needs a decision, so long after it was placed: sends it again where it was refused for lack of
    balance, else acknowledges it. `file` names the CSV file it came in. `acts` is what else the team did with it.
    """

    at: datetime
    source: str
    document: Mapping[str, Any]
    actor: str | None = None
    course: Course = field(default_factory=Course)
    mishap: Mishap = Mishap.NONE
    person: tuple[str, timedelta] | None = None
    file: str | None = None
    acts: Planned = ()

    @property
    def po_number(self) -> str:
        """Its PONumber."""
        return str(self.document["PONumber"])


def plan_week(until: datetime, seed: int, orders: int = ORDERS) -> list[PlannedOrder]:
    """Plan the week that ends now: the oldest first, the same for the same arguments."""
    rng = random.Random(f"{seed}/{until.isoformat()}")  # noqa: S311 - made-up orders guard nothing  # nosec B311
    serials = itertools.count(FIRST_SERIAL)
    planned = [_random_order(at, next(serials), rng, until) for at in _placing_times(until, orders, rng)]
    shrunk = [(days, math.ceil(size * min(orders / ORDERS, 1)), lines) for days, size, lines in _FILES]
    files = itertools.chain.from_iterable(_file(until, *file, rng) for file in shrunk)
    return sorted([*planned, *files, *_cast(until, rng)], key=lambda one: one.at)


def _placing_times(until: datetime, orders: int, rng: random.Random) -> list[datetime]:
    """Draw when orders were placed: most at this time of the day, and more of them from day to day."""
    hours = range(24 * DAYS)
    weights = [_busy(hour) * (0.3 + 0.7 * math.exp(-hour / 60)) for hour in hours]
    chosen = rng.choices(hours, weights, k=orders)
    return [until - timedelta(seconds=hour * 3600 + rng.uniform(60, 3600)) for hour in chosen]


def _busy(hours_ago: int) -> float:
    return 0.12 + 0.88 * ((1 + math.cos(math.tau * hours_ago / 24)) / 2) ** 3


def _random_order(at: datetime, serial: int, rng: random.Random, until: datetime) -> PlannedOrder:
    if rng.random() < _ELSEWHERE:
        kind = order_type(rng, TYPES_ELSEWHERE)
        po_number = f"{rng.choice(SYSTEMS)}-{at:%Y%m%d}-{serial:06d}"
        sizes = draw_sizes(rng, kind)
        document = make_document(rng, kind, po_number, sizes)
        course, person = _course(rng, until - at, several=sum(sizes) > 2)
        return PlannedOrder(at, "elsewhere", document, course=course, person=person)
    kind = order_type(rng)
    sizes = draw_sizes(rng, kind)
    document = make_document(rng, kind, new_po_number(at, rng), sizes)
    source, actor = rng.choice((("form", rng.choice(TEAM)), ("api", "CRM"), ("api", "Loyalty programme")))
    course, person = _course(rng, until - at, several=sum(sizes) > 2)
    mishap = rng.choices(
        (Mishap.NONE, Mishap.TIMEOUT, Mishap.TIMEOUT_BEFORE, Mishap.THROTTLED, Mishap.BALANCE, Mishap.REJECTED),
        (930, 25, 12, 13, 14, 6),
    )[0]
    if mishap in {Mishap.BALANCE, Mishap.REJECTED}:
        person = _decision(rng)
        mishap = mishap if until - at > timedelta(hours=8) else Mishap.NONE  # today's are those of the cast
    acts = everyday(at, kind, rng) if source == "form" else ()
    return PlannedOrder(at, source, document, actor, course, mishap, person, acts=acts)


def _course(rng: random.Random, age: timedelta, *, several: bool) -> tuple[Course, tuple[str, timedelta] | None]:
    """Draw how the provider handles an order, and who acknowledges what became of it. Today nothing needs a person."""
    webhooks = ("normal", "duplicate", "never", "late", "foreign")
    faults: dict[str, Any] = {"webhook": rng.choices(webhooks, (86, 6, 5, 2, 1))[0]}
    fate = rng.random()
    if fate < 0.1 and several:  # what is simple is done in its time, so that it is soon clear when one is late
        return Course(faults | ({"pace": 6.0} if fate < 0.06 else {"approval": True})), None
    if 0.1 <= fate < 0.13 and age > timedelta(hours=12):
        fault = "cancelled" if fate < 0.115 else "unknown_status"
        return Course(faults | {fault: True}), _decision(rng)
    return Course(faults), None


def _decision(rng: random.Random) -> tuple[str, timedelta]:
    return rng.choice(TEAM), timedelta(minutes=rng.uniform(20, 400))


def _file(until: datetime, days: float, orders: int, lines: int, rng: random.Random) -> Iterator[PlannedOrder]:
    """One CSV file, handed in at once."""
    at, actor = until - timedelta(days=days), rng.choice(TEAM)
    name = f"{rng.choice(NOTES).lower().replace(' ', '-')}-{at:%Y-%m-%d}.csv"
    acts = (follow_up(name, at, actor, orders),) if days < 1 else ()
    for number in range(1, orders + 1):
        kind = rng.choice((OrderType.LINKS, OrderType.DIGITAL))
        document = make_document(rng, kind, f"GIFT-{at:%Y%m%d}-{number:03d}", (lines, 1), name.partition(".")[0])
        course = Course({"webhook": rng.choice(("normal", "normal", "normal", "duplicate"))})
        yield PlannedOrder(at, "csv", document, actor, course, file=name, acts=acts)


def _cast(until: datetime, rng: random.Random) -> Iterator[PlannedOrder]:
    """Today's orders that show each state an order can be in, each reason for a decision, and a bulk order at work.

    With some of them the team has done something; others nobody has yet.
    """

    def did(minutes: float, person: str, what: Doing) -> PlannedAct:
        return PlannedAct(until - timedelta(minutes=minutes), person, what)

    def ours(minutes: float, kind: OrderType, mishap: Mishap = Mishap.NONE, **how: Any) -> PlannedOrder:
        at = until - timedelta(minutes=minutes)
        lines, quantity, seconds, claims = (how.pop(name, None) for name in ("lines", "quantity", "seconds", "claims"))
        note, acts = how.pop("note", ""), how.pop("acts", ())
        document = make_document(rng, kind, new_po_number(at, rng), (lines or 1, quantity or 1), note)
        return PlannedOrder(at, "form", document, rng.choice(TEAM), Course(how, seconds, claims), mishap, acts=acts)

    for hours, orders in _OUTAGES:
        since = (until - timedelta(hours=hours)).replace(minute=40)
        for _ in range(orders):
            before = (until - since).total_seconds() / 60 - rng.uniform(0, 6)
            yield ours(before, OrderType.LINKS, Mishap.OUTAGE)
    tomorrow = (until + timedelta(days=1)).replace(hour=9, minute=0, second=0, microsecond=0)
    links, digital, physical = OrderType.LINKS, OrderType.DIGITAL, OrderType.PHYSICAL
    yield ours(5, digital, lines=320, seconds=660.0, note="Annual thank-you")
    yield ours(0.25, links, Mishap.THROTTLED)
    yield ours(0.05, digital, Mishap.CUT_OFF)
    yield ours(5.5, links, Mishap.UNSETTLED, quantity=2)
    yield ours(25, digital, Mishap.BALANCE, lines=12)
    waits = did(118, MIA, Assigned(BEN)), did(104, BEN, Snoozed(tomorrow, "Finance pays in tomorrow morning"))
    yield ours(140, links, Mishap.BALANCE, lines=6, acts=waits)
    yield ours(47, digital, Mishap.REJECTED)
    yield ours(95, links, Mishap.TAKEN, acts=(did(61, MIA, Assigned(MIA)),))
    yield ours(6, links, lines=5, claim_data="late", claims=3600.0, seconds=0.0)
    yield ours(3, digital, seconds=420.0, lines=4)
    yield ours(50, physical, seconds=70_000.0)
    yield ours(200, physical, approval=True, seconds=43_000.0, lines=3)
    yield ours(80, digital, approval=True, seconds=14_000.0)
    yield ours(165, links, acts=(did(96, ANN, ClaimRevealed(1, 1)),))
    agreed = did(57, BEN, Snoozed(None, "The customer expects it next week"))
    yield ours(900, physical, seconds=200_000.0, lines=2, acts=(agreed,))
    again = did(31, MIA, Reopened("Still in review, and the customer asks again")), did(30.5, MIA, Assigned(MIA))
    review = did(45, ANN, Noted("Agreed with the provider", acknowledges=True)), *again
    yield ours(500, physical, unknown_status=True, seconds=60_000.0, acts=review)
    yield ours(70, digital, cancelled=True)
    yield ours(190, links, cancelled=True, lines=5)
    yield ours(560, physical, webhook="early", seconds=41_000.0)
    yield ours(250, digital, regress=True, seconds=7200.0, acts=(did(28, ANN, Assigned(ANN)),))
    yield ours(330, links, lines=6, never=True)
    ticket = did(415, BEN, Assigned(BEN)), did(410, BEN, Noted("The provider investigates; they call back"))
    yield ours(1600, digital, never=True, lines=2, acts=(*ticket, did(52, BEN, Snoozed(tomorrow, "No call yet"))))
    for number in range(SOLD_OUT):
        yield ours(310 - 3 * number, digital, cancelled=True, seconds=900.0, acts=sold_out(until, number))
