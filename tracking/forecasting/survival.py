"""Survival curves: what share of a class is still open at each age, fitted to what polls and webhooks showed. Pure.

A look only tells that an order was open at one age and finished at a later one, so the curve is estimated from
intervals (Turnbull's self-consistent estimator, by expectation and maximisation), with a lognormal prior that counts as
a few orders and is smoothed in log time. The curve answers when to poll again (`DelayCost`): it counts open orders,
as one that may never end is worth few polls. What to expect of an open order is answered by `finish_times`.

Imported at its first use only (see `forecasts`): numpy takes as long as a tenth of a worker's start.

Ages are in seconds. Arrays are float64 over the edges of the bins; the first bin begins at zero.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from statistics import NormalDist
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tracking.forecasting.classes import SPREAD, first_guess

Array = npt.NDArray[np.float64]

RATIO = 1.12
SHORTEST, LONGEST = 0.25, 90 * 86400.0
EDGES: Array = np.concatenate(
    ([0.0], SHORTEST * RATIO ** np.arange(math.ceil(math.log(LONGEST / SHORTEST, RATIO)) + 1, dtype=np.float64))
)
BINS = len(EDGES) - 1
WIDTHS: Array = np.diff(EDGES)
MIDDLES: Array = np.sqrt(np.maximum(EDGES[:-1], SHORTEST / 2) * EDGES[1:])

PRIOR_ORDERS = 3.0
PATIENT_FROM = 60.0  # a person minds 30 seconds on an order of a minute, not on one of two hours
ROUNDS = 60
CLOSE_ENOUGH = 1e-4
FAINT = 1e-9

GUARD = 0.5  # of the age: a rare far mode that was not seen yet costs much without it
GUARDED_ORDERS = 200.0  # what so many finished orders have not shown is rare enough
FIRST_POLLS_CACHED = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """The ages in seconds between which one order finished; still open where `by` is infinite."""

    after: float
    by: float = math.inf


def weights(*, relative: bool) -> Array:
    """Weigh a second of undetected waiting at each age: one, or less for orders that took longer anyway."""
    return np.minimum(1.0, PATIENT_FROM / MIDDLES) if relative else np.ones(BINS)


@dataclass(frozen=True)
class Curve:
    """The share of a class's orders that are still open, at each of EDGES; falls from one, linear within a bin."""

    open: Array
    orders: float = 0.0

    @classmethod
    def of(cls, shares: Array, orders: float = 0.0) -> Self:
        """The curve of a distribution over the bins and what lies beyond them, BINS + 1 shares."""
        return cls(np.clip(1.0 - np.concatenate(([0.0], np.cumsum(shares[:-1]))), 0.0, 1.0), orders)

    @cached_property
    def slopes(self) -> Array:
        """The share that finishes in a second, in each bin."""
        return -np.diff(self.open) / WIDTHS

    def at(self, ages: Any) -> Array:
        """The share still open at these ages."""
        return np.asarray(np.maximum(np.interp(ages, EDGES, self.open), FAINT))

    def quantile(self, share: float, age: float = 0.0) -> float:
        """The age by which this share of the orders that are open at `age` has finished; infinite when unknown."""
        now = float(self.at(age))
        if now <= FAINT:
            return math.inf  # older than all that is known
        target = now * (1.0 - share)
        index = int(np.searchsorted(-self.open, -target))
        if index > BINS:
            return math.inf
        if index == 0:
            return age
        fall = self.open[index - 1] - self.open[index]
        part = (self.open[index - 1] - target) / fall if fall > 0 else 1.0
        return max(age, float(EDGES[index - 1] + part * WIDTHS[index - 1]))


