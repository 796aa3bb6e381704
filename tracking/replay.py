"""Replays a history of orders under another schedule or budget: how many calls it makes, how late it notices. Pure.

Time goes in steps. What is asked for is chosen by `agenda`, by curves that are learned on the way as the console learns
them; policies that people know (doubling waits, a fixed wait) are there to be compared with. `make bench-polling` holds
what it says against what a running console does. It leaves out calls that fail and follow-up looks at finished orders.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tracking.agenda import PADDING, PAGE, Candidates, choose
from tracking.outlook import Book
from tracking.schedule import MOST_HEARD, cheaper, dearer, guess_of
from tracking.survival import Array, Forecast, Seen

STEPS_AT_MOST = 40_000
SHORTEST_STEP = 0.2
REFITS_AT_MOST = 200
REFIT_EVERY = 60.0
ORDERS_OF_A_CLASS = 400
OVERLAP = 300.0
FIRST_DOUBLED = 0.1  # of the median that is guessed for an order of the size
JITTER = 0.1
EARLIEST = 0.5
NEVER = math.inf
ROUNDING = 1e-6
COMMITS = 2  # before a call leaves

Indexes = npt.NDArray[np.intp]


@dataclass(frozen=True)
class History:
    """What happened, whoever looked. Arrays of shape (n,), ascending by `arrived`; times in seconds.

    Attributes:
        arrived: when the provider took the order.
        finished: when it was done there; infinite where it never was.
        classes: the name of its class.
        announced: when a webhook said so; infinite where none did.
    """

    arrived: Array
    finished: Array
    classes: Sequence[str]
    announced: Array

    def __len__(self) -> int:
        return len(self.arrived)

    @property
    def span(self) -> float:
        """From the first order to the last that finished, in seconds."""
        if not len(self):
            return 0.0
        ends = self.finished[np.isfinite(self.finished)]
        return float(max(ends.max(initial=self.arrived[-1]), self.arrived[-1]) - self.arrived[0])


@dataclass(frozen=True, slots=True)
class Plan:
    """How to look.

    Attributes:
        policy: "accrual", "doubling" or "fixed".
        rate: calls a second at the most.
        price: of a call in seconds; None: it follows the budget.
        wait: of the fixed policy, in seconds; the cap of the doubling one.
        floor: the shortest wait between two looks at an order.
        ceiling: the longest.
        page: orders a list page holds; 1: no pages.
        discover_every: seconds between looks at the list for orders placed elsewhere; 0: never.
        heard: the share of completions that are expected to announce themselves.
        relative: whether a second weighs less for orders that took longer anyway.
        sends: whether the POST of each order is a call of the same budget.
        takes: seconds that a call takes; what it shows is of when it left.
        commit: seconds that a commit takes: one claims the orders of a call, one writes down its turn in the budget.
    """

    policy: str = "accrual"
    rate: float = 5.0
    price: float | None = None
    wait: float = 60.0
    floor: float = 1.0
    ceiling: float = 900.0
    page: int = PAGE
    discover_every: float = 0.0
    heard: float = 0.0
    relative: bool = True
    sends: bool = False
    takes: float = 0.0
    commit: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What a plan came to.

    Attributes:
        singles: calls for one order.
        pages: list pages, those of discovery not among them.
        discoveries: list pages of discovery.
        delays: from when each order was finished until that was seen, in seconds; shape (orders that finished,).
        classes: the class of each of them.
        span: the length of the history, in seconds.
    """

    singles: int
    pages: int
    discoveries: int
    delays: Array
    classes: Sequence[str]
    span: float

    @property
    def calls(self) -> int:
        """All calls that look; what orders cost to be sent is not among them."""
        return self.singles + self.pages + self.discoveries

    @property
    def calls_an_hour(self) -> float:
        """All calls, an hour."""
        return self.calls / max(self.span, 1.0) * 3600

    @property
    def mean(self) -> float:
        """The mean delay in seconds."""
        return float(self.delays.mean()) if len(self.delays) else 0.0

    def quantile(self, share: float) -> float:
        """The delay that this share of the orders did not exceed, in seconds."""
        return float(np.quantile(self.delays, share)) if len(self.delays) else 0.0


def replay(
    history: History, plan: Plan, known: Sequence[Forecast] = (), *, learns: bool = True, seed: int = 1
) -> Outcome:
    """Looks at the orders of the history as the plan says, until all that finished were seen.

    Args:
        history: what happened.
        plan: how to look.
        known: what is known of the classes when it begins; first guesses for others.
        learns: whether curves are learned anew on the way.
        seed: of the waits' jitter, and of when within a step all begins.
    """
    run = _Run(history, plan, Book(relative=plan.relative), np.random.default_rng(seed), learns=learns)
    run.book.replace(known)
    return run.outcome()


