"""Backtest engine: replay a history of orders under another schedule or rate limit, for its calls and delays. Pure.

Time goes in steps, and those in which nothing can happen are passed over. What is asked for is said by `selection`, by
curves that are learned on the way as the console learns them; policies that people know (doubling waits, a fixed one)
are there to be compared with. `make bench-polling` holds what it says against what a running console does. Calls that
fail and polls that follow finished orders are left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tracking.forecasting.classes import first_guess
from tracking.forecasting.forecasts import Forecasts
from tracking.forecasting.survival import Array, Forecast, Interval
from tracking.forecasting.waits import CHEAPER, LEAST_PRICE, MOST_WEBHOOK_SHARE, lowered_price, raised_price
from tracking.polling.backtest.curve_stack import AccruedDelay, Indexes
from tracking.polling.backtest.model import (
    NEVER,
    ROUNDING,
    BacktestResult,
    History,
    PollingPlan,
    SimulatedLimiter,
    SimulatedOrderList,
    TimeSteps,
)
from tracking.polling.selection import PADDING, PAGE, Candidates, select_calls

STEPS_AT_MOST = 40_000
SHORTEST_STEP = 0.2
REFITS_AT_MOST = 200
SIMULATED_REFIT = 60.0
SIMULATED_CLASS_ORDERS = 400
SIMULATED_OVERLAP = 300.0
FIRST_DOUBLED = 0.1  # of the median that is guessed for an order of the size
SIMULATED_JITTER = 0.1
WALKS_ASIDE = 4  # calls at once that leave room for a walk beside them
COMMITS = 2  # before a call leaves
SHARES: Array = np.linspace(0.0, 1.0, 17)[:-1]  # of a time that is searched for when something may happen again
FAR_AHEAD = 8
ALMOST = 1 - 1e-9  # sums of the same numbers differ by how they are added up
NOTHING: tuple[float, Array] = math.nan, np.zeros(0)


def replay(
    history: History,
    plan: PollingPlan,
    forecasts: Sequence[Forecast] = (),
    *,
    learns: bool = True,
    seed: int = 1,
    step: float | None = None,
    leaps: bool = True,
) -> BacktestResult:
    """Replays the history: polls its orders as the plan says, until every finish was detected.

    Args:
        history: what happened.
        plan: how to poll.
        forecasts: of the classes when it begins; first guesses for others.
        learns: whether curves are learned anew on the way.
        seed: of the waits' jitter, and of when within a step all begins.
        step: how fine time is, in seconds; None: as fine as the history is short.
        leaps: whether steps in which nothing can happen are passed over, which changes nothing but how long it takes.
    """
    in_memory = Forecasts(relative=plan.relative)
    in_memory.replace(forecasts)
    run = _Run(history, plan, in_memory, np.random.default_rng(seed), learns=learns, leaps=leaps, step=step or 0.0)
    return run.outcome()


@dataclass
class _Run:
    history: History
    plan: PollingPlan
    forecasts: Forecasts
    rng: np.random.Generator
    learns: bool
    leaps: bool = True
    step: float = 0.0
    now: float = 0.0
    singles: int = 0
    pages: int = 0
    discoveries: int = 0
    open_orders: Indexes = field(default_factory=lambda: np.array([], dtype=np.intp))
    news: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        size, plan = len(self.history), self.plan
        self.created = np.floor(self.history.arrived)  # providers tell whole seconds
        self.order_list = SimulatedOrderList(self.created)
        self.last = np.zeros(size)  # age at the last poll
        self.detected_at = np.full(size, NEVER)  # when its finish was detected
        self.due, self.waits = np.full(size, NEVER), np.zeros(size)
        self.intervals: dict[str, list[Interval]] = {}
        self.undetected = int(np.isfinite(self.history.finished).sum())
        self.step = self.step or max(SHORTEST_STEP + plan.commit_seconds, self.history.span / STEPS_AT_MOST)
        self.refit_every = max(SIMULATED_REFIT, self.history.span / REFITS_AT_MOST)
        self.limiter = SimulatedLimiter(plan.rate, self.step)
        self.refitted, self.priced, self.walked, self.newest = 0.0, -NEVER, -NEVER, -NEVER
        if plan.price is not None:
            self.forecasts.price = plan.price
        self._number_classes()

    def _number_classes(self) -> None:
        history, size = self.history, len(self.history)
        self.number = {name: number for number, name in enumerate(sorted(set(history.classes)))}
        numbers = np.array([self.number[name] for name in history.classes], dtype=np.intp)
        self.accrued = AccruedDelay(numbers, len(self.number))
        may = np.ones(size, dtype=np.bool_) if history.webhook_expected is None else history.webhook_expected
        self.webhook_discount = np.where(may, 1 - min(self.plan.webhook_share, MOST_WEBHOOK_SHARE), 1.0)
        self.next_worth = NOTHING  # what will have accrued by a time to come
        self.quiet_until = -NEVER  # no call is worth it before, but for what is due or comes new

    def outcome(self) -> BacktestResult:
        for name, number in self.number.items():
            self.accrued.take(number, self.forecasts.for_class(name).delay_cost)
        if len(self.history):
            # Where the steps fall is chance too, and a few hundredths of a second can decide which page comes first.
            self.now = float(self.history.arrived[0] + self.rng.uniform(0, self.step))
            self.refitted = self.now
        self.time = TimeSteps(self.now, self.step)
        while self.undetected:
            if self.plan.discover_every and self.now >= self.walked + self.plan.discover_every:
                self._walk()
            self._arrive()
            if len(self.open_orders):
                self._turn()
                self._advance(self._idle_steps() if self.leaps and self.undetected and len(self.open_orders) else 1)
            else:
                self.now = max(self.now + self.step, self._next_event())
                self.time = TimeSteps(self.now, self.step)
        finish = np.flatnonzero(np.isfinite(self.history.finished))
        delays = self.detected_at[finish] - self.history.finished[finish]
        classes = [self.history.classes[int(index)] for index in finish]
        return BacktestResult(self.singles, self.pages, self.discoveries, delays, classes, self.history.span)

    def _turn(self) -> None:
        if self.plan.policy == "accrual":
            self._accrue()
        else:
            self._poll_due()
        if self.learns and self.plan.policy == "accrual" and self.now - self.refitted >= self.refit_every:
            self._refit()

    def _next_event(self) -> float:
        """When the next order comes or discovery is due, while no order is open."""
        every = self.plan.discover_every
        return min(self._next_arrival(), self.walked + every) if every else self._next_arrival()

    def _next_arrival(self) -> float:
        """When the next order comes; never where none does."""
        arrived = self.order_list.arrived_count
        return float(self.history.arrived[arrived]) if arrived < len(self.history) else NEVER

    # Time

    def _advance(self, steps: int) -> None:
        """Goes so many steps on; in those between, the list shows nothing that is open, and calls get cheaper."""
        target = self.time.taken + steps
        while self.plan.discover_every and steps > 1:
            walk = self.time.taken + self.time.until(self.walked + self.plan.discover_every)
            if walk >= target:
                break
            self._pass_idle(walk)
            self._go_to(walk)
            self._walk()
        if steps > 1:
            self._pass_idle(target - 1)
        self._go_to(target)

    def _go_to(self, steps: int) -> None:
        self.time.taken = steps
        self.now = self.time.at(steps)

    def _pass_idle(self, last: int) -> None:
        """What idle steps up to this one do: calls get cheaper while there is room for them."""
        if self.plan.policy == "accrual" and self.plan.price is None:
            at = self.time.taken + self.time.until(self.priced + 1.0 - ROUNDING)
            a_second = math.ceil((1.0 - ROUNDING) / self.step)
            if not self.limiter.available(self.now):
                at = max(at, self.time.taken + self.time.until(self.limiter.available_at()))
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

    def _idle_steps(self) -> int:
        """How many steps on something may happen again."""
        plan, mine = self.plan, self.open_orders
        soonest = [self._next_arrival()]
        if self.learns and self.news and plan.policy == "accrual":
            soonest.append(self.refitted + self.refit_every)
        first_listed = int(self.history.arrived.searchsorted(self.newest - SIMULATED_OVERLAP - PADDING))
        if plan.discover_every and (mine[-1] >= first_listed or self.limiter.most < WALKS_ASIDE):
            soonest.append(self.walked + plan.discover_every)
        limit = self.time.until(min(soonest))
        asked = np.minimum(self.due[mine], self.history.webhook_at[mine])
        room = 1 if self.limiter.available(self.now + self.step) else self.time.until(self.limiter.available_at())
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
        if not self._page_worth_it(np.array([far]))[0]:
            self.quiet_until = self.time.at(self.time.taken + far)  # polls only make it quieter
            return limit
        low, high = 0, limit
        if not self._page_worth_it(np.array([limit]))[0]:
            return limit
        while high - low > 1:
            steps = low + 1 + (SHARES * (high - low - 1)).astype(np.intp)
            enough = np.flatnonzero(self._page_worth_it(steps))
            first = int(enough[0]) if len(enough) else len(steps)
            if first < len(steps):
                high = int(steps[first])
            low = int(steps[first - 1]) if first else low
        return high

    def _page_worth_it(self, steps: Indexes) -> Any:
        """Whether a list page of open orders may be worth its call so many steps on. Once one is, it stays so."""
        mine, now = self.open_orders, self.time.at(self.time.taken + steps)
        price: Any = self.forecasts.price
        if self.plan.price is None:
            price = np.maximum(price * CHEAPER ** np.maximum(now - self.priced, 0.0), LEAST_PRICE)
        worth = self._worth(mine[:, None], now[None, :])
        if len(steps) == 1:
            self.next_worth = float(now[0]), worth[:, 0]
        sums = np.zeros((len(mine) + 1, len(steps)))
        worth.cumsum(axis=0, out=sums[1:])
        ends = mine.searchsorted(mine + self.plan.page, side="right")  # orders are numbered as they came
        enough = (sums[ends] - sums[:-1]).max(axis=0) >= price * ALMOST
        return enough & (sums[-1] > 0)

    # What happens in a step

    def _arrive(self) -> None:
        first = self.order_list.arrived_count
        if first == len(self.history) or self.history.arrived[first] > self.now:
            return
        upto = int(np.searchsorted(self.history.arrived, self.now, side="right"))
        for index in range(self.order_list.arrived_count, upto):
            self._plan_next(index, 0.0)
        if self.plan.sends:
            self.limiter.use(upto - self.order_list.arrived_count, self.now)
        self.open_orders = np.append(self.open_orders, np.arange(self.order_list.arrived_count, upto))
        self.order_list.arrived_count, self.quiet_until = upto, -NEVER

    def _plan_next(self, index: int, age: float) -> None:
        plan, name = self.plan, self.history.classes[index]
        if plan.policy == "fixed":
            wait = plan.wait
        elif plan.policy == "doubling":
            first = FIRST_DOUBLED * first_guess(name)
            wait = self.waits[index] = min(max(self.waits[index] * 2, first), plan.ceiling)
        else:
            price = self.forecasts.price / float(self.webhook_discount[index])
            wait = self.forecasts.for_class(name).wait(age, price, floor=plan.floor, ceiling=plan.ceiling)
        wait = min(
            max(wait * (1 + self.rng.uniform(-SIMULATED_JITTER, SIMULATED_JITTER)), plan.floor),
            max(plan.ceiling, plan.floor),
        )
        self.due[index] = self.history.arrived[index] + age + wait

    def _observe(self, orders: Indexes) -> None:
        """What one call shows of these orders."""
        history, left = self.history, self.now + COMMITS * self.plan.commit_seconds
        answered, open_before = left + self.plan.call_seconds, self.undetected
        orders = orders[np.isinf(self.detected_at[orders])]
        if not len(orders):
            return
        for index in orders.tolist():
            age = answered - float(history.arrived[index])
            name = history.classes[index]
            if history.finished[index] <= left:
                self.detected_at[index], self.undetected = answered, self.undetected - 1
                by = min(answered, float(history.webhook_at[index])) - float(history.arrived[index])
                self.intervals.setdefault(name, []).append(Interval(min(float(self.last[index]), by), by))
                self.news.add(name)
            else:
                self.last[index] = age
                self._plan_next(index, age)
        if self.plan.policy == "accrual":
            self.accrued.note_poll(orders, self.last[orders])
        if self.undetected < open_before:
            self.open_orders = self.open_orders[np.isinf(self.detected_at[self.open_orders])]

    def _poll_due(self) -> None:
        mine = self.open_orders
        due = mine[(self.due[mine] <= self.now) | (self.history.webhook_at[mine] <= self.now)]
        order = due[np.lexsort((self.due[due], self.history.webhook_at[due] > self.now))]
        order = order[: self.limiter.available(self.now)]
        for index in order:
            self._poll_one(np.array([index]))

    def _worth(self, orders: Indexes, now: Any) -> Array:
        """What has accrued of each by then, in seconds of waiting. Nobody polls again before the floor is over."""
        ages = now - self.history.arrived[orders]
        worth = self.accrued.until(orders, ages) * self.webhook_discount[orders]
        worth[(ages - self.last[orders] < self.plan.floor) & (self.due[orders] > now)] = 0.0
        return np.asarray(worth)

    def _accrue(self) -> None:
        mine, plan, history = self.open_orders, self.plan, self.history
        due, urgent = self.due[mine] <= self.now, history.webhook_at[mine] <= self.now
        at, worth = self.next_worth
        if at != self.now or len(worth) != len(mine):
            worth = self._worth(mine, self.now)
        self.next_worth = NOTHING
        listed = worth.copy() if plan.page > 1 else np.full(len(mine), np.nan)
        candidates = Candidates(self.created[mine], worth, listed, due | urgent, urgent)
        room = self.limiter.available(self.now)
        if not room:
            return
        lag = float(np.max(self.now - self.due[mine][due], initial=0.0))
        # Each call is worth its price at the least, so there are no more of them than all is worth together.
        most = int(worth.sum() / (self.forecasts.price * ALMOST)) + int(candidates.due.sum())
        at_most = min(room, most)
        creation_times = self.order_list.creation_times
        calls = select_calls(candidates, self.forecasts.price, at_most, creation_times, plan.page) if at_most else []
        for call in calls:
            if len(call.orders) > 1:
                self._poll_page(mine[list(call.orders)])
            else:
                self._poll_one(mine[list(call.orders)])
        self._adjust_price(scarce=len(calls) >= room and lag > 1.0, idle=not calls)

    def _poll_one(self, order: Indexes) -> None:
        self.singles += 1
        self.limiter.use(1, self.now)
        self._observe(order)

    def _poll_page(self, orders: Indexes) -> None:
        """One list page for several; what it has no room for is asked for alone where that is due."""
        self.pages += 1
        self.limiter.use(1, self.now)
        start, end = self.order_list.page(self.created[orders[0]], self.created[orders[-1]], self.plan.page)
        listed = self.open_orders[(self.open_orders >= start) & (self.open_orders < end)]
        aside = (orders < start) | (orders >= end)
        missed = orders[aside & (self.due[orders] <= self.now) & np.isinf(self.detected_at[orders])]
        self._observe(listed)
        for index in missed:
            self._poll_one(np.array([index]))

    def _adjust_price(self, *, scarce: bool, idle: bool) -> None:
        if self.plan.price is not None or self.now - self.priced < 1.0 - ROUNDING:
            return
        self.priced = self.now
        if scarce:
            self.forecasts.price = raised_price(self.forecasts.price)
        elif idle:
            self.forecasts.price = lowered_price(self.forecasts.price)

    def _walk(self) -> None:
        """Walks the list from a little before the newest order that it showed until a page is not full."""
        first, arrived = self.order_list.since(self.newest - SIMULATED_OVERLAP), self.order_list.arrived_count
        pages = (arrived - first) // PAGE + 1
        self.discoveries += pages
        self.limiter.use(pages, self.now)
        self.walked = self.now
        self.newest = float(self.created[arrived - 1]) if arrived else self.newest
        self._observe(self.open_orders[self.open_orders >= first])

    def _refit(self) -> None:
        self.refitted, self.quiet_until = self.now, -NEVER
        opened: dict[str, list[Interval]] = {}
        for index in self.open_orders.tolist() if self.news else ():
            opened.setdefault(self.history.classes[index], []).append(Interval(float(self.last[index])))
        for name in self.news:
            newest = [*self.intervals[name][-SIMULATED_CLASS_ORDERS:], *opened.get(name, [])]
            forecast = Forecast.fit(name, newest, relative=self.plan.relative)
            self.forecasts.replace([forecast])
            self.accrued.take(self.number[name], forecast.delay_cost)
        self.news.clear()
        self.accrued.note_poll(self.open_orders, self.last[self.open_orders])