class DelayCost:
    """The expected cost of delayed detection on one curve: the accrual rule.

    After a look at age s that said "still open", an order that has finished by age x has waited unseen since; the
    expected cost of that grows as A(u) = integral from s to u of (1 - S(x)/S(s)) w(x) dx. The next look is worth its
    call at the u where A(u) is the price of one call. See Barlow, Hunter and Proschan (1963) on inspection schedules.
    """

    def __init__(self, curve: Curve, *, relative: bool = True) -> None:
        self.curve = curve
        self.weights = weights(relative=relative)
        self.paid = np.concatenate(([0.0], np.cumsum(self.weights * WIDTHS)))
        means = (curve.open[:-1] + curve.open[1:]) / 2
        self.open_paid = np.concatenate(([0.0], np.cumsum(self.weights * WIDTHS * means)))

    def _integrals(self, ages: Array) -> tuple[Array, Array]:
        """The integrals of w and of S w from zero to each age."""
        ages = np.clip(ages, 0.0, EDGES[-1])
        index = np.minimum(np.searchsorted(EDGES, ages, side="right") - 1, BINS - 1)
        into, weight = ages - EDGES[index], self.weights[index]
        slope = self.curve.slopes[index]
        held = self.curve.open[index] * into - slope * into * into / 2
        return self.paid[index] + weight * into, self.open_paid[index] + weight * held

    def cost_between(self, ages: Array, until: Array) -> Array:
        """Compute A, the expected cost in seconds of not polling from `ages` until `until`."""
        share = self.curve.at(ages)
        paid_then, open_then = self._integrals(ages)
        paid, held = self._integrals(until)
        return np.maximum((paid - paid_then) - (held - open_then) / share, 0.0)

    @cached_property
    def _plain(self) -> tuple[list[float], ...]:
        tables = (EDGES, self.paid, self.open_paid, self.curve.open, self.curve.slopes, self.weights)
        return tuple(table.tolist() for table in tables)

    def next_poll(self, age: float, price: float) -> float:
        """Find the age of the next poll after one at `age` that said "still open"; infinite where none is worth it.

        In plain numbers: for one order arrays cost twenty times as much.

        Args:
            age: in seconds.
            price: of one call, in seconds of waiting.
        """
        edges, paid, open_paid, shares, slopes, weights = self._plain
        age = min(max(age, 0.0), edges[-1])
        first = min(bisect_right(edges, age) - 1, BINS - 1)
        into = age - edges[first]
        share = max(shares[first] - slopes[first] * into, FAINT)
        paid_then = paid[first] + weights[first] * into
        open_then = open_paid[first] + weights[first] * (shares[first] * into - slopes[first] * into * into / 2)

        def accrued_at(index: int) -> float:
            return (paid[index] - paid_then) - (open_paid[index] - open_then) / share

        if accrued_at(BINS) < price:
            return math.inf
        low, high = first, BINS
        while high - low > 1:  # the edges between which the price is reached
            middle = (low + high) // 2
            low, high = (low, middle) if accrued_at(middle) >= price else (middle, high)
        begun = low > first
        before = max(accrued_at(low), 0.0) if begun else 0.0
        done = 1.0 - max(shares[low], FAINT) / share if begun else 0.0
        rest = max(price - before, 0.0) / weights[low]
        if rest == 0.0:
            return edges[low] if begun else age
        pace = done + math.sqrt(max(done * done + 2 * slopes[low] / share * rest, 0.0))
        next_age = (edges[low] if begun else age) + (2 * rest / pace if pace else math.inf)
        return min(next_age, edges[low + 1])

    @cached_property
    def _first_polls(self) -> dict[float, float]:
        return {}

    def first_poll(self, price: float) -> float:
        """Find the age in seconds of the first poll."""
        if price not in self._first_polls:
            if len(self._first_polls) > FIRST_POLLS_CACHED:
                self._first_polls.clear()
            self._first_polls[price] = self.next_poll(0.0, price)
        return self._first_polls[price]


@dataclass(frozen=True)
class Forecast:
    """The forecast of a class: its curve, and the cost of delayed detection on it."""

    name: str
    curve: Curve
    delay_cost: DelayCost = field(repr=False)
    version: int = 0

    @classmethod
    def fit(
        cls,
        name: str,
        intervals: Sequence[Interval],
        *,
        guess: float | None = None,
        relative: bool = True,
        version: int = 0,
    ) -> Self:
        """Fit a forecast to the intervals of a class; to the guess alone where there are none."""
        shares = fit_shares(prior(guess or first_guess(name)), intervals)
        curve = Curve.of(shares, float(sum(math.isfinite(one.by) for one in intervals)))
        return cls(name, curve, DelayCost(curve, relative=relative), version)

    def wait(self, age: float, price: float, *, floor: float, ceiling: float) -> float:
        """Choose the wait in seconds after a poll at this age that said "still open".

        The rule, but never longer than the ceiling nor, until enough orders have finished, than half the age; never
        shorter than the floor. Ages before the first poll the rule would plan know no such guard.

        Args:
            age: in seconds.
            price: of one call in seconds of waiting.
            floor: the shortest wait.
            ceiling: the longest.
        """
        wait = self.delay_cost.next_poll(age, price) - age
        share = max(GUARD, self.curve.orders / GUARDED_ORDERS)
        if age >= min(self.delay_cost.first_poll(price), ceiling) and math.isfinite(share):
            wait = min(wait, max(age * share, floor))
        return min(max(wait, floor), ceiling)


