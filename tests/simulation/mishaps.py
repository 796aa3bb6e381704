"""What goes wrong in a history, and how often: all of it follows from the seed, and each piece can be left out.

A draw depends on the seed, on what it is for and on how often that came up before, never on what else was drawn. So a
history without one of its mishaps is nearly the same history, which is what makes shrinking work.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from marketplace import ECHOES, Manners, Stage

Weights = Sequence[tuple[str, float]]
Chances = Sequence[tuple[float, Callable[[], "Step"]]]


class Chance:
    """Draws for one seed. `dropped` mishaps do not happen; after `calm` none happens any more."""

    def __init__(self, seed: int, dropped: frozenset[str] = frozenset()) -> None:
        self.seed = seed
        self.dropped = dropped
        self.calm = False
        self.happened: list[str] = []
        self._counts: dict[str, int] = {}
        self._prefix = blake2b(f"{seed}/".encode(), digest_size=8)

    def draw(self, key: str) -> float:
        """A number from 0 to 1."""
        count = self._counts[key] = self._counts.get(key, 0) + 1
        return self._number(f"{key}#{count}")

    def _number(self, name: str) -> float:
        mixed = self._prefix.copy()
        mixed.update(name.encode())
        return int.from_bytes(mixed.digest(), "big") / 2**64

    def mishap(self, family: str, key: str, weights: Weights) -> str | None:
        """Which of the mishaps happens here, if one does. The weights are probabilities."""
        if not weights or self.calm:
            return None
        count = self._counts[family + key] = self._counts.get(family + key, 0) + 1
        rest = self._number(f"{family} {key}#{count}")
        for name, weight in weights:
            rest -= weight
            if rest < 0:
                return self._unless_dropped(f"{family} {key}#{count}: {name}", name)
        return None

    def _unless_dropped(self, told: str, name: str) -> str | None:
        if told in self.dropped:
            return None
        self.happened.append(told)
        return name


LOST = ("no connection", "504 before", "broken before", "500 before", "408 before")
KEPT = ("504 after", "500 after", "broken after", "slow answer")
SPOILT = ("half of the JSON", "HTML", "{}", "null", "[]", "NaN")
ASKED_TO_WAIT = ("429", "503")
PAGES = ("page before", "page after")
OLDER, OLDEST = "older state", 60.0
POST = (
    *LOST,
    *KEPT,
    *SPOILT,
    *ASKED_TO_WAIT,
    "slow placing",
    "401",
    "403",
    "400",
    "422",
    "another order",
    "404",
)
CONFLICT = ("409 without an id", "409 with several ids", "409 with another id")
GET = (*LOST, "slow answer", *SPOILT, *ASKED_TO_WAIT, "401", "403", "404", "wrong id", "foreign contents")
LIST = (*LOST, "slow answer", *SPOILT, *ASKED_TO_WAIT, "401", "403", "unreadable item", "item twice")
TOKEN = (
    *LOST,
    "slow answer",
    *SPOILT,
    *ASKED_TO_WAIT,
    "401",
    "403",
    "400",
    "expires at once",
    "expires before",
)
ODD_NOTICES = ("odd types", "odd encoding", "no body")
NOTICE = ("lost", "twice", "late", "early", "foreign first", "named by id alone", *ODD_NOTICES)
RETRY_AFTER = (("seconds", 0.45), ("date", 0.15), ("absurd", 0.1), ("missing", 0.2), ("an hour", 0.02), ("words", 0.08))


@dataclass(slots=True)
class Climate:
    """Which mishaps this history has, each with its probability."""

    post: Weights = ()
    conflict: Weights = ()
    get: Weights = ()
    list: Weights = ()
    token: Weights = ()
    notice: Weights = ()
    manners: Manners = field(default_factory=Manners)
    courses: Weights = ()
    floor: float = 1.0
    ceiling: float = 900.0
    price: float = 2.0
    unproven: float = 0.0
    heard: float = 0.0
    discover_every: float = 0.0
    asks_webhooks: bool = True
    follows_leases: bool = True
    through_engine: bool = False
    shares_budget: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """Something that people, other systems or fate do at a time."""

    at: float
    what: str
    given: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        told = ", ".join(f"{name} {value}" for name, value in self.given.items())
        return f"{self.what} ({told})" if told else self.what


COURSES = (
    ("plain", 0.36),
    ("instant", 0.15),
    ("processing", 0.07),
    ("approval", 0.04),
    ("new word", 0.04),
    ("cancelled", 0.07),
    ("late claims", 0.06),
    ("short claims", 0.06),
    ("regress", 0.05),
    ("never", 0.04),
    ("strange lines", 0.03),
    ("no claims", 0.03),
)


def climate_of(rng: random.Random, seed: int) -> Climate:
    """A few kinds of mishap, now and then many, so that each kind is also seen alone."""
    severity = rng.choice((0.0, 0.15, 0.3, 0.5))

    def some(names: Sequence[str], most: int) -> Weights:
        chosen = rng.sample(names, rng.randint(0, most)) if severity else []
        return [(name, severity / len(chosen)) for name in chosen]

    climate = Climate(
        post=some(POST, 4),
        conflict=some(CONFLICT, 1),
        get=some(GET, 3),
        list=some(LIST, 2),
        token=some(TOKEN, 1) if rng.random() < 0.3 else (),
        notice=some(NOTICE, 2),
        courses=COURSES,
        floor=rng.choice((1.0, 2.0, 5.0)),
        ceiling=rng.choice((60.0, 300.0, 900.0)),
        price=rng.choice((1.0, 2.0, 20.0)),
        unproven=rng.choice((0.0, 1.0)),  # with one, lists prove little and orders are mostly asked for one by one
        heard=rng.choice((0.0, 0.9)),
        discover_every=rng.choice((0.0, 0.0, 0.0, 30.0, 30.0, 300.0)),
        asks_webhooks=rng.random() < 0.7,
        follows_leases=rng.random() < 0.8,
        through_engine=seed % 16 == 0,
        shares_budget=seed % 3 == 0,  # it costs a transaction each call, which two thirds of the histories go without
    )
    climate.manners = _manners(rng)
    _stand_between(climate, random.Random(f"between {seed}"), severity)
    _read_replicas(climate, random.Random(f"older {seed}"), severity)
    if rng.random() < 0.03:
        climate.notice = [("many", 0.5)]
    if severity and rng.random() < 0.1:  # what is placed without an answer, then refused
        climate.post = [(rng.choice(KEPT), 0.4), (rng.choice(("400", "422")), 0.4)]
        climate.manners.funds_before_duplicates = True
    return climate


def _stand_between(climate: Climate, rng: random.Random, severity: float) -> None:
    """Pages of something in between, and harmless echoes: drawn apart, so that the rest of a seed's history stays."""
    climate.manners.echo = rng.choice(ECHOES) if rng.random() < 0.3 else "exact"
    if not severity or rng.random() < 0.6:
        return
    kinds = {"post": (*PAGES, "429 page after"), "get": PAGES, "list": PAGES, "token": ("page before",)}
    for family in rng.sample(sorted(kinds), rng.randint(1, 3)):
        added = (rng.choice(kinds[family]), severity / 3)
        setattr(climate, family, [*getattr(climate, family), added])


