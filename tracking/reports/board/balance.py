"""Balance of the account: what is left, whether that is little, how long it lasts, its course. Bounded reads.

How long it lasts follows from the balances that were read: what went out of the account in the last seven days, whoever
ordered it. What came in is no spending. The provider names no currency: it is that of the threshold, else the one of
all that it sells, else not known. Bounded reads.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil, floor
from typing import Any

from sqlalchemy import Connection, select

from tracking.orders import wording
from tracking.reports import amounts
from tracking.storage import facts
from tracking.storage.counters import BALANCE, LEVEL, REFILLED, SPENT, hour_of
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.tables import COUNTERS

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HISTORY = timedelta(days=7)
LEAST_HISTORY = timedelta(hours=48)
STALE_AFTER = timedelta(minutes=15)
LONGEST = 365  # days: beyond, nobody plans by the rate of a week
SOON = 2  # days: what may last no longer asks for attention
GAP = timedelta(hours=2)  # without a reading, beyond which nobody knows on which day something was spent


@dataclass(frozen=True, slots=True)
class Spending:
    """What went out of the account and came into it over `span`, in minor units, and on the busiest of its days.

    `busiest_day` is at least as much as on an average day.
    """

    span: timedelta
    spent_minor: int
    refilled_minor: int
    busiest_day: float

    @property
    def daily(self) -> float:
        """What was spent on an average day."""
        return self.spent_minor / (self.span / DAY)


@dataclass(frozen=True, slots=True)
class BalanceStatus:
    """The balance as it was last read; minor units. `available_minor` is None where the provider does not offer it.

    `below_minor` is the threshold, None where none is set. `spending` is None while there is too little history:
    `history` says how long there is any. `course` are the readings of the last seven days, the last of each hour.
    """

    read_at: datetime
    available_minor: int | None
    currency: str
    below_minor: int | None
    history: timedelta
    spending: Spending | None
    course: tuple[tuple[datetime, int], ...] = ()

    @property
    def is_low(self) -> bool:
        """Whether it is below the threshold."""
        return is_low(self.available_minor, self.below_minor)

    @property
    def days(self) -> tuple[int, int] | None:
        """How many days it lasts at least, as on the busiest day, and at most, as on an average one; rounded outwards.

        None where that is not known, or nothing was spent.
        """
        if self.spending is None or not self.spending.spent_minor or self.available_minor is None:
            return None
        left = max(self.available_minor, 0)
        return floor(left / self.spending.busiest_day), ceil(left / self.spending.daily)

    def lasts(self) -> str:
        """The same in words, short: "lasts 4 to 9 days", or why nobody knows."""
        if self.spending is None:
            hours = f"{int(self.history / HOUR)} of {int(LEAST_HISTORY / HOUR)} h"
            return f"not enough history ({hours})"
        if self.days is None:
            return "nothing spent"
        least, most = self.days
        if most > LONGEST:
            return f"lasts at least {min(least, LONGEST)} days"
        if most <= 1:
            return "lasts less than a day" if not least else "lasts a day"
        return f"lasts {least} to {most} days" if least else f"lasts at most {most} days"

    def is_stale(self, now: datetime) -> bool:
        """Whether it was not read for long."""
        return now - self.read_at > STALE_AFTER

    def ends_soon(self) -> bool:
        """Whether it may last no longer than SOON days."""
        return self.days is not None and self.days[0] < SOON


def is_low(available_minor: int | None, below_minor: int | None) -> bool:
    """Whether a balance is below the threshold; not where either is unknown."""
    return available_minor is not None and below_minor is not None and available_minor < below_minor


def balance_status(database: Database, now: datetime) -> BalanceStatus | None:
    """Read the balance and its course; None before it was ever read."""
    with database.snapshot() as connection:
        stored = facts.get_fact(connection, FactKey.BALANCE)
        if stored is None:
            return None
        rows = connection.execute(
            select(COUNTERS.c.hour, COUNTERS.c.state, COUNTERS.c.value_minor)
            .where(COUNTERS.c.name == BALANCE, COUNTERS.c.hour >= hour_of(now - HISTORY), COUNTERS.c.hour <= now)
            .order_by(COUNTERS.c.hour)
        ).all()
        currency = balance_currency(connection, stored.value)
    levels = tuple((row.hour, int(row.value_minor)) for row in rows if row.state == LEVEL)
    history = now - levels[0][0] if levels else timedelta()
    return BalanceStatus(
        stored.at,
        stored.value.get("available_minor"),
        currency,
        stored.value.get("below_minor"),
        history,
        _spending(rows, [hour for hour, _ in levels], history, now) if history >= LEAST_HISTORY else None,
        levels,
    )


def balance_currency(connection: Connection, balance: Mapping[str, Any]) -> str:
    """The currency of the balance; "" where nobody knows it."""
    if balance.get("below_currency"):
        return str(balance["below_currency"])
    named = set(amounts.currencies(connection).values())
    return named.pop() if len(named) == 1 else ""


def _spending(rows: Sequence[Any], hours: Sequence[datetime], history: timedelta, now: datetime) -> Spending:
    """What moved since the first reading; that of its own hour is a day's at the most, and counts."""
    moved = {
        state: [(row.hour, int(row.value_minor)) for row in rows if row.state == state] for state in (SPENT, REFILLED)
    }
    totals = {state: sum(value for _, value in moves) for state, moves in moved.items()}
    full_days = [now - DAY * back for back in range(int(history / DAY) + 1)]
    days = [
        sum(value for hour, value in moved[SPENT] if begin <= hour < end)
        for end, begin in pairwise(full_days)
        if _was_read(hours, begin) and _was_read(hours, end)
    ]
    average = totals[SPENT] / (history / DAY)
    return Spending(history, totals[SPENT], totals[REFILLED], max([average, *days]))


def _was_read(hours: Sequence[datetime], at: datetime) -> bool:
    """Whether there is a reading close enough to this time."""
    place = bisect_left(hours, at)
    return any(abs(hour - at) <= GAP for hour in hours[max(place - 1, 0) : place + 1])


def sentence(status: BalanceStatus, now: datetime) -> str:
    """The balance in a sentence, for whoever does not see its chart."""
    if status.available_minor is None:
        return "The provider offers no balance."
    text = f"Balance {wording.money(status.available_minor, status.currency)}, read {wording.ago(status.read_at, now)}"
    below = f", below {wording.money(status.below_minor or 0, status.currency)}" if status.is_low else ""
    return f"{text}{below}, {status.lasts()}."
