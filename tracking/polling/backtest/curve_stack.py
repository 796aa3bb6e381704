"""Survival curves of several classes stacked in one array, to reckon with orders of all classes in one go. Pure."""

from typing import Any

import numpy as np

from tracking.forecasting.survival import BINS, EDGES, FAINT, Array, DelayCost


class CurveStack:
    """The accrual rule on several curves at once, for orders of all their classes in one go.

    Takes over each class by its number, from 0 on, and again whenever it was learned anew.
    """

    def __init__(self, classes: int) -> None:
        self._open, self._slopes, self._open_paid = (np.zeros((classes, BINS)) for _ in range(3))
        self._paid, self._weights = np.zeros(BINS), np.ones(BINS)

    def take(self, kind: int, accrual: DelayCost) -> None:
        """Takes a class's rule over; all of them weigh a second alike."""
        self._paid, self._weights = accrual.paid[:-1], accrual.weights
        self._open[kind], self._slopes[kind] = accrual.curve.open[:-1], accrual.curve.slopes
        self._open_paid[kind] = accrual.open_paid[:-1]

    def states(self, kinds: Any, ages: Array) -> tuple[Array, Array, Array]:
        """The share still open at these ages, and the integrals of w and of S w from zero to them."""
        ages = np.minimum(np.maximum(ages, 0.0), EDGES[-1])
        index = np.minimum(EDGES.searchsorted(ages, side="right") - 1, BINS - 1)
        at = index + kinds * BINS
        into, weight = ages - EDGES.take(index), self._weights.take(index)
        opened, fallen = self._open.take(at), self._slopes.take(at) * into
        paid = self._paid.take(index) + weight * into
        held = self._open_paid.take(at) + weight * into * (opened - fallen / 2)
        return np.maximum(opened - fallen, FAINT), paid, held
