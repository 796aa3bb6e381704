"""Learned forecasts: curves fitted from the orders in the store and stored there, so that a restart forgets nothing.

Each class's curves, of all its orders and of the finished ones, are stored with the version of their form and the
number of times they were learned. A class without finished orders has a first guess that grows with its size.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, select
from sqlalchemy.engine import Row

from tracking.forecasting.classes import class_of, first_guess
from tracking.forecasting.finish_times import FinishedOrder, FinishTimes
from tracking.forecasting.forecasts import Forecasts
from tracking.forecasting.survival import BINS, Curve, DelayCost, Forecast, Interval
from tracking.forecasting.waits import webhook_share
from tracking.orders.latency import finished_between
from tracking.orders.model import State, Submission
from tracking.storage import facts
from tracking.storage.tables import FACTS, ORDERS

log = logging.getLogger(__name__)

FORM = 1
ORDERS_READ = 20_000
PLACED_READ = 100_000  # orders that were refused, or wait to be sent, among them
ORDERS_OF_A_CLASS = 400
DIGITS = 7
RISING = 1e-6  # a curve never rises; what rounding adds is no rise

_READ: tuple[str, ...] = ("id", "type", "units", "state", "submission", "accepted_at", "last_open_at")
_READ += ("completed_after", "completed_by", "claimed_at")


def newest_orders(connection: Connection, limit: int = ORDERS_READ) -> Sequence[Row[Any]]:
    """Read the times of the newest orders that the provider took, among the newest PLACED_READ of all."""
    oldest = select(ORDERS.c.id).order_by(ORDERS.c.id.desc()).offset(PLACED_READ).limit(1).scalar_subquery()
    accepted = select(*(ORDERS.c[name] for name in _READ)).where(ORDERS.c.accepted_at.is_not(None))
    newest = accepted.where(ORDERS.c.id > func.coalesce(oldest, 0)).order_by(ORDERS.c.id.desc())
    return connection.execute(newest.limit(limit)).all()


@dataclass(slots=True)
class ClassHistory:
    """What was observed of the orders of one class.

    `intervals`: in which its newest orders finished, or are still open. `finished`: all finished, the newest first.
    """

    intervals: list[Interval] = field(default_factory=list)
    finished: list[FinishedOrder] = field(default_factory=list)


def history_by_class(rows: Iterable[Row[Any]], now: datetime) -> dict[str, ClassHistory]:
    """Group what was observed of orders by class; `rows` begins with the newest."""
    histories: dict[str, ClassHistory] = defaultdict(ClassHistory)
    for row in rows:
        interval = completion_interval(row)
        if interval is None:
            continue
        of_class = histories[class_of(row.type, row.units)]
        if len(of_class.intervals) < ORDERS_OF_A_CLASS:
            of_class.intervals.append(interval)
        if math.isfinite(interval.by):
            of_class.finished.append(FinishedOrder(interval, (now - row.accepted_at).total_seconds()))
    return histories


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
    histories: Mapping[str, ClassHistory], current: Mapping[str, Forecast], *, relative: bool
) -> list[Forecast]:
    """Fit a forecast for every class that has a history, each one version on from the current one."""
    return [
        Forecast.fit(
            name, of_class.intervals, relative=relative, version=current[name].version + 1 if name in current else 1
        )
        for name, of_class in histories.items()
    ]


def fit_finish_times(histories: Mapping[str, ClassHistory], current: Forecasts) -> dict[str, FinishTimes]:
    """Fit how long the finished orders of each class took.

    What enough orders showed stands until as many show something else: other classes may have filled what is read.
    """
    fitted = {name: FinishTimes.fit(first_guess(name), of_class.finished) for name, of_class in histories.items()}
    return {name: times for name, times in fitted.items() if times.reliable or not current.finish_times(name).reliable}


def store_forecasts(
    connection: Connection, forecasts: Iterable[Forecast], now: datetime, finish_times: Mapping[str, FinishTimes]
) -> None:
    """Store the forecasts with the version of their form, and the finish times of their classes."""
    for forecast in forecasts:
        value = {"form": FORM, "version": forecast.version, "open": _rounded(forecast.curve)}
        value["orders"] = forecast.curve.orders
        if (times := finish_times.get(forecast.name)) is not None:
            value["finished"] = {
                "open": _rounded(times.curve),
                "orders": times.orders,
                "late_after": round(times.late_after, 3),
                "recent_median": round(times.recent_median, 3),
            }
        facts.set_fact(connection, facts.forecast_key(forecast.name), value, now)


def _rounded(curve: Curve) -> list[float]:
    return [round(float(share), DIGITS) for share in curve.open]


def load_forecasts(connection: Connection, into: Forecasts, order_type: str | None = None) -> None:
    """Load what was stored in this form, of all classes or those of one delivery type; the rest is fitted again."""
    prefix = facts.FORECAST if order_type is None else facts.forecast_key(f"{order_type}/")
    forecasts, finish_times = [], {}
    selected = FACTS.c.key.startswith(prefix, autoescape=True)
    for row in connection.execute(select(FACTS.c.key, FACTS.c.value).where(selected)):
        name = row.key.removeprefix(facts.FORECAST)
        curve = _curve(row.value)
        if curve is None:
            log.warning("forecast unreadable class=%s", name)
            continue
        delay_cost = DelayCost(curve, relative=into.relative)
        forecasts.append(Forecast(name, curve, delay_cost, int(row.value.get("version", 0))))
        finished = row.value.get("finished")
        if isinstance(finished, Mapping) and (times := _finish_times(finished)) is not None:
            finish_times[name] = times
    into.replace(forecasts, finish_times)


def _finish_times(value: Mapping[str, Any]) -> FinishTimes | None:
    curve = _curve({"form": FORM, **value})
    late_after, recent_median = (value.get(name) for name in ("late_after", "recent_median"))
    if curve is None or not isinstance(late_after, int | float) or not isinstance(recent_median, int | float):
        return None
    if not (0 <= late_after < math.inf and 0 <= recent_median < math.inf):
        return None
    return FinishTimes(curve, int(curve.orders), float(late_after), float(recent_median))


def _curve(value: Mapping[str, Any]) -> Curve | None:
    shares = value.get("open")
    if value.get("form") != FORM or not isinstance(shares, list) or len(shares) != BINS + 1:
        return None
    curve = Curve(np.array(shares, dtype=np.float64), float(value.get("orders", 0.0)))
    falls = bool(np.all(np.isfinite(curve.open)) and np.all(np.diff(curve.open) <= RISING))
    return curve if falls and math.isclose(shares[0], 1.0) and shares[-1] >= 0 else None