def _read_replicas(climate: Climate, rng: random.Random, severity: float) -> None:
    """Reads that show how it was a while ago, as of a replica or a cache: drawn apart, as above."""
    if severity and rng.random() < 0.25:
        for family in rng.choice((("get",), ("list",), ("get", "list"))):
            setattr(climate, family, [*getattr(climate, family), (OLDER, rng.choice((0.1, 0.3, 0.5)))])


def _manners(rng: random.Random) -> Manners:
    def rarely(chance: float = 0.15) -> bool:
        return rng.random() < chance

    return Manners(
        camel=rarely(),
        time_form=rng.choice(("%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%dT%H:%M:%S.%f+00:00")),
        numbers_as_text=rarely(),
        with_cost=not rarely(),
        extra_fields=rarely(),
        odd_fields=rarely(),
        newest_first=rarely(0.4),
        lists_show_claims=not rarely(0.3),
        conflict_key=rng.choice(("PreviousOrderIds", "PreviousOrderIds", "OrderId", "Id")),
        minutes_of_token=rarely(0.1),
        funds_before_duplicates=rarely(0.3),
        first_seen_after=rng.choice((0.0, 0.0, 5.0, 20.0)),
    )


def course_of(chance: Chance, courses: Weights, po_number: str, kind: str) -> tuple[Sequence[Stage], bool]:
    """What becomes of an order: its stages, and whether its claim data changes with each read."""
    name = chance.mishap("order", po_number, courses) or "plain"
    span = chance.draw(f"span {po_number}")
    end = 10 ** (-0.5 + 2 * span) if span < 0.95 else 10 ** (1.5 + 20 * (span - 0.95))
    done = Stage(end, "Completed", "all")
    pending = Stage(0.0, "Pending")
    stages: dict[str, tuple[Stage, ...]] = {
        "plain": (pending, done),
        "instant": (Stage(0.0, "Completed", "all"),),
        "processing": (pending, Stage(end / 2, "Processing"), done),
        "approval": (Stage(0.0, "AwaitingApproval"), Stage(end / 2, "Processing"), done),
        "new word": (pending, Stage(end / 3, "InReview"), done),
        "cancelled": (pending, Stage(end, "Cancelled")),
        "late claims": (pending, Stage(end / 2, "Completed", "none"), done),
        "short claims": (pending, Stage(end / 2, "Completed", "some"), done),
        "regress": (pending, done, Stage(end * 1.5 + 5, "Pending"), Stage(end * 3 + 20, "Completed", "all")),
        "never": (pending,),
        "strange lines": (pending, Stage(end, "Completed", "all", "Delivered")),
        "no claims": (pending, Stage(end, "Completed", "none")),
    }
    if kind != "Links" and name in {"late claims", "short claims", "no claims"}:
        name = "plain"
    return stages[name], chance.draw(f"rotates {po_number}") < 0.05


