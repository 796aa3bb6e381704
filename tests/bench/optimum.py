"""What a schedule costs, exactly, and the cheapest one there is (by dynamic programming over a grid of log time).

The cost of a schedule x1 < x2 < ... for one order that takes T is c times the looks until the first x >= T, plus x - T.
Its mean over T is the sum over the looks of c (1 - F(x_i-1)) + integral from x_i-1 to x_i of (F(x) - F(x_i-1)) dx.
"""

import numpy as np
import numpy.typing as npt
from shapes import Shape

Array = npt.NDArray[np.float64]
FINE = 60_000
GRID = 1500
NOBODY = 1e-9  # the share that nobody waits for


class Judge:
    """Knows one shape at one median: the exact cost of any schedule, and the least cost at a price."""

    def __init__(self, shape: Shape, median: float) -> None:
        self.shape, self.median = shape, median
        ages = np.geomspace(median, median * 1e5, 2000)
        left = 1 - shape.finished(ages, median)
        self.last = float(ages[int(np.argmax(left < NOBODY))] if (left < NOBODY).any() else ages[-1])
        self._fine = np.concatenate(([0.0], np.geomspace(median * 1e-4, self.last, FINE)))
        done = shape.finished(self._fine, median)
        steps = (done[1:] + done[:-1]) / 2 * np.diff(self._fine)
        self._integral = np.concatenate(([0.0], np.cumsum(steps)))

    def mean(self, looks: Array) -> tuple[float, float]:
        """The mean (calls, delay in seconds) of looks at these ages; they must go on to where all is finished."""
        ages = np.concatenate(([0.0], looks[looks < self.last]))
        done = self.shape.finished(ages, self.median)
        held = np.diff(np.interp(ages, self._fine, self._integral)) - done[:-1] * np.diff(ages)
        return float((1 - done[:-1]).sum()), float(held.sum())

    def least(self, price: float) -> tuple[float, float]:
        """The least mean cost in seconds at this price of a call, and the calls an order it takes."""
        ages = np.concatenate(([0.0], np.geomspace(self.median * 1e-3, self.last, GRID)))
        done = self.shape.finished(ages, self.median)
        integral = np.interp(ages, self._fine, self._integral)
        best, following = np.zeros(len(ages)), np.zeros(len(ages), dtype=np.int64)
        for index in range(len(ages) - 2, -1, -1):
            later = slice(index + 1, None)
            held = integral[later] - integral[index] - done[index] * (ages[later] - ages[index])
            costs = price * (1 - done[index]) + held + best[later]
            step = int(np.argmin(costs))
            best[index], following[index] = costs[step], index + 1 + step
        calls, index = 0.0, 0
        while index < len(ages) - 1:
            calls += 1 - done[index]
            index = int(following[index])
        return float(best[0]), float(calls)
