"""Progress of an order of many cards: its pace so far, and when it will be complete at that pace. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tracking.forecasting.forecasts import LONGEST_EXPECTED
from tracking.orders.wording import SAME_MOMENT, clock, latest

LEAST_STEPS = 4
"""Increases that must be on record before anything is said of the pace."""

Counted = Sequence[tuple[datetime, int]]


@dataclass(frozen=True, slots=True)
class Projection:
    """When all cards will be fulfilled if it goes on as so far; no forecast of what the provider will do.

    Attributes:
        earliest: at the faster of the paces of the earlier and the later half of what is on record.
        middle: at the pace since the first increase.
        latest: at the slower of the two; None where hardly any went on in one of them.
        steps: how many increases that rests on.
    """

    earliest: datetime
    middle: datetime
    latest: datetime | None
    steps: int

    @property
    def window(self) -> str:
        """The bounds in words, rounded outwards."""
        if self.latest is None:
            return f"not before {clock(self.earliest, self.middle)[:-3]}"
        by = latest(self.latest, self.middle, SAME_MOMENT)[:-3]
        return f"between {clock(self.earliest, self.middle)[:-3]} and {by}"

    @property
    def text(self) -> str:
        """The same in a sentence."""
        return f"At the pace so far all cards are fulfilled {self.window} ({self.steps} recorded increases)."


def _rising(counted: Counted) -> list[tuple[datetime, int]]:
    """The counts that were higher than all before."""
    rising: list[tuple[datetime, int]] = []
    for at, number in counted:
        if number > (rising[-1][1] if rising else 0):
            rising.append((at, number))
    return rising


def steps(counted: Counted) -> int:
    """How many increases after the first are on record."""
    return max(len(_rising(counted)) - 1, 0)


def project(counted: Counted, units: int, polled_at: datetime) -> Projection | None:
    """Project when all of `units` are fulfilled; None of an order that is done, or with too few increases.

    The pace begins with the first increase: before it the provider was not at it yet. The time from the last one to
    the last poll counts, so that a pace that has died down shows.
    """
    rising = _rising(counted)
    if len(rising) - 1 < LEAST_STEPS or rising[-1][1] >= units:
        return None
    first, middle, (last_at, done) = rising[0], rising[len(rising) // 2], rising[-1]
    now = max(polled_at, last_at)
    whole = _left(first, (now, done), units)
    halves = [_left(first, middle, units - done + middle[1]), _left(middle, (now, done), units)]
    if whole is None:
        return None
    fast = min([whole, *(half for half in halves if half is not None)])
    slow = None if None in halves else max([whole, *(half for half in halves if half is not None)])
    return Projection(now + fast, now + whole, None if slow is None else now + slow, len(rising) - 1)


def _left(start: tuple[datetime, int], end: tuple[datetime, int], units: int) -> timedelta | None:
    """How long the cards between the end's count and `units` take at the pace from start to end; None: too long."""
    (began, before), (at, after) = start, end
    if after <= before or at <= began:
        return None
    left = (units - after) * (at - began) / (after - before)
    return left if left <= LONGEST_EXPECTED else None