def steps_of(rng: random.Random) -> list[Step]:
    """What people, other systems and fate do, in no order."""
    steps: list[Step] = []
    orders = rng.choice((1, 1, 1, 2, 2, 3))
    for number in range(orders):
        at = rng.choice((0.0, round(rng.uniform(0, 8), 2)))
        steps.append(Step(at, "submit", {"order": number}))
        steps += _around(rng, number, at)
    steps += _fate(rng)
    return steps


def suspended_steps(rng: random.Random) -> list[Step]:
    """A process that stands still for a while, longer or shorter than its leases; drawn apart, as the team's steps."""
    if rng.random() >= 0.06:
        return []
    steps = [Step(0.0, "second console")] if rng.random() < 0.7 else []
    times = [round(rng.uniform(0.1, 30), 2) for _ in range(rng.choice((1, 1, 2)))]
    return steps + [Step(at, "suspended", {"length": rng.choice((5.0, 40.0, 75.0, 150.0))}) for at in times]


ACTS = ("poll", "acknowledge", "snooze", "assign", "resend", "resend", "reopen", "end snooze")
COLLEAGUES = ("Bea Example", "Cleo Example")


def team_steps(rng: random.Random, orders: int) -> list[Step]:
    """What a team does: work on one order, and acts on all of them; drawn apart, so that the rest of a seed stays."""
    steps: list[Step] = []
    for number in range(orders):
        if rng.random() < 0.35:
            steps += _work(rng, {"order": number})
    for number in range(rng.choice((0, 0, 0, 1, 1, 2))):
        steps += _job(rng, number)
    return steps


def _work(rng: random.Random, given: Mapping[str, Any]) -> list[Step]:
    """What is done with one order in turn: a snooze is often ended, an acknowledgement taken back."""

    def then(*acts: str) -> list[Step]:
        at, most, done = 0.0, rng.choice((4, 30)), []
        for what in acts:
            at = round(at + _moment(rng, most), 2)
            more = {"length": _length(rng)} if what == "snooze" else {"to": rng.choice(COLLEAGUES)}
            done.append(Step(at, what, {**given, **(more if what in {"snooze", "assign"} else {})}))
        return done

    return rng.choice(
        (
            lambda: then("snooze"),
            lambda: then("snooze", "note", "end snooze"),
            lambda: then("snooze", "check", "snooze"),
            lambda: then("assign", "snooze", "assign", "end snooze"),
            lambda: then("acknowledge", "reopen"),
            lambda: [
                *then("snooze"),
                *(Step(one.at + 60, one.what, one.given) for one in then("acknowledge", "reopen")),
            ],
        )
    )()


