"""Learned forecasts: curves fitted from the orders in the store and stored there, so that a restart forgets nothing.

Each class's curve is stored with the version of its form and the number of times it was learned. A class
without finished orders has a first guess that grows with its size.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection, select
from sqlalchemy.engine import Row

from tracking.forecasting.classes import class_of
from tracking.forecasting.survival import BINS, Curve, DelayCost, Forecast, Interval
from tracking.forecasting.waits import webhook_share
from tracking.orders.latency import finished_between
from tracking.orders.model import State, Submission
from tracking.storage import facts
from tracking.storage.tables import FACTS, ORDERS

log = logging.getLogger(__name__)

FORM = 1
ORDERS_READ = 20_000
ORDERS_OF_A_CLASS = 400
DIGITS = 7
RISING = 1e-6  # a curve never rises; what rounding adds is no rise

_READ: tuple[str, ...] = ("id", "type", "units", "state", "submission", "accepted_at", "last_open_at")
_READ += ("completed_after", "completed_by", "claimed_at")


def newest_orders(connection: Connection, limit: int = ORDERS_READ) -> Sequence[Row[Any]]:
    """Read the times of the newest orders that the provider took."""
    accepted = select(*(ORDERS.c[name] for name in _READ)).where(ORDERS.c.accepted_at.is_not(None))
    return connection.execute(accepted.order_by(ORDERS.c.id.desc()).limit(limit)).all()


def intervals_by_class(rows: Iterable[Row[Any]]) -> dict[str, list[Interval]]:
    """Group the intervals in which orders finished by class, the newest orders of each."""
    intervals: dict[str, list[Interval]] = defaultdict(list)
    for row in rows:
        of_class = intervals[class_of(row.type, row.units)]
        if len(of_class) < ORDERS_OF_A_CLASS and (interval := completion_interval(row)) is not None:
            of_class.append(interval)
    return intervals


def completion_interval(row: Row[Any]) -> Interval | None:
    """Between which ages in seconds the order finished, as far as polls showed it; None where they showed nothing."""

    def age(moment: datetime) -> float:
        return max(float((moment - row.accepted_at).total_seconds()), 0.0)

    if row.state == State.CANCELLED:
        return None  # it did not finish, and will not
    if row.completed_by is None:
        return Interval(age(row.last_open_at)) if row.last_open_at else None
    if row.last_open_at is None and row.submission == Submission.ELSEWHERE:
        return None  # it was finished when it was first seen, perhaps for days
    after, by = finished_between(row.completed_after or row.accepted_at, row.completed_by, row.claimed_at)
    return Interval(age(after), age(by))


def webhook_counts(rows: Iterable[Row[Any]]) -> tuple[int, int]:
    """Count the finished orders placed here: how many a webhook call had announced, and how many there were.

    One that was found finished before its notice came counts as unannounced: a look had to find it.
    """
    announced = finished = 0
    for row in rows:
        if row.completed_by is None or row.submission == Submission.ELSEWHERE or finished == ORDERS_OF_A_CLASS:
            continue
        finished += 1
        announced += row.claimed_at is not None and row.claimed_at <= row.completed_by
    return announced, finished


def estimated_webhook_share(rows: Iterable[Row[Any]]) -> float:
    """Estimate the share of completions that webhook calls announce, cautiously while there are few."""
    return webhook_share(*webhook_counts(rows))


def fit_forecasts(
    intervals: Mapping[str, Sequence[Interval]], current: Mapping[str, Forecast], *, relative: bool
) -> list[Forecast]:
    """Fit a forecast for every class that has a history, each one version on from the current one."""
    return [
        Forecast.fit(name, of_class, relative=relative, version=current[name].version + 1 if name in current else 1)
        for name, of_class in intervals.items()
        if of_class
    ]


def store_forecasts(connection: Connection, forecasts: Iterable[Forecast], now: datetime) -> None:
    """Store the forecasts with the version of their form."""
    for forecast in forecasts:
        shares = [round(float(share), DIGITS) for share in forecast.curve.open]
        value = {"form": FORM, "version": forecast.version, "open": shares, "orders": forecast.curve.orders}
        facts.set_fact(connection, facts.forecast_key(forecast.name), value, now)


def load_forecasts(connection: Connection, *, relative: bool = True, only: str | None = None) -> list[Forecast]:
    """Load the forecasts that were stored in this form, or the one of this class; others are fitted again."""
    forecasts = []
    selected = (
        FACTS.c.key.startswith(facts.FORECAST, autoescape=True)
        if only is None
        else FACTS.c.key == facts.forecast_key(only)
    )
    for row in connection.execute(select(FACTS.c.key, FACTS.c.value).where(selected)):
        name = row.key.removeprefix(facts.FORECAST)
        curve = _curve(row.value)
        if curve is None:
            log.warning("forecast unreadable class=%s", name)
            continue
        forecasts.append(Forecast(name, curve, DelayCost(curve, relative=relative), int(row.value.get("version", 0))))
    return forecasts


def _curve(value: Mapping[str, Any]) -> Curve | None:
    shares = value.get("open")
    if value.get("form") != FORM or not isinstance(shares, list) or len(shares) != BINS + 1:
        return None
    curve = Curve(np.array(shares, dtype=np.float64), float(value.get("orders", 0.0)))
    falls = bool(np.all(np.isfinite(curve.open)) and np.all(np.diff(curve.open) <= RISING))
    return curve if falls and math.isclose(shares[0], 1.0) and shares[-1] >= 0 else None
