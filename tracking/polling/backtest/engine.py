"""Backtest engine: replays orders under another schedule or rate limit; returns calls and delays. Pure.

Time goes in steps, and those in which nothing can happen are passed over. What is asked for is said by `selection`, by
curves that are learned on the way as the console learns them; policies that people know (doubling waits, a fixed one)
are there to be compared with. `make bench-polling` holds what it says against what a running console does. Calls that
fail and polls that follow finished orders are left out.
"""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tracking.forecasting.classes import first_guess
from tracking.forecasting.forecasts import Forecasts
from tracking.forecasting.survival import BINS, EDGES, FAINT, Array, Forecast, Interval, weights
from tracking.forecasting.waits import CHEAPER, LEAST_PRICE, MOST_WEBHOOK_SHARE, raised_price
from tracking.polling.backtest.model import NEVER, BacktestResult, History, PollingPlan
from tracking.polling.selection import PADDING, PAGE, Candidates, select_calls
from tracking.provider.shared_rate_limit import calls_in_window, window_of

ROUNDING = 1e-6
STEP = 0.2  # seconds: as often as the console chooses its calls
SIMULATED_REFIT = 60.0
REFITS_AT_MOST = 200
SIMULATED_CLASS_ORDERS = 400
SIMULATED_OVERLAP = 300.0
FIRST_DOUBLED = 0.1  # of the median that is guessed for an order of the size
SIMULATED_JITTER = 0.1
COMMITS = 2  # before a call leaves
ALMOST = 1 - 1e-9  # sums of the same numbers differ by how they are added up

Indexes = npt.NDArray[np.intp]


def replay(
    history: History, plan: PollingPlan, forecasts: Sequence[Forecast] = (), *, learns: bool = True, seed: int = 1
) -> BacktestResult:
    """Replays the history: polls its orders as the plan says, until every finish was detected.

    Args:
        history: what happened.
        plan: how to poll.
        forecasts: of the classes when it begins; first guesses for others.
        learns: whether curves are learned anew on the way.
        seed: of the waits' jitter, and of when within a step all begins.
    """
    return _Run(history, plan, forecasts, seed, learns=learns).outcome()


class _Limiter:
    """The rate limit: no more calls in any window than the console's own limiter lets leave."""

    def __init__(self, rate: float) -> None:
        self._window, self._most = window_of(rate), calls_in_window(rate)
        self._left: deque[float] = deque([-NEVER] * self._most, maxlen=self._most)

    def available(self, now: float) -> int:
        """How many calls may leave now."""
        return sum(at <= now - self._window + ROUNDING for at in self._left)

    def available_at(self) -> float:
        """When the next one may leave."""
        return self._left[0] + self._window - ROUNDING

    def use(self, calls: int, now: float) -> None:
        """So many leave as soon as they may."""
        for _ in range(calls):
            self._left.append(max(now, self._left[0] + self._window))


class _Curves:
    """The curves of all classes in one array, to reckon with orders of all classes in one go."""

    def __init__(self, classes: int, *, relative: bool) -> None:
        self._open, self._slopes, self._open_paid = np.zeros((3, classes, BINS))
        self._weights = weights(relative=relative)
        self._paid = np.concatenate(([0.0], np.cumsum(self._weights * np.diff(EDGES))[:-1]))

    def take(self, number: int, forecast: Forecast) -> None:
        """Takes over the curve of a class."""
        self._open[number], self._slopes[number] = forecast.curve.open[:-1], forecast.curve.slopes
        self._open_paid[number] = forecast.delay_cost.open_paid[:-1]

    def cost_between(self, numbers: Indexes, ages: Array, until: Array) -> Array:
        """What `DelayCost.cost_between` says, for orders whose classes have these numbers."""
        share, paid_then, open_then = self._states(numbers, ages)
        _, paid, held = self._states(numbers, until)
        return np.maximum(paid - paid_then - (held - open_then) / share, 0.0)

    def _states(self, numbers: Indexes, ages: Array) -> tuple[Array, Array, Array]:
        """The share still open at these ages, and the integrals of w and of S w from zero to them."""
        ages = np.clip(ages, 0.0, EDGES[-1])
        index = np.minimum(EDGES.searchsorted(ages, side="right") - 1, BINS - 1)
        at, into, weight = index + numbers * BINS, ages - EDGES.take(index), self._weights.take(index)
        opened, fallen = self._open.take(at), self._slopes.take(at) * into
        held = self._open_paid.take(at) + weight * into * (opened - fallen / 2)
        return np.maximum(opened - fallen, FAINT), self._paid.take(index) + weight * into, held