def _job(rng: random.Random, number: int) -> list[Step]:
    """An act on all orders, perhaps asked for twice, stopped soon and resumed by a colleague."""
    at = _moment(rng, 60)
    given = {"act": rng.choice(ACTS), "key": f"job {number}", "length": _length(rng), "to": rng.choice(COLLEAGUES)}
    steps = [Step(at, "job", given)]
    if rng.random() < 0.4:
        steps.append(Step(round(at + rng.choice((0.0, 0.1, 3.0)), 2), "job", given))
    if rng.random() < 0.5:
        stopped = round(at + rng.uniform(0.0, 0.6), 2)
        steps.append(Step(stopped, "stop job", {"key": given["key"]}))
        if rng.random() < 0.8:
            steps.append(Step(round(stopped + rng.uniform(0.1, 20), 2), "resume job", {"key": given["key"]}))
    return steps


def _moment(rng: random.Random, most: float) -> float:
    return round(rng.uniform(0.2, most), 2)


def _length(rng: random.Random) -> float:
    """For how long to snooze, in seconds; zero: until something changes."""
    return rng.choice((0.0, 20.0, 600.0))


def _around(rng: random.Random, number: int, at: float) -> list[Step]:
    def later(most: float) -> float:
        return round(at + rng.uniform(0.01, most), 2)

    chances: Chances = (
        (0.12, lambda: Step(later(10), "submit", {"order": number})),
        (0.06, lambda: Step(later(10), "submit changed", {"order": number})),
        (0.10, lambda: Step(later(60), "check", {"order": number})),
        (0.15, lambda: Step(later(90), "resend", {"order": number})),
        (0.05, lambda: Step(later(60), "note", {"order": number})),
        (0.05, lambda: Step(later(60), "acknowledge", {"order": number})),
        (0.06, lambda: Step(later(60), "forged notice", {"order": number})),
        (0.06, lambda: Step(round(rng.uniform(0, at + 5), 2), "notice of nothing", {"order": number})),
        (0.02, lambda: Step(max(at - 1, 0.0), "taken elsewhere", {"order": number})),
    )
    return [make() for probability, make in chances if rng.random() < probability]


def _fate(rng: random.Random) -> list[Step]:
    steps: list[Step] = []
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        how = rng.choice(("time", "commit before", "commit after", "call before", "call after", "answer"))
        if how == "time":
            steps.append(Step(round(rng.uniform(0.1, 40), 2), "crash"))
        else:
            steps.append(Step(0.0, f"crash at {how}", {"number": rng.randint(1, 25)}))
    chances: Chances = (
        (0.10, lambda: Step(0.0, "second console")),
        (0.05, lambda: Step(round(rng.uniform(50, 80), 2), "quiet")),
        (0.06, lambda: _lasting(rng, "store locked", 30)),
        (0.03, lambda: _lasting(rng, "disk full", 30)),
        (0.08, lambda: _lasting(rng, "outage", rng.choice((10, 20, 60, 600)), {"kind": rng.choice(("503", "504"))})),
        (0.05, lambda: _lasting(rng, "outage", rng.choice((10, 60)), {"kind": "no connection"})),
        (0.04, lambda: _lasting(rng, "token outage", rng.choice((10, 60, 600)))),
        (0.03, lambda: Step(round(rng.uniform(0, 20), 2), "flood of refusals")),
        (0.05, lambda: Step(round(rng.uniform(0, 20), 2), "strange call", {"kind": rng.randrange(7)})),
        (0.10, lambda: Step(round(rng.uniform(0, 20), 2), "token withdrawn")),
    )
    steps += [make() for probability, make in chances if rng.random() < probability]
    if rng.random() < 0.1:
        at = round(rng.uniform(0, 30), 2)
        seconds = rng.choice((-3600, -90, 90, 3600))
        steps += [Step(at, "clock", {"seconds": seconds}), Step(at + rng.choice((0, 60)), "quiet")]
    if rng.random() < 0.2:
        at = rng.uniform(0, 26)
        for _ in range(rng.choice((1, 2, 3))):
            steps.append(Step(round(at + rng.uniform(0, 6), 2), "order elsewhere"))
    return steps


def _lasting(rng: random.Random, what: str, most: float, given: Mapping[str, Any] | None = None) -> Step:
    length = round(rng.uniform(most / 4, most), 1)
    return Step(round(rng.uniform(0, 20), 2), what, {**(given or {}), "length": length})
