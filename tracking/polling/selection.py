"""Selects the calls that are worth making now. Pure: arrays in, groups of orders out, for poller and backtest.

An open order is worth a call of its own once the wait it has accrued reaches the price of a call. A list page answers
for all orders created within a range of time and is worth the sum of theirs, less what it costs to ask again for those
that the list shows as finished without proof. The best calls go first, so that nothing starves when calls are scarce:
what is passed over goes on accruing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracking.forecasting.survival import Array

PAGE = 50
URGENT = 1e9  # ahead of whatever has accrued in a lifetime
WINDOWS_TRIED = 4  # windows examined for each call to make: some turn out to hold too many orders
WIDEST = 5000  # orders created within one window; beyond that a page of it would be chance
PADDING = 1.0  # seconds at both ends of a page's range, as providers cut times differently

Indexes = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
CreationTimes = Callable[[float, float, int], Array]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Orders that may be polled now. Arrays of shape (n,), ascending by `created`; worth in seconds of waiting."""

    created: Array  # when the provider made it, in seconds; NaN, and last, where that is not known
    single_worth: Array  # the wait it has accrued, as a call for it alone counts it
    list_worth: Array  # the same as a list page counts it; NaN where no list page can answer for it
    due: Flags  # whether it is to be polled in any case, whatever it has accrued
    urgent: Flags  # whether a webhook announced it, or a person asked for it: ahead of all others

    def __len__(self) -> int:
        return len(self.created)


def select_calls(
    candidates: Candidates, price: float, at_most: int, creation_times: CreationTimes, page: int = PAGE
) -> list[tuple[int, ...]]:
    """The calls that are worth their price now, in seconds of waiting, the best first, each as the orders it is for.

    One order is asked for alone, several by a list page.
    `creation_times` tells when the orders between two times were created, ascending and up to a limit, finished ones
    included: they take up room on a page, which holds `page` orders.
    """
    single = _worth(candidates.single_worth, candidates, price)
    joint = np.where(np.isnan(candidates.list_worth), 0.0, _worth(candidates.list_worth, candidates, price))
    joint[np.isnan(candidates.created)] = 0.0
    calls: list[tuple[int, ...]] = []
    for _ in range(WINDOWS_TRIED * at_most):
        if len(calls) >= at_most or not len(candidates):
            break
        alone = int(np.argmax(single))
        group, crowd = _best_window(candidates.created, joint, page, creation_times)
        together = float(joint[group].sum())
        if len(group) > 1 and together >= max(price, single[alone]):
            call = tuple(group.tolist())
        elif single[alone] >= price:
            call = (alone,)
        elif len(crowd) > len(group):
            joint[crowd] = 0.0  # no page among them is worth it, but one elsewhere may be
            continue
        else:
            break
        calls.append(call)
        taken = list(call)
        single[taken], joint[taken] = 0.0, 0.0
    return calls


def _worth(accrued: Array, candidates: Candidates, price: float) -> Array:
    """The worth of each order: what it has accrued, at least a call's price where it is due; urgent ones come first."""
    worth = np.where(candidates.due, np.maximum(accrued, price), accrued)
    return np.asarray(np.where(candidates.urgent, worth + URGENT, worth))


def _best_window(created: Array, worth: Array, page: int, creation_times: CreationTimes) -> tuple[Indexes, Indexes]:
    """The orders of the list page that is worth most, and all those of the time it was chosen from."""
    live = np.flatnonzero(worth > 0)
    if len(live) < 2:
        return live, live
    first, last = _best_run(worth[live], np.minimum(np.arange(len(live)) + page, len(live)))
    inside = live[first:last]
    others = creation_times(created[inside[0]] - PADDING, created[inside[-1]] + PADDING, WIDEST + 1)
    if len(others) <= page:
        return inside, inside
    if len(others) > WIDEST:
        return inside[:0], inside
    # Too many orders were created in that time: the best part of it that fits on a page, with what the padding shows.
    starts = np.searchsorted(others, created[inside] - PADDING)
    stops = np.searchsorted(others, created[inside] + PADDING, side="right")
    ends = np.maximum(np.searchsorted(stops, starts + page, side="right"), np.arange(len(inside)) + 1)
    best, end = _best_run(worth[inside], ends)
    return inside[best:end], inside


def _best_run(worth: Array, ends: Indexes) -> tuple[int, int]:
    """From where on, and before which end, the orders are worth most; `ends` is the furthest for each beginning."""
    sums = np.concatenate(([0.0], np.cumsum(worth)))
    best = int(np.argmax(sums[ends] - sums[:-1]))
    return best, int(ends[best])