class _Run:
    def __init__(
        self, history: History, plan: PollingPlan, forecasts: Sequence[Forecast], seed: int, *, learns: bool
    ) -> None:
        size, self.history, self.plan, self.rng = len(history), history, plan, np.random.default_rng(seed)
        self.accrual = plan.policy == "accrual"
        self.learns = learns and self.accrual
        self.forecasts = Forecasts(relative=plan.relative)
        self.forecasts.replace(forecasts)
        if plan.price is not None:
            self.forecasts.price = plan.price
        self.created = np.floor(history.arrived)  # providers tell whole seconds
        self.last = np.zeros(size)  # age at the last poll
        self.detected_at, self.due, self.waits = np.full(size, NEVER), np.full(size, NEVER), np.zeros(size)
        self.intervals: dict[str, list[Interval]] = {}
        self.news: set[str] = set()
        self.undetected = int(np.isfinite(history.finished).sum())
        self.open_orders: Indexes = np.array([], dtype=np.intp)
        self.singles = self.pages = self.discoveries = self.arrived_count = 0
        self.step = STEP + plan.commit_seconds
        self.refit_every = max(SIMULATED_REFIT, history.span / REFITS_AT_MOST)
        self.limiter = _Limiter(plan.rate)
        # Where the steps fall is chance too, and a few hundredths of a second can decide which page comes first.
        self.begun = (float(history.arrived[0]) if size else 0.0) + float(self.rng.uniform(0, self.step))
        self.now, self.taken = self.begun, 0
        self.refitted, self.raised, self.walked, self.newest = self.now, -NEVER, -NEVER, -NEVER
        self.number = {name: number for number, name in enumerate(sorted(set(history.classes)))}
        self.numbers = np.array([self.number[name] for name in history.classes], dtype=np.intp)
        self.curves = _Curves(len(self.number), relative=plan.relative)
        for name, number in self.number.items():
            self.curves.take(number, self.forecasts.for_class(name))
        may = np.ones(size, dtype=np.bool_) if history.webhook_expected is None else history.webhook_expected
        self.webhook_discount = np.where(may, 1 - min(plan.webhook_share, MOST_WEBHOOK_SHARE), 1.0)

    def outcome(self) -> BacktestResult:
        history, every = self.history, self.plan.discover_every
        while self.undetected:
            if every and self.now >= self.walked + every:
                self._walk()
            self._arrive()
            calls = (self._accrue if self.accrual else self._poll_due)() if len(self.open_orders) else 0
            if self.news and self.learns and self.now - self.refitted >= self.refit_every:
                self._refit()
            self._advance(calls)
        finish = np.flatnonzero(np.isfinite(history.finished))
        delays = self.detected_at[finish] - history.finished[finish]
        classes = [history.classes[int(index)] for index in finish]
        return BacktestResult(self.singles, self.pages, self.discoveries, delays, classes, history.span)

    # Time

    def _advance(self, calls: int) -> None:
        """Skip to the first step in which something may happen; calls get cheaper meanwhile."""
        steps = self._steps_until(self._next_event())
        if not self.limiter.available(self.now + self.step):
            steps = self._steps_until(self.limiter.available_at())
        elif self.accrual and steps > 1 and len(self.open_orders) and self._page_worth_it(steps - 1):
            steps = bisect_left(range(steps - 1), True, lo=1, key=self._page_worth_it)
        if self.accrual and self.plan.price is None and self.limiter.available(self.now):
            self.forecasts.price = self._price_after(steps - bool(calls))
        self.taken += steps
        self.now = self.begun + self.taken * self.step

    def _next_event(self) -> float:
        """When an order comes or is due in any case, a walk matters, or there is something to learn."""
        history, mine, events = self.history, self.open_orders, [NEVER]
        if self.arrived_count < len(history):
            events.append(float(history.arrived[self.arrived_count]))
        if len(mine):
            events.append(float(np.minimum(self.due[mine], history.webhook_at[mine]).min()))
            # A walk may show an open order, or take the only call for a while.
            listed = mine[-1] >= self._first_listed(self.newest - SIMULATED_OVERLAP)
            if self.plan.discover_every and (listed or self.plan.rate < 1):
                events.append(self.walked + self.plan.discover_every)
        if self.learns and self.news:
            events.append(self.refitted + self.refit_every)
        return min(events)

    def _steps_until(self, moment: float) -> int:
        """How many steps on it is then or later; one at the least."""
        return max(math.ceil((moment - self.now) / self.step - ROUNDING), 1) if math.isfinite(moment) else 1

    def _price_after(self, idle_steps: int) -> float:
        return max(self.forecasts.price * math.pow(CHEAPER, idle_steps * self.step), LEAST_PRICE)

    def _page_worth_it(self, steps: int) -> bool:
        """Whether a list page of open orders may be worth its call so many steps on. Once one is, it stays so."""
        price = self.forecasts.price if self.plan.price is not None else self._price_after(steps)
        mine = self.open_orders
        sums = np.concatenate(([0.0], np.cumsum(self._worth(mine, self.now + steps * self.step))))
        ends = mine.searchsorted(mine + self.plan.page)  # orders are numbered as they came
        return bool((sums[ends] - sums[:-1]).max() >= price * ALMOST)

    # What happens in a step

    def _arrive(self) -> None:
        first, upto = self.arrived_count, int(np.searchsorted(self.history.arrived, self.now, side="right"))
        for index in range(first, upto):
            self._plan_next(index, 0.0)
        if self.plan.sends:
            self.limiter.use(upto - first, self.now)
        self.open_orders = np.append(self.open_orders, np.arange(first, upto))
        self.arrived_count = upto

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
        wait *= 1 + self.rng.uniform(-SIMULATED_JITTER, SIMULATED_JITTER)
        self.due[index] = self.history.arrived[index] + age + max(min(wait, plan.ceiling), plan.floor)

    def _observe(self, orders: Indexes) -> None:
        """What one call shows of these orders, which were open when they were last polled."""
        history, left = self.history, self.now + COMMITS * self.plan.commit_seconds
        answered = left + self.plan.call_seconds
        for index in orders.tolist():
            arrived, name = float(history.arrived[index]), history.classes[index]
            if history.finished[index] > left:
                self.last[index] = answered - arrived
                self._plan_next(index, answered - arrived)
                continue
            self.detected_at[index], self.undetected = answered, self.undetected - 1
            by = min(answered, float(history.webhook_at[index])) - arrived
            self.intervals.setdefault(name, []).append(Interval(min(float(self.last[index]), by), by))
            self.news.add(name)
        self.open_orders = self.open_orders[np.isinf(self.detected_at[self.open_orders])]

    def _poll_due(self) -> int:
        """Polls what is due, announced orders first; returns how many calls that took."""
        mine = self.open_orders
        due = mine[(self.due[mine] <= self.now) | (self.history.webhook_at[mine] <= self.now)]
        ordered = due[np.lexsort((self.due[due], self.history.webhook_at[due] > self.now))]
        polled = ordered[: self.limiter.available(self.now)]
        for index in polled:
            self._poll_one(np.array([index]))
        return len(polled)

    def _worth(self, orders: Indexes, now: float) -> Array:
        """What has accrued of each by then, in seconds of waiting. Nobody polls again before the floor is over."""
        ages, last = now - self.history.arrived[orders], self.last[orders]
        worth = self.curves.cost_between(self.numbers[orders], last, ages) * self.webhook_discount[orders]
        return np.where((ages - last < self.plan.floor) & (self.due[orders] > now), 0.0, worth)

    def _accrue(self) -> int:
        """Makes the calls that are worth it; returns how many. Once a second they get dearer where they are scarce."""
        mine, plan, price = self.open_orders, self.plan, self.forecasts.price
        if not (room := self.limiter.available(self.now)):
            return 0
        due, urgent = self.due[mine] <= self.now, self.history.webhook_at[mine] <= self.now
        worth = self._worth(mine, self.now)
        listed = worth if plan.page > 1 else np.full(len(mine), np.nan)
        candidates = Candidates(self.created[mine], worth, listed, due | urgent, urgent)
        lag = float(np.max(self.now - self.due[mine][due], initial=0.0))
        # Each call is worth its price at the least, so there are no more of them than all is worth together.
        at_most = min(room, int(worth.sum() / (price * ALMOST)) + int(candidates.due.sum()))
        calls = select_calls(candidates, price, at_most, self._creation_times, plan.page) if at_most else []
        for call in calls:
            (self._poll_page if len(call) > 1 else self._poll_one)(mine[list(call)])
        if plan.price is None and len(calls) >= room and lag > 1.0 and self.now - self.raised >= 1.0 - ROUNDING:
            self.forecasts.price, self.raised = raised_price(price), self.now
        return len(calls)

    def _poll_one(self, order: Indexes) -> None:
        self.singles += 1
        self.limiter.use(1, self.now)
        self._observe(order[np.isinf(self.detected_at[order])])

    def _poll_page(self, orders: Indexes) -> None:
        """One list page for several; what it has no room for is asked for alone where that is due."""
        self.pages += 1
        self.limiter.use(1, self.now)
        end = self._first_listed(self.created[orders[-1]] + PADDING, side="right")
        start = max(
            self._first_listed(self.created[orders[0]] - PADDING), end - self.plan.page
        )  # the newest come first
        missed = orders[((orders < start) | (orders >= end)) & (self.due[orders] <= self.now)]
        self._observe(self.open_orders[(self.open_orders >= start) & (self.open_orders < end)])
        for index in missed[np.isinf(self.detected_at[missed])]:
            self._poll_one(np.array([index]))

    def _walk(self) -> None:
        """Walks the list from a little before the newest order that it showed until a page is not full.

        Walks that were due since the last one, and could show nothing that is open, are counted with it.
        """
        first = self._first_listed(self.newest - SIMULATED_OVERLAP)
        pages = (self.arrived_count - first) // PAGE + 1
        waited = self.now - self.walked if math.isfinite(self.walked) else self.plan.discover_every
        walks, rest = divmod(waited, self.plan.discover_every)
        self.discoveries += pages * int(walks)
        self.limiter.use(pages, self.now)
        self.walked = self.now - rest
        self.newest = float(self.created[self.arrived_count - 1]) if self.arrived_count else self.newest
        self._observe(self.open_orders[self.open_orders >= first])

    def _refit(self) -> None:
        self.refitted = self.now
        opened: dict[str, list[Interval]] = {name: [] for name in self.news}
        for index in self.open_orders.tolist():
            if (name := self.history.classes[index]) in opened:
                opened[name].append(Interval(float(self.last[index])))
        for name, still_open in opened.items():
            newest = [*self.intervals[name][-SIMULATED_CLASS_ORDERS:], *still_open]
            forecast = Forecast.fit(name, newest, relative=self.plan.relative)
            self.forecasts.replace([forecast])
            self.curves.take(self.number[name], forecast)
        self.news.clear()

    # The provider's list

    def _first_listed(self, moment: Any, side: Any = "left") -> int:
        """The first order on the list that was created then or later; with `side` "right" later."""
        return int(np.searchsorted(self.created[: self.arrived_count], moment, side=side))

    def _creation_times(self, first: float, last: float, limit: int) -> Array:
        start = self._first_listed(first)
        return self.created[start : min(self._first_listed(last, side="right"), start + limit)]
