"""Finish times of classes, as if so many orders of them had finished long ago."""

from tracking.forecasting.finish_times import FinishedOrder, FinishTimes
from tracking.forecasting.survival import Interval


def times_of(*intervals: Interval, orders: int = 60, placed_ago: float = 1e6) -> FinishTimes:
    """The times of a class of which `orders` finished within each of the intervals."""
    return FinishTimes.fit(10.0, [FinishedOrder(one, placed_ago) for one in intervals for _ in range(orders)])
