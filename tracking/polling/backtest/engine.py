"""Replays a history of orders under another schedule or budget: how many calls it makes, how late it notices. Pure.

Time goes in steps, and those in which nothing can happen are passed over. What is asked for is chosen by `agenda`, by
curves that are learned on the way as the console learns them; policies that people know (doubling waits, a fixed one)
are there to be compared with. `make bench-polling` holds what it says against what a running console does. Calls that
fail and follow-up looks at finished orders are left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tracking.forecasting.classes import first_guess
from tracking.forecasting.forecasts import Forecasts
from tracking.forecasting.survival import Array, Forecast, Interval
from tracking.forecasting.waits import CHEAPER, LEAST_PRICE, MOST_WEBHOOK_SHARE, lowered_price, raised_price
from tracking.polling.backtest.curve_stack import CurveStack
from tracking.polling.backtest.model import NEVER, ROUNDING, History, Listing, Outcome, Plan, Steps, Turns
from tracking.polling.selection import PADDING, PAGE, Candidates, choose

__all__ = ["History", "Outcome", "Plan", "replay"]

STEPS_AT_MOST = 40_000
SHORTEST_STEP = 0.2
REFITS_AT_MOST = 200
REFIT_EVERY = 60.0
ORDERS_OF_A_CLASS = 400
OVERLAP = 300.0
FIRST_DOUBLED = 0.1  # of the median that is guessed for an order of the size
JITTER = 0.1
WALKS_ASIDE = 4  # calls at once that leave room for a walk beside them
COMMITS = 2  # before a call leaves
SHARES: Array = np.linspace(0.0, 1.0, 17)[:-1]  # of a time that is searched for when something may happen again
FAR_AHEAD = 8
ALMOST = 1 - 1e-9  # sums of the same numbers differ by how they are added up
NOTHING: tuple[float, Array] = math.nan, np.zeros(0)

Indexes = npt.NDArray[np.intp]


def replay(
    history: History,
    plan: Plan,
    known: Sequence[Forecast] = (),
    *,
    learns: bool = True,
    seed: int = 1,
    step: float | None = None,
    leaps: bool = True,
) -> Outcome:
    """Looks at the orders of the history as the plan says, until all that finished were seen.

    Args:
        history: what happened.
        plan: how to look.
        known: what is known of the classes when it begins; first guesses for others.
        learns: whether curves are learned anew on the way.
        seed: of the waits' jitter, and of when within a step all begins.
        step: how fine time is, in seconds; None: as fine as the history is short.
        leaps: whether steps in which nothing can happen are passed over, which changes nothing but how long it takes.
    """
    forecasts, rng = Forecasts(relative=plan.relative), np.random.default_rng(seed)
    run = _Run(history, plan, forecasts, rng, learns=learns, leaps=leaps, step=step or 0.0)
    run.forecasts.replace(known)
    return run.outcome()


@dataclass
class _Run:
    history: History
    plan: Plan
    forecasts: Forecasts
    rng: np.random.Generator
    learns: bool
    leaps: bool = True
    step: float = 0.0
    now: float = 0.0
    singles: int = 0
    pages: int = 0
    discoveries: int = 0
    following: Indexes = field(default_factory=lambda: np.array([], dtype=np.intp))
    news: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        size, plan = len(self.history), self.plan
        self.created = np.floor(self.history.arrived)  # providers tell whole seconds
        self.listing = Listing(self.created)
        self.last, self.seen_at = np.zeros(size), np.full(size, NEVER)  # age at the last look; when seen finished
        self.due, self.waits = np.full(size, NEVER), np.zeros(size)
        self.seen: dict[str, list[Interval]] = {}
        self.unseen = int(np.isfinite(self.history.finished).sum())
        self.step = self.step or max(SHORTEST_STEP + plan.commit, self.history.span / STEPS_AT_MOST)
        self.refit_every = max(REFIT_EVERY, self.history.span / REFITS_AT_MOST)
        self.turns = Turns(plan.rate, self.step)
        self.refitted, self.priced, self.walked, self.newest = 0.0, -NEVER, -NEVER, -NEVER
        if plan.price is not None:
            self.forecasts.price = plan.price
        self._number_classes()

    def _number_classes(self) -> None:
        history, size = self.history, len(self.history)
        self.number = {name: number for number, name in enumerate(sorted(set(history.classes)))}
        self.kinds = np.array([self.number[name] for name in history.classes], dtype=np.intp)
        may = np.ones(size, dtype=np.bool_) if history.announces is None else history.announces
        self.unheard = np.where(may, 1 - min(self.plan.heard, MOST_WEBHOOK_SHARE), 1.0)
        self.stack = CurveStack(len(self.number))
        self.share, self.paid, self.held = np.ones(size), np.zeros(size), np.zeros(size)  # at the last look
        self.foreseen = NOTHING  # what will have accrued by a time to come
        self.quiet_until = -NEVER  # no call is worth it before, but for what is due or comes new

    def outcome(self) -> Outcome:
        for name, number in self.number.items():
            self.stack.take(number, self.forecasts.for_class(name).delay_cost)
        if len(self.history):
            # Where the steps fall is chance too, and a few hundredths of a second can decide which page comes first.
            self.now = float(self.history.arrived[0] + self.rng.uniform(0, self.step))
            self.refitted = self.now
        self.time = Steps(self.now, self.step)
        while self.unseen:
            if self.plan.discover_every and self.now >= self.walked + self.plan.discover_every:
                self._walk()
            self._arrive()
            if len(self.following):
                self._turn()
                self._pass_by(self._leap() if self.leaps and self.unseen and len(self.following) else 1)
            else:
                self.now = max(self.now + self.step, self._next_event())
                self.time = Steps(self.now, self.step)
        finish = np.flatnonzero(np.isfinite(self.history.finished))
        delays = self.seen_at[finish] - self.history.finished[finish]
        classes = [self.history.classes[int(index)] for index in finish]
        return Outcome(self.singles, self.pages, self.discoveries, delays, classes, self.history.span)

    def _turn(self) -> None:
        if self.plan.policy == "accrual":
            self._accrue()
        else:
            self._look_at_what_is_due()
        if self.learns and self.plan.policy == "accrual" and self.now - self.refitted >= self.refit_every:
            self._refit()

    def _next_event(self) -> float:
        """When the next order comes or discovery is due, while no order is open."""
        arrives = float(self.history.arrived[self.listing.known]) if self.listing.known < len(self.history) else NEVER
        return min(arrives, self.walked + self.plan.discover_every) if self.plan.discover_every else arrives

    # Time

    def _pass_by(self, steps: int) -> None:
        """Goes so many steps on; in those between, the list shows nothing that is open, and calls get cheaper."""
        target = self.time.taken + steps
        while self.plan.discover_every and steps > 1:
            walk = self.time.taken + self.time.until(self.walked + self.plan.discover_every)
            if walk >= target:
                break
            self._pass_over(walk)
            self._go_to(walk)
            self._walk()
        if steps > 1:
            self._pass_over(target - 1)
        self._go_to(target)

    def _go_to(self, steps: int) -> None:
        self.time.taken = steps
        self.now = self.time.at(steps)

    def _pass_over(self, last: int) -> None:
        """What idle steps up to this one do: calls get cheaper while there is room for them."""
        if self.plan.policy == "accrual" and self.plan.price is None:
            at = self.time.taken + self.time.until(self.priced + 1.0 - ROUNDING)
            a_second = math.ceil((1.0 - ROUNDING) / self.step)
            if not self.turns.free(self.now):
                at = max(at, self.time.taken + self.time.until(self.turns.free_at()))
            while at <= last:
                self.priced = self.time.at(at)
                at += a_second
                if self.forecasts.price <= LEAST_PRICE and at <= last:
                    at += (last - at) // a_second * a_second
                self.forecasts.price = lowered_price(self.forecasts.price)
        if self.learns and not self.news:
            at = self.time.taken + self.time.until(self.refitted + self.refit_every)
            while at <= last:
                self.refitted = self.time.at(at)
                at = self.time.taken + self.time.until(self.refitted + self.refit_every)

    def _leap(self) -> int:
        """How many steps on something may happen again."""
        plan, mine = self.plan, self.following
        soonest = [float(self.history.arrived[self.listing.known])] if self.listing.known < len(self.history) else []
        if self.learns and self.news and plan.policy == "accrual":
            soonest.append(self.refitted + self.refit_every)
        shown = int(self.history.arrived.searchsorted(self.newest - OVERLAP - PADDING))
        if plan.discover_every and (mine[-1] >= shown or self.turns.most < WALKS_ASIDE):
            soonest.append(self.walked + plan.discover_every)
        limit = self.time.until(min(soonest, default=NEVER))
        asked = np.minimum(self.due[mine], self.history.announced[mine])
        room = 1 if self.turns.free(self.now + self.step) else self.time.until(self.turns.free_at())
        if plan.policy != "accrual":
            return min(limit, max(room, self.time.until(float(asked.min()))))
        if room > 1:
            return min(limit, room)
        limit = min(limit, self.time.until(float(asked.min())))
        return self._until_worth_it(limit) if limit > 1 else limit

    def _until_worth_it(self, limit: int) -> int:
        """The first of so many steps in which a call may be worth it for open orders, none of which is due before."""
        if self.time.at(self.time.taken + limit) <= self.quiet_until:
            return limit
        far = limit * FAR_AHEAD
        if not self._worth_something(np.array([far]))[0]:
            self.quiet_until = self.time.at(self.time.taken + far)  # looks only make it quieter
            return limit
        low, high = 0, limit
        if not self._worth_something(np.array([limit]))[0]:
            return limit
        while high - low > 1:
            steps = low + 1 + (SHARES * (high - low - 1)).astype(np.intp)
            enough = np.flatnonzero(self._worth_something(steps))
            first = int(enough[0]) if len(enough) else len(steps)
            if first < len(steps):
                high = int(steps[first])
            low = int(steps[first - 1]) if first else low
        return high

    def _worth_something(self, steps: Indexes) -> Any:
        """Whether a list page of open orders may be worth its call so many steps on. Once one is, it stays so."""
        mine, now = self.following, self.time.at(self.time.taken + steps)
        price: Any = self.forecasts.price
        if self.plan.price is None:
            price = np.maximum(price * CHEAPER ** np.maximum(now - self.priced, 0.0), LEAST_PRICE)
        worth = self._worth(mine[:, None], now[None, :])
        if len(steps) == 1:
            self.foreseen = float(now[0]), worth[:, 0]
        sums = np.zeros((len(mine) + 1, len(steps)))
        worth.cumsum(axis=0, out=sums[1:])
        ends = mine.searchsorted(mine + self.plan.page, side="right")  # orders are numbered as they came
        enough = (sums[ends] - sums[:-1]).max(axis=0) >= price * ALMOST
        return enough & (sums[-1] > 0)

    # What happens in a step

    def _arrive(self) -> None:
        first = self.listing.known
        if first == len(self.history) or self.history.arrived[first] > self.now:
            return
        upto = int(np.searchsorted(self.history.arrived, self.now, side="right"))
        for index in range(self.listing.known, upto):
            self._plan_next(index, 0.0)
        if self.plan.sends:
            self.turns.take(upto - self.listing.known, self.now)
        self.following = np.append(self.following, np.arange(self.listing.known, upto))
        self.listing.known, self.quiet_until = upto, -NEVER

    def _plan_next(self, index: int, age: float) -> None:
        plan, name = self.plan, self.history.classes[index]
        if plan.policy == "fixed":
            wait = plan.wait
        elif plan.policy == "doubling":
            first = FIRST_DOUBLED * first_guess(name)
            wait = self.waits[index] = min(max(self.waits[index] * 2, first), plan.ceiling)
        else:
            price = self.forecasts.price / float(self.unheard[index])
            wait = self.forecasts.for_class(name).wait(age, price, floor=plan.floor, ceiling=plan.ceiling)
        wait = min(max(wait * (1 + self.rng.uniform(-JITTER, JITTER)), plan.floor), max(plan.ceiling, plan.floor))
        self.due[index] = self.history.arrived[index] + age + wait

    def _look(self, orders: Indexes) -> None:
        """What one call shows of these orders."""
        history, left = self.history, self.now + COMMITS * self.plan.commit
        answered, open_before = left + self.plan.takes, self.unseen
        orders = orders[np.isinf(self.seen_at[orders])]
        if not len(orders):
            return
        for index in orders.tolist():
            age = answered - float(history.arrived[index])
            name = history.classes[index]
            if history.finished[index] <= left:
                self.seen_at[index], self.unseen = answered, self.unseen - 1
                by = min(answered, float(history.announced[index])) - float(history.arrived[index])
                self.seen.setdefault(name, []).append(Interval(min(float(self.last[index]), by), by))
                self.news.add(name)
            else:
                self.last[index] = age
                self._plan_next(index, age)
        if self.plan.policy == "accrual":
            self._remember(orders)
        if self.unseen < open_before:
            self.following = self.following[np.isinf(self.seen_at[self.following])]

    def _remember(self, orders: Indexes) -> None:
        """What their curves said at the last look, from which all that has accrued since is reckoned."""
        states = self.stack.states(self.kinds[orders], self.last[orders])
        self.share[orders], self.paid[orders], self.held[orders] = states

    def _look_at_what_is_due(self) -> None:
        mine = self.following
        due = mine[(self.due[mine] <= self.now) | (self.history.announced[mine] <= self.now)]
        order = due[np.lexsort((self.due[due], self.history.announced[due] > self.now))]
        order = order[: self.turns.free(self.now)]
        for index in order:
            self._look_at_one(np.array([index]))

    def _worth(self, orders: Indexes, now: Any) -> Array:
        """What has accrued of each by then, in seconds of waiting. Nobody looks again before the floor is over."""
        ages = now - self.history.arrived[orders]
        _, paid, held = self.stack.states(self.kinds[orders], ages)
        worth = np.maximum(paid - self.paid[orders] - (held - self.held[orders]) / self.share[orders], 0.0)
        worth *= self.unheard[orders]
        worth[(ages - self.last[orders] < self.plan.floor) & (self.due[orders] > now)] = 0.0
        return np.asarray(worth)

    def _accrue(self) -> None:
        mine, plan, history = self.following, self.plan, self.history
        due, urgent = self.due[mine] <= self.now, history.announced[mine] <= self.now
        at, worth = self.foreseen
        if at != self.now or len(worth) != len(mine):
            worth = self._worth(mine, self.now)
        self.foreseen = NOTHING
        listed = worth.copy() if plan.page > 1 else np.full(len(mine), np.nan)
        candidates = Candidates(self.created[mine], worth, listed, due | urgent, urgent)
        room = self.turns.free(self.now)
        if not room:
            return
        lag = float(np.max(self.now - self.due[mine][due], initial=0.0))
        # Each call is worth its price at the least, so there are no more of them than all is worth together.
        most = int(worth.sum() / (self.forecasts.price * ALMOST)) + int(candidates.due.sum())
        at_most = min(room, most)
        calls = choose(candidates, self.forecasts.price, at_most, self.listing.population, plan.page) if at_most else []
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
        start, end = self.listing.page(self.created[orders[0]], self.created[orders[-1]], self.plan.page)
        shown = self.following[(self.following >= start) & (self.following < end)]
        aside = (orders < start) | (orders >= end)
        missed = orders[aside & (self.due[orders] <= self.now) & np.isinf(self.seen_at[orders])]
        self._look(shown)
        for index in missed:
            self._look_at_one(np.array([index]))

    def _reprice(self, *, scarce: bool, idle: bool) -> None:
        if self.plan.price is not None or self.now - self.priced < 1.0 - ROUNDING:
            return
        self.priced = self.now
        if scarce:
            self.forecasts.price = raised_price(self.forecasts.price)
        elif idle:
            self.forecasts.price = lowered_price(self.forecasts.price)

    def _walk(self) -> None:
        """Looks at the list from a little before the newest order that it showed until a page is not full."""
        first, known = self.listing.since(self.newest - OVERLAP), self.listing.known
        pages = (known - first) // PAGE + 1
        self.discoveries += pages
        self.turns.take(pages, self.now)
        self.walked = self.now
        self.newest = float(self.created[known - 1]) if known else self.newest
        self._look(self.following[self.following >= first])

    def _refit(self) -> None:
        self.refitted, self.quiet_until = self.now, -NEVER
        opened: dict[str, list[Interval]] = {}
        for index in self.following.tolist() if self.news else ():
            opened.setdefault(self.history.classes[index], []).append(Interval(float(self.last[index])))
        for name in self.news:
            newest = [*self.seen[name][-ORDERS_OF_A_CLASS:], *opened.get(name, [])]
            learned = Forecast.fit(name, newest, relative=self.plan.relative)
            self.forecasts.replace([learned])
            self.stack.take(self.number[name], learned.delay_cost)
        self.news.clear()
        self._remember(self.following)
