"""Scenarios that people can start: each makes this process's embedded sandbox do what a provider may do.

What is switched on ends by itself, and with the process. Refused where no embedded sandbox runs here.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection

from tracking.access import Person
from tracking.app.demonstration.past import Course, Past
from tracking.app.demonstration.requests import make_document
from tracking.app.embedded_sandbox import running_sandbox
from tracking.errors import NotAllowed
from tracking.forecasting.forecasts import LateBasis
from tracking.forecasting.lateness import stored_limit
from tracking.forecasting.waits import MOST_WEBHOOK_SHARE
from tracking.orders.model import OrderType
from tracking.orders.wording import duration
from tracking.reports.team.drills import running_drill
from tracking.sandbox.server import Sandbox
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.submissions.requests import read_request
from tracking.submissions.submit import new_po_number, submit
from tracking.team import drills
from tracking.webhooks.silence_alarm import ALARMING

BULK_CARDS = 150
OUTAGE = timedelta(minutes=2)
SILENCE = timedelta(minutes=4)
MOST_UNANNOUNCED = 24
SHARE_LEFT = 0.75  # of the webhooks' share: the silence itself lowers it while it lasts
LATE_ORDERS = 10
RELEASED_AFTER = timedelta(minutes=3)  # beyond the time from which they are late
# What the orders are for, as the audit log has it.
SHOW, DRILL = "“Show me”", "a fire drill"
# What lasts a while, and what of the sandbox's provider says until when.
_SWITCHES = {"outage": "outage_until", "silence": "webhooks_held_until"}
_MARKS = re.compile(r"\[[a-z-]+\]")
_LATE_KINDS = [(kind, units) for kind in (OrderType.LINKS, OrderType.DIGITAL) for units in (1, 2, 3, 8)]

Page = Literal["order", "overview", "logs"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One that can be started: its name, its title, and what happens in a few words."""

    name: str
    title: str
    summary: str


@dataclass(frozen=True, slots=True)
class Started:
    """What happens now, in a sentence, and the page where it is seen, with the parameters of its address.

    `orders` are the PONumbers of the orders that it is about; some are known here only once a list shows them.
    """

    message: str
    page: Page
    params: Mapping[str, str]
    orders: tuple[str, ...] = ()


SCENARIOS = (
    Scenario("bulk", "Bulk order", f"{BULK_CARDS} cards in about 5 minutes"),
    Scenario("timeout", "Timeout after placing", "the answer is lost"),
    Scenario("outage", "Provider outage", "each call gets a 503 for 2 minutes"),
    Scenario("silence", "Silent webhooks", "none comes for 4 minutes"),
    Scenario("duplicates", "Duplicate webhooks", "each comes three times"),
    Scenario("late", "Everyone late", f"{LATE_ORDERS} orders stop moving"),
)


TITLES = {scenario.name: scenario.title for scenario in SCENARIOS}
SURPRISES = ("timeout", "outage", "silence", "late")  # those in which something goes wrong


def start(name: str, database: Database, *, by: Person, now: datetime) -> Started:
    """Start a scenario.

    Raises:
        NotPermitted: the person may not.
        NotAllowed: no embedded sandbox runs in this process, or the scenario cannot begin now, as what the team is not
            to know yet would show or be mixed up; the message says why.
        StoreError: nothing was started.
    """
    by.must_operate()
    drill = running_drill(database)
    if drill is not None and drill.is_secret:
        raise NotAllowed("a drill is running that is not named; end it first")
    return _start(name, database, SHOW, by=by, now=now)


def _start(name: str, database: Database, purpose: str, *, by: Person, now: datetime, unnamed: bool = False) -> Started:
    sandbox = running_sandbox()
    if sandbox is None:
        raise NotAllowed("scenarios act on the embedded sandbox alone, and none runs in this process")
    stage = _Stage(database, sandbox, by, now, purpose, unnamed=unnamed)
    return replace(_STARTS[name](stage), orders=tuple(stage.placed))


