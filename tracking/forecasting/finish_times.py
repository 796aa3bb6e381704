"""Finish times: how long the orders of a class take that do finish, and so from what age on an open one is late. Pure.

Only finished orders count. An order that hangs must not move the limit it is judged by, however many hang with it:
a percentile that counts open orders stays ahead of their ages for ever once one in a hundred of them hangs.
Of the finished ones only those count that were placed so long ago that nearly all placed then must have finished:
among younger ones only the fast have.

Times are in seconds since the provider took the order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from tracking.forecasting.classes import RELIABLE_ORDERS
from tracking.forecasting.survival import BINS, Array, Curve, Interval, fit_shares, prior

LATE_SHARE = 0.99
NEWEST, LATEST = 400, 100  # how many finished orders count, and how many of them show the present
SLOWED_ORDERS = 30
OUTAGE_ORDERS = 20
MARGIN = 3.5  # over the square root of how many orders: what the percentile of a sample may be too low
LEAST = 30.0
AGED = 1.5  # of the limit: orders placed so long ago have finished, if they do
TRUSTED_GROWTH = 1.05
REFINEMENTS = 12


@dataclass(frozen=True, slots=True)
class FinishedOrder:
    """Between which ages an order finished, and how long ago it was placed."""

    interval: Interval
    placed_ago: float


@dataclass(frozen=True)
class FinishTimes:
    """What the finished orders of a class show.

    Attributes:
        curve: the share of orders that finish which has not done so yet, by age.
        orders: how many finished orders it rests on, of those that were placed long enough ago.
        late_after: the age beyond which an order is late, or would be if enough had finished; zero without any.
        recent_median: the median time of the newest; a class whose orders take longer now shows it here.
    """

    curve: Curve
    orders: int = 0
    late_after: float = 0.0
    recent_median: float = 0.0

    @classmethod
    def unknown(cls) -> Self:
        """Nothing has finished yet."""
        return cls(Curve(np.ones(BINS + 1)))

    @classmethod
    def fit(cls, guess: float, finished: Sequence[FinishedOrder]) -> Self:
        """Fit the times of a class.

        Args:
            guess: the median time expected before any has finished; it decides only within intervals that say nothing.
            finished: the finished orders, the newest first.
        """
        if not finished:
            return cls.unknown()
        counted, enough = finished[:NEWEST], list[FinishedOrder]()
        curve, limit = cls._fit_limit(guess, counted)
        for _ in range(REFINEMENTS):
            enough = [one for one in finished if one.placed_ago >= limit * AGED][:NEWEST]
            if len(enough) < RELIABLE_ORDERS:
                break
            counted, before = enough, limit
            curve, limit = cls._fit_limit(guess, counted)
            if limit <= before * TRUSTED_GROWTH:
                break
        latest = Curve.of(_shares(guess, counted[:SLOWED_ORDERS])).quantile(0.5)
        return cls(curve, len(enough), max(limit, LEAST), latest)

    @classmethod
    def _fit_limit(cls, guess: float, finished: Sequence[FinishedOrder]) -> tuple[Curve, float]:
        """Fit the curve and the limit, by the latest alone where an outage lies before them.

        Orders that waited for the end of an outage are no measure for those that came after it.
        """
        curve = Curve.of(_shares(guess, finished), float(len(finished)))
        limit = _upper_limit(curve, len(finished))
        if len(finished) > LATEST:
            latest = _upper_limit(Curve.of(_shares(guess, finished[:LATEST])), LATEST)
            if latest < limit and _in_a_row(finished[LATEST:], latest):
                limit = latest
        return curve, limit

    @property
    def reliable(self) -> bool:
        """Whether enough orders have finished to say anything by them."""
        return self.orders >= RELIABLE_ORDERS

    @cached_property
    def _least_share(self) -> float:
        return 1.0 / (self.orders + 1)

    def finishes_by(self, share: float, age: float) -> float:
        """The age by which this share of those as old as `age` finishes; infinite where hardly one was as old."""
        if not self.reliable or float(self.curve.at(age)) < self._least_share:
            return math.inf
        return self.curve.quantile(share, age)


def _shares(guess: float, finished: Sequence[FinishedOrder]) -> Array:
    return fit_shares(prior(guess), [one.interval for one in finished], prior_orders=0.0)


def _in_a_row(finished: Sequence[FinishedOrder], limit: float) -> bool:
    """Whether orders that took longer were placed one after another, half of OUTAGE_ORDERS or more of them."""
    longer = [float(one.interval.after > limit) for one in finished]
    return bool(np.convolve(longer, np.ones(OUTAGE_ORDERS)).max() >= OUTAGE_ORDERS / 2)


def _upper_limit(curve: Curve, orders: int) -> float:
    """The percentile, and what that of so small a sample may be too low."""
    return curve.quantile(LATE_SHARE) * (1.0 + MARGIN / math.sqrt(orders))