@lru_cache(maxsize=1000)
def prior(median: float, spread: float = SPREAD) -> Array:
    """Compute a lognormal first guess over the bins and beyond: BINS + 1 shares."""
    normal = NormalDist(math.log(median), spread)
    below = np.array([0.0, *(normal.cdf(math.log(edge)) for edge in EDGES[1:]), 1.0])
    return np.diff(below)


def fit_shares(
    guess: Array, intervals: Sequence[Interval], *, prior_orders: float = PRIOR_ORDERS, counts: Any = None
) -> Array:
    """Fit the distribution over the bins and beyond to the intervals, drawn towards the guess.

    Args:
        guess: BINS + 1 shares.
        intervals: one for each order.
        prior_orders: how many orders the guess counts for.
        counts: how often each interval counts; once where not given.
    """
    if not intervals:
        return guess
    after = np.minimum(np.maximum([one.after for one in intervals], 0.0), EDGES[-1])
    by = np.array([one.by for one in intervals])
    times = np.ones(len(intervals)) if counts is None else np.asarray(counts, dtype=np.float64)
    fitted_intervals = _Intervals(after, np.maximum(by, after * (1 + 1e-6) + 1e-3), times)
    shares = np.maximum(guess, FAINT)  # what the guess rules out can be learned all the same
    for _ in range(ROUNDS):
        grown = prior_orders * guess + fitted_intervals.expected(shares)
        grown = _smoothed(grown / grown.sum())
        moved = float(np.abs(grown - shares).sum())
        shares = grown
        if moved < CLOSE_ENOUGH:
            break
    return shares


class _Intervals:
    """Where so many orders finished: each within the bins between two places, the outer two of them in part.

    A place is a bin with how much of it lies below. The bin beyond all edges counts whole or not at all.
    """

    def __init__(self, after: Array, by: Array, times: Array) -> None:
        self._first, below = _places(after)
        self._last, above = _places(np.minimum(by, EDGES[-1]))
        beyond = by > EDGES[-1]
        self._last[beyond], above[beyond] = BINS, 1.0
        within = self._first == self._last
        self._whole = np.bincount(self._first[within], times[within], BINS + 1)  # wherever in its bin: it is in there
        apart = ~within
        self._first, self._last, self._times = self._first[apart], self._last[apart], times[apart]
        self._below, self._above = 1.0 - below[apart], above[apart]

    def expected(self, shares: Array) -> Array:
        """How many of them finished in each bin, if that were the distribution."""
        sums = np.concatenate(([0.0], np.cumsum(shares)))
        inner = np.maximum(sums[self._last] - sums[self._first + 1], 0.0)
        total = self._below * shares[self._first] + inner + self._above * shares[self._last]
        weight = np.divide(self._times, total, out=np.zeros_like(total), where=total > 0)
        begun = np.bincount(self._first + 1, weight, BINS + 2) - np.bincount(self._last, weight, BINS + 2)
        parts = np.maximum(np.cumsum(begun)[: BINS + 1], 0.0)
        parts += np.bincount(self._first, weight * self._below, BINS + 1)
        parts += np.bincount(self._last, weight * self._above, BINS + 1)
        return self._whole + parts * shares


def _places(ages: Array) -> tuple[npt.NDArray[np.intp], Array]:
    bins = np.minimum(np.searchsorted(EDGES, ages, side="right") - 1, BINS - 1)
    return bins, (ages - EDGES[bins]) / WIDTHS[bins]


KERNEL = np.array([0.25, 0.5, 0.25])


def _smoothed(shares: Array) -> Array:
    """Spread a little over neighbouring bins: orders are too few to tell bins of 12 percent apart."""
    inner = np.convolve(np.concatenate((shares[:1], shares[:-1], shares[-2:-1])), KERNEL, mode="valid")
    total = inner.sum()
    if total > 0:
        inner *= (1.0 - shares[-1]) / total
    return np.append(inner, shares[-1])