def start_drill(name: str | None, database: Database, *, by: Person, now: datetime) -> None:
    """Start a scenario as a fire drill: how the team reacts is timed. Without a name it is one that nobody is told.

    Raises as `start`; NotAllowed too while another drill runs, or what was switched on before still lasts.
    """
    by.must_operate()
    drills.check_none_runs(database)
    for each, left in remaining(now).items():
        raise NotAllowed(f"the scenario “{TITLES[each]}” still lasts, for another {duration(left)}")
    chance = random.SystemRandom()
    for each in [name] if name else chance.sample(SURPRISES, len(SURPRISES)):
        try:
            started = _start(each, database, DRILL, by=by, now=now, unnamed=name is None)
        except NotAllowed:
            if name or running_sandbox() is None:
                raise
            continue  # too little is known yet: another may begin
        drills.begin(database, each, started.orders, unnamed=name is None, by=by, now=now)
        return
    raise NotAllowed("no scenario can begin now; try again in a few minutes")


def end_drill(database: Database, *, by: Person, now: datetime) -> str:
    """End the drill that runs, and what it switched on in the sandbox; says what becomes of its orders.

    Raises as `drills.end`.
    """
    by.must_operate()
    scenario = drills.end(database, by=by, now=now).scenario
    sandbox = running_sandbox()
    if sandbox is not None and scenario in _SWITCHES and remaining(now).get(scenario):
        setattr(sandbox.provider, _SWITCHES[scenario], 0.0)
        return f"The drill is over, and “{TITLES[scenario]}” with it. Its orders go on as usual."
    return "The drill is over. Its orders go on until they are complete."


def remaining(now: datetime) -> dict[str, timedelta]:
    """Tell how long the scenarios that are switched on still last, by name."""
    sandbox = running_sandbox()
    if sandbox is None:
        return {}
    ends = {name: float(getattr(sandbox.provider, switch)) for name, switch in _SWITCHES.items()}
    left = {name: timedelta(seconds=math.ceil(until - now.timestamp())) for name, until in ends.items()}
    return {name: wait for name, wait in left.items() if wait > timedelta()}


class _Stage:
    """What a scenario is played with."""

    def __init__(
        self, database: Database, sandbox: Sandbox, by: Person, now: datetime, purpose: str, *, unnamed: bool
    ) -> None:
        self.database, self.provider, self.by, self.now = database, sandbox.provider, by, now
        self.purpose, self.unnamed = purpose, unnamed
        self.placed: list[str] = []
        self.rng = random.Random()  # noqa: S311 - made-up orders guard nothing  # nosec B311

    def order(self, kind: OrderType, note: str, *, orders: int = 1, lines: int = 1) -> str:
        """Submit orders of ours, as the form does; returns the PONumber of the first."""
        documents = [
            make_document(self.rng, kind, new_po_number(self.now, self.rng), (lines, 1), self.note(note))
            for _ in range(orders)
        ]
        self.placed += [str(document["PONumber"]) for document in documents]
        about: dict[str, Any] = {"source": "form", "by": self.by, "now": self.now, "purpose": self.purpose}
        submit(self.database, [read_request(one) for one in documents], **about)
        return str(documents[0]["PONumber"])

    def note(self, text: str) -> str:
        """The note of an order; where nobody is told which scenario it is, only what the sandbox has to read in it."""
        return " ".join(["Fire drill", *_MARKS.findall(text)]) if self.unnamed else f"Shown: {text}"

    def ends_at(self, name: str, length: timedelta) -> float:
        """When what begins now ends. Raises NotAllowed while it still lasts."""
        if left := remaining(self.now).get(name):
            raise NotAllowed(f"it is on already, for another {duration(left)}")
        return (self.now + length).timestamp()


