"""Why an ETA is what it is: how long similar orders took, and where this one stands among them. Bounded reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tracking.forecasting.classes import RELIABLE_ORDERS, class_of
from tracking.forecasting.forecasts import LONGEST_EXPECTED
from tracking.forecasting.lateness import stored_limit
from tracking.orders.wording import duration
from tracking.reports.explanations import class_text, late_limit_text, load_forecast
from tracking.reports.order_page.rows import order_row
from tracking.storage.database import Database

POINTS = 160
TAIL = 0.995  # of the orders: what the slowest few took would squeeze all others into one spot


@dataclass(frozen=True, slots=True)
class WhyCurve:
    """The share of similar orders that were still open at each age, and where this order is on that curve.

    Attributes:
        ages: in seconds; empty where too few similar orders have completed to say anything.
        still_open: the share at each age, 1 to 0.
        age: of this order now, or when it was completed; in seconds.
        next_poll_age: its age at the next poll; None where none is planned.
        orders: how many completed orders the curve rests on, or how many there are where these are too few.
        sentences: what it says, and from what age on the order is late.
    """

    ages: tuple[float, ...]
    still_open: tuple[float, ...]
    age: float
    next_poll_age: float | None
    orders: int
    sentences: tuple[str, ...]


def why_curve(database: Database, order_id: int, now: datetime) -> WhyCurve | None:
    """The curve of the order's class; None of one that the provider has not accepted."""
    with database.read() as connection:
        row = order_row(connection, order_id)
        if row["accepted_at"] is None:
            return None
        name = class_of(row["type"], row["units"])
        compared = load_forecast(connection, name).comparable_times(name)
        limit = stored_limit(connection, row["type"], row["units"])
    age = max(((row["completed_by"] or now) - row["accepted_at"]).total_seconds(), 0.0)
    ahead = row["next_look_at"] and row["completed_by"] is None
    next_poll = max((row["next_look_at"] - row["accepted_at"]).total_seconds(), age) if ahead else None
    late = (late_limit_text(limit),) if limit else ()
    if not compared.times.reliable:
        few = f"Not enough history ({compared.times.orders} of {RELIABLE_ORDERS} completed orders like it)"
        sentence = f"{few}: {class_text(name)}. Orders already complete when first seen do not count."
        return WhyCurve((), (), age, next_poll, compared.times.orders, (sentence, *late))
    slowest = min(compared.finishes_by(TAIL, 0.0), LONGEST_EXPECTED.total_seconds())
    ages = _ages(max(slowest, age * 1.3, next_poll or 0.0))
    shares = tuple(1.0 - compared.slower_than(each) for each in ages)
    like = f"{compared.times.orders:,} completed orders ({class_text(compared.like)})"
    size = " of another size, times scaled to this one" if compared.like != name else ""
    slower = min(int(compared.slower_than(age) * 100), 99)
    verb = "took" if row["completed_by"] else "has been open for"
    sentence = (
        f"This order {verb} {duration(timedelta(seconds=age))}; {slower} % of similar orders completed sooner. "
        f"Based on {like}{size}."
    )
    return WhyCurve(ages, shares, age, next_poll, compared.times.orders, (sentence, *late))


def _ages(longest: float) -> tuple[float, ...]:
    """Ages from a second to the longest, evenly apart on a logarithmic axis."""
    ratio = max(longest, 2.0) ** (1 / (POINTS - 1))
    return tuple(ratio**step for step in range(POINTS))