@dataclass
class _Run:
    history: History
    plan: Plan
    book: Book
    rng: np.random.Generator
    learns: bool
    now: float = 0.0
    singles: int = 0
    pages: int = 0
    discoveries: int = 0
    following: Indexes = field(default_factory=lambda: np.array([], dtype=np.intp))
    news: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        size, plan = len(self.history), self.plan
        self.created = np.floor(self.history.arrived)  # providers tell whole seconds
        self.last, self.seen_at = np.zeros(size), np.full(size, NEVER)  # age at the last look; when seen finished
        self.due, self.waits = np.full(size, NEVER), np.zeros(size)
        self.seen: dict[str, list[Seen]] = {}
        self.arrived_so_far = 0
        self.step = max(SHORTEST_STEP + plan.commit, self.history.span / STEPS_AT_MOST)
        self.refit_every = max(REFIT_EVERY, self.history.span / REFITS_AT_MOST)
        self.turns = _Turns(plan.rate, self.step)
        self.refitted, self.priced, self.walked, self.newest = 0.0, -NEVER, -NEVER, -NEVER
        if plan.price is not None:
            self.book.price = plan.price

    def outcome(self) -> Outcome:
        finish = np.flatnonzero(np.isfinite(self.history.finished))
        if len(self.history):
            # Where the steps fall is chance too, and a few hundredths of a second can decide which page comes first.
            self.now = float(self.history.arrived[0] + self.rng.uniform(0, self.step))
            self.refitted = self.now
        while np.isinf(self.seen_at[finish]).any():
            if self.plan.discover_every and self.now >= self.walked + self.plan.discover_every:
                self._walk()
            self._arrive()
            if len(self.following):
                self._turn()
                self.now += self.step
            else:
                self.now = max(self.now + self.step, self._next_event())
        delays = self.seen_at[finish] - self.history.finished[finish]
        classes = [self.history.classes[int(index)] for index in finish]
        return Outcome(self.singles, self.pages, self.discoveries, delays, classes, self.history.span)

    def _turn(self) -> None:
        if self.plan.policy == "accrual":
            self._accrue()
        else:
            self._look_at_what_is_due()
        if self.learns and self.now - self.refitted >= self.refit_every:
            self._refit()

    def _next_event(self) -> float:
        """When the next order comes or discovery is due, while no order is open."""
        arrives = float(self.history.arrived[self.arrived_so_far]) if self.arrived_so_far < len(self.history) else NEVER
        return min(arrives, self.walked + self.plan.discover_every) if self.plan.discover_every else arrives

    def _arrive(self) -> None:
        upto = int(np.searchsorted(self.history.arrived, self.now, side="right"))
        for index in range(self.arrived_so_far, upto):
            self._plan_next(index, 0.0)
        if self.plan.sends:
            self.turns.take(upto - self.arrived_so_far, self.now)
        self.following = np.append(self.following, np.arange(self.arrived_so_far, upto))
        self.arrived_so_far = upto

    def _plan_next(self, index: int, age: float) -> None:
        plan, name = self.plan, self.history.classes[index]
        if plan.policy == "fixed":
            wait = plan.wait
        elif plan.policy == "doubling":
            first = FIRST_DOUBLED * guess_of(name)
            wait = self.waits[index] = min(max(self.waits[index] * 2, first), plan.ceiling)
        else:
            price = self.book.price / (1 - self._heard)
            waits = self.book.of_class(name).waits([age], price, floor=plan.floor, ceiling=plan.ceiling)
            wait = float(waits[0])
        wait = min(max(wait * (1 + self.rng.uniform(-JITTER, JITTER)), plan.floor), max(plan.ceiling, plan.floor))
        self.due[index] = self.history.arrived[index] + age + wait

    @property
    def _heard(self) -> float:
        return min(self.plan.heard, MOST_HEARD)

    def _look(self, orders: Indexes) -> None:
        """What one call shows of these orders."""
        history, left = self.history, self.now + COMMITS * self.plan.commit
        answered = left + self.plan.takes
        for index in orders[np.isinf(self.seen_at[orders])]:
            age = answered - history.arrived[index]
            name = history.classes[index]
            if history.finished[index] <= left:
                self.seen_at[index] = answered
                by = min(answered, history.announced[index]) - history.arrived[index]
                self.seen.setdefault(name, []).append(Seen(min(float(self.last[index]), by), by))
                self.news.add(name)
            else:
                self.last[index] = age
                self._plan_next(int(index), age)
        self.following = self.following[np.isinf(self.seen_at[self.following])]

    def _look_at_what_is_due(self) -> None:
        mine = self.following
        due = mine[(self.due[mine] <= self.now) | (self.history.announced[mine] <= self.now)]
        order = due[np.lexsort((self.due[due], self.history.announced[due] > self.now))]
        order = order[: self.turns.free(self.now)]
        for index in order:
            self._look_at_one(np.array([index]))

    def _accrue(self) -> None:
        mine, plan, history = self.following, self.plan, self.history
        ages, due = self.now - history.arrived[mine], self.due[mine] <= self.now
        urgent = history.announced[mine] <= self.now
        worth = np.zeros(len(mine))
        for name, members in self._by_class(mine):
            worth[members] = self.book.of_class(name).accrual.accrued(self.last[mine[members]], ages[members])
        worth *= 1 - self._heard
        worth[(ages - self.last[mine] < plan.floor) & ~due] = 0.0
        listed = worth.copy() if plan.page > 1 else np.full(len(mine), np.nan)
        candidates = Candidates(self.created[mine], worth, listed, due | urgent, urgent)
        if plan.discover_every:
            self._walk_early(candidates)
        room = self.turns.free(self.now)
        if not room:
            return
        lag = float(np.max(self.now - self.due[mine][due], initial=0.0))
        calls = choose(candidates, self.book.price, room, self._population, plan.page)
        for call in calls:
            if len(call.orders) > 1:
                self._look_at_page(mine[list(call.orders)])
            else:
                self._look_at_one(mine[list(call.orders)])
        self._reprice(scarce=len(calls) >= room and lag > 1.0, idle=not calls)

    def _look_at_one(self, order: Indexes) -> None:
        self.singles += 1
        self.turns.take(1, self.now)
        self._look(order)

    def _look_at_page(self, orders: Indexes) -> None:
        """One list page for several; what it has no room for is asked for alone where that is due."""
        self.pages += 1
        self.turns.take(1, self.now)
        shown = self._shown(self.created[orders[0]], self.created[orders[-1]])
        missed = orders[~np.isin(orders, shown) & (self.due[orders] <= self.now) & np.isinf(self.seen_at[orders])]
        self._look(shown)
        for index in missed:
            self._look_at_one(np.array([index]))

    def _reprice(self, *, scarce: bool, idle: bool) -> None:
        if self.plan.price is not None or self.now - self.priced < 1.0:
            return
        self.priced = self.now
        if scarce:
            self.book.price = dearer(self.book.price)
        elif idle:
            self.book.price = cheaper(self.book.price)

    def _by_class(self, mine: Indexes) -> list[tuple[str, Indexes]]:
        members: dict[str, list[int]] = {}
        for position, index in enumerate(mine):
            members.setdefault(self.history.classes[index], []).append(position)
        return [(name, np.array(positions, dtype=np.intp)) for name, positions in members.items()]

    def _population(self, first: float, last: float, limit: int) -> Array:
        known = self.created[: self.arrived_so_far]
        start, end = np.searchsorted(known, first), np.searchsorted(known, last, side="right")
        return known[start : min(end, start + limit)]

    def _shown(self, first: float, last: float) -> Indexes:
        """The open orders on the list page of these creation times, whether or not it was asked for them."""
        created = self.created[: self.arrived_so_far]
        end = int(np.searchsorted(created, last + PADDING, side="right"))
        start = max(int(np.searchsorted(created, first - PADDING)), end - self.plan.page)  # the newest come first
        return self.following[(self.following >= start) & (self.following < end)]

    def _walk_early(self, candidates: Candidates) -> None:
        """Looks at the list for new orders before that is due, where its page is worth it for open ones."""
        grown = min(max((self.now - self.walked) / self.plan.discover_every, 0.0), 1.0)
        price = self.book.price * max(1 - grown, EARLIEST)
        if candidates.spare(self.newest - OVERLAP, price, self._population, self.plan.page):
            self._walk()

    def _walk(self) -> None:
        """Looks at the list from a little before the newest order that it showed until a page is not full."""
        created = self.created[: self.arrived_so_far]
        first = int(np.searchsorted(created, self.newest - OVERLAP))
        pages = (len(created) - first) // PAGE + 1
        self.discoveries += pages
        self.turns.take(pages, self.now)
        self.walked = self.now
        self.newest = float(created[-1]) if len(created) else self.newest
        self._look(self.following[self.following >= first])

    def _refit(self) -> None:
        self.refitted = self.now
        opened: dict[str, list[Seen]] = {}
        for index in self.following:
            opened.setdefault(self.history.classes[index], []).append(Seen(float(self.last[index])))
        learned: list[Any] = []
        for name in self.news:
            newest = [*self.seen[name][-ORDERS_OF_A_CLASS:], *opened.get(name, [])]
            learned.append(Forecast.learned(name, newest, relative=self.plan.relative))
        self.book.replace(learned)
        self.news.clear()


class _Turns:
    """The budget: no more calls in any window than the console's own budget lets leave (see `budget`)."""

    def __init__(self, rate: float, step: float) -> None:
        self._window = max(1.0, 1 / rate)
        self._most = max(1, int(rate * max(1.0, step)))
        self._left: deque[float] = deque(maxlen=self._most)

    def free(self, now: float) -> int:
        """How many calls may leave now."""
        return self._most - sum(1 for at in self._left if at > now - self._window + ROUNDING)

    def take(self, calls: int, now: float) -> None:
        """So many leave as soon as they may."""
        for _ in range(calls):
            full = len(self._left) == self._most
            self._left.append(max(now, self._left[0] + self._window) if full else now)