def _bulk(stage: _Stage) -> Started:
    po_number = stage.order(OrderType.DIGITAL, "bulk order", lines=BULK_CARDS)
    return Started(f"{BULK_CARDS} cards are ordered. Watch them being fulfilled.", "order", {"order": po_number})


def _timeout(stage: _Stage) -> Started:
    po_number = stage.order(OrderType.DIGITAL, "timeout after placing [timeout]")
    message = "The order is sent and its answer is lost: first unconfirmed, then found under its PO number."
    return Started(message, "order", {"order": po_number})


def _outage(stage: _Stage) -> Started:
    stage.provider.outage_until = stage.ends_at("outage", OUTAGE)
    stage.order(OrderType.LINKS, "sent during an outage")
    message = (
        f"The provider is down for {duration(OUTAGE)}. An order was sent all the same: it goes through afterwards."
    )
    return Started(message, "overview", {})


def _silence(stage: _Stage) -> Started:
    until = stage.ends_at("silence", SILENCE)
    with stage.database.read() as connection:
        orders = _enough_to_notice(connection)
    stage.provider.webhooks_held_until = until
    stage.order(OrderType.DIGITAL, "without a webhook", orders=orders)
    message = f"No webhook comes for {duration(SILENCE)}. {orders} orders complete meanwhile, and polls find them."
    return Started(message, "overview", {})


def _enough_to_notice(connection: Connection) -> int:
    """How many orders must complete unannounced before that is no accident."""
    fact = facts.get_fact(connection, FactKey.PACING)
    share = min(float(fact.value.get("heard", 0.0)) if fact else 0.0, MOST_WEBHOOK_SHARE) * SHARE_LEFT
    enough = MOST_UNANNOUNCED if share <= 0 else math.ceil(-ALARMING / math.log(1 - share)) + 2
    return min(enough, MOST_UNANNOUNCED)


def _duplicates(stage: _Stage) -> Started:
    stage.order(OrderType.LINKS, "announced three times [instant] [duplicate-webhook]", orders=3)
    message = (
        "Three orders complete now, and each is announced three times. The repeats are counted and change nothing."
    )
    return Started(message, "logs", {"what": "callbacks", "outcome": "repeated"})


def _late(stage: _Stage) -> Started:
    """Orders of the class that is late soonest hang until they have been late for a while. They come from elsewhere."""
    with stage.database.read() as connection:
        kind, units, limit = _soonest_late(connection)
    seconds = (limit + RELEASED_AFTER).total_seconds()
    at = stage.now.timestamp()
    past = Past(stage.provider, at)
    for number in range(1, LATE_ORDERS + 1):
        po_number = f"{'SHOP' if stage.unnamed else 'LATE'}-{stage.now:%Y%m%d-%H%M%S}-{number:02d}"
        document = make_document(stage.rng, kind, po_number, (units, 1), stage.note("everyone late"))
        past.place(document, at, Course(seconds=seconds), elsewhere=True)
        stage.placed.append(po_number)
    message = (
        f"{LATE_ORDERS} orders were placed and do not move. Each is late after {duration(limit)}: watch the banner."
    )
    return Started(message, "overview", {})


def _soonest_late(connection: Connection) -> tuple[OrderType, int, timedelta]:
    """The kind of order that is late soonest, of those of which enough are known; when; raises NotAllowed for none."""
    limits = ((kind, units, stored_limit(connection, kind, units)) for kind, units in _LATE_KINDS)
    learned = [(kind, units, limit.after) for kind, units, limit in limits if limit and limit.basis != LateBasis.GUESS]
    if not learned:
        raise NotAllowed("too few orders have completed yet to tell when one is late; try again later")
    return min(learned, key=lambda one: one[2])


_STARTS: Mapping[str, Callable[[_Stage], Started]] = {
    "bulk": _bulk,
    "timeout": _timeout,
    "outage": _outage,
    "silence": _silence,
    "duplicates": _duplicates,
    "late": _late,
}
