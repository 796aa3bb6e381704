"""Survival curves of several classes stacked in one array, to reckon with orders of all classes in one go. Pure."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tracking.forecasting.survival import BINS, EDGES, FAINT, Array, DelayCost

Indexes = npt.NDArray[np.intp]


class CurveStack:
    """The accrual rule on several curves at once.

    Takes over each class by its number, from 0 on, and again whenever it was learned anew.
    """

    def __init__(self, classes: int) -> None:
        self._open, self._slopes, self._open_paid = (np.zeros((classes, BINS)) for _ in range(3))
        self._paid, self._weights = np.zeros(BINS), np.ones(BINS)

    def take(self, number: int, delay_cost: DelayCost) -> None:
        """Takes a class's rule over; all of them weigh a second alike."""
        self._paid, self._weights = delay_cost.paid[:-1], delay_cost.weights
        self._open[number], self._slopes[number] = delay_cost.curve.open[:-1], delay_cost.curve.slopes
        self._open_paid[number] = delay_cost.open_paid[:-1]

    def states(self, numbers: Any, ages: Array) -> tuple[Array, Array, Array]:
        """The share still open at these ages, and the integrals of w and of S w from zero to them."""
        ages = np.minimum(np.maximum(ages, 0.0), EDGES[-1])
        index = np.minimum(EDGES.searchsorted(ages, side="right") - 1, BINS - 1)
        at = index + numbers * BINS
        into, weight = ages - EDGES.take(index), self._weights.take(index)
        opened, fallen = self._open.take(at), self._slopes.take(at) * into
        paid = self._paid.take(index) + weight * into
        held = self._open_paid.take(at) + weight * into * (opened - fallen / 2)
        return np.maximum(opened - fallen, FAINT), paid, held


class AccruedDelay:
    """What each order's expected delay has cost since its last poll, by the curve of its class.

    Args:
        numbers: of each order's class, from 0 on; shape (n,).
        classes: how many classes there are.
    """

    def __init__(self, numbers: Indexes, classes: int) -> None:
        size = len(numbers)
        self._numbers, self._stack = numbers, CurveStack(classes)
        self._share, self._paid, self._open_paid = np.ones(size), np.zeros(size), np.zeros(size)  # at the last poll

    def take(self, number: int, delay_cost: DelayCost) -> None:
        """Takes over the rule of a class. What was noted of its orders stays until it is noted anew."""
        self._stack.take(number, delay_cost)

    def note_poll(self, orders: Indexes, ages: Array) -> None:
        """Notes that these orders were open at these ages, in seconds: all that accrues is reckoned from there."""
        states = self._stack.states(self._numbers[orders], ages)
        self._share[orders], self._paid[orders], self._open_paid[orders] = states

    def until(self, orders: Indexes, ages: Array) -> Array:
        """What has accrued by these ages, in seconds of waiting; of their shape."""
        _, paid, open_paid = self._stack.states(self._numbers[orders], ages)
        accrued = paid - self._paid[orders] - (open_paid - self._open_paid[orders]) / self._share[orders]
        return np.asarray(np.maximum(accrued, 0.0))
