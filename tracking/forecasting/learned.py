"""What past orders tell of open ones: learned from the store and kept there, so that a restart forgets nothing.

Each class's curve is stored with the version of its form and the number of times it was learned. Until a class was seen
its forecast is a guess that grows with the size.
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
from tracking.forecasting.survival import BINS, Accrual, Curve, Forecast, Seen
from tracking.forecasting.waits import share_heard
from tracking.orders.model import State, Submission
from tracking.storage import facts
from tracking.storage.tables import FACTS, ORDERS

log = logging.getLogger(__name__)

FORM = 1
KEY = "forecast:"
ORDERS_READ = 20_000
ORDERS_OF_A_CLASS = 400
DIGITS = 7
RISING = 1e-6  # a curve never rises; what rounding adds is no rise

_READ: tuple[str, ...] = ("id", "type", "units", "state", "submission", "accepted_at", "last_open_at")
_READ += ("completed_after", "completed_by", "claimed_at")


def newest(connection: Connection, limit: int = ORDERS_READ) -> Sequence[Row[Any]]:
    """The newest orders that the provider took, as far as their times are concerned."""
    known = select(*(ORDERS.c[name] for name in _READ)).where(ORDERS.c.accepted_at.is_not(None))
    return connection.execute(known.order_by(ORDERS.c.id.desc()).limit(limit)).all()


def by_class(rows: Iterable[Row[Any]]) -> dict[str, list[Seen]]:
    """What the orders showed, by class, the newest of each: open at one age, finished by another, or open still."""
    seen: dict[str, list[Seen]] = defaultdict(list)
    for row in rows:
        of_class = seen[class_of(row.type, row.units)]
        if len(of_class) < ORDERS_OF_A_CLASS and (one := interval(row)) is not None:
            of_class.append(one)
    return seen


def interval(row: Row[Any]) -> Seen | None:
    """Between which ages the order finished, as far as that was seen; None where nothing was."""

    def age(moment: datetime) -> float:
        return max(float((moment - row.accepted_at).total_seconds()), 0.0)

    if row.state == State.CANCELLED:
        return None  # it did not finish, and will not
    if row.completed_by is None:
        return Seen(age(row.last_open_at)) if row.last_open_at else None
    if row.last_open_at is None and row.submission == Submission.ELSEWHERE:
        return None  # it was finished when it was first seen, perhaps for days
    # A notice that a look confirmed says more exactly when it was done.
    by = min(row.completed_by, row.claimed_at) if row.claimed_at else row.completed_by
    after = min(row.completed_after or row.accepted_at, by)
    return Seen(age(after), age(by))


def heard(rows: Iterable[Row[Any]]) -> tuple[int, int]:
    """Of the finished orders that were placed here: how many had announced themselves, and how many there were.

    One that was found finished before its notice came counts as unannounced: a look had to find it.
    """
    announced = finished = 0
    for row in rows:
        if row.completed_by is None or row.submission == Submission.ELSEWHERE or finished == ORDERS_OF_A_CLASS:
            continue
        finished += 1
        announced += row.claimed_at is not None and row.claimed_at <= row.completed_by
    return announced, finished


def estimated_share(rows: Iterable[Row[Any]]) -> float:
    """The share of completions that announce themselves, cautious while few have been seen."""
    return share_heard(*heard(rows))


def learn(seen: Mapping[str, Sequence[Seen]], known: Mapping[str, Forecast], *, relative: bool) -> list[Forecast]:
    """New forecasts for every class that has a history, each one version on from the one known."""
    return [
        Forecast.learned(name, of_class, relative=relative, version=known[name].version + 1 if name in known else 1)
        for name, of_class in seen.items()
        if of_class
    ]


def keep(connection: Connection, forecasts: Iterable[Forecast], now: datetime) -> None:
    """Stores the forecasts beside the version of their form."""
    for forecast in forecasts:
        shares = [round(float(share), DIGITS) for share in forecast.curve.open]
        value = {"form": FORM, "version": forecast.version, "open": shares, "orders": forecast.curve.orders}
        facts.set_fact(connection, KEY + forecast.name, value, now)


def kept(connection: Connection, *, relative: bool = True, only: str | None = None) -> list[Forecast]:
    """The forecasts that were stored in this form, or the one of this class; others are learned again."""
    found = []
    wanted = FACTS.c.key.startswith(KEY, autoescape=True) if only is None else FACTS.c.key == KEY + only
    for row in connection.execute(select(FACTS.c.key, FACTS.c.value).where(wanted)):
        name = row.key.removeprefix(KEY)
        curve = _curve(row.value)
        if curve is None:
            log.warning("forecast unreadable class=%s", name)
            continue
        found.append(Forecast(name, curve, Accrual(curve, relative=relative), int(row.value.get("version", 0))))
    return found


def _curve(value: Mapping[str, Any]) -> Curve | None:
    shares = value.get("open")
    if value.get("form") != FORM or not isinstance(shares, list) or len(shares) != BINS + 1:
        return None
    curve = Curve(np.array(shares, dtype=np.float64), float(value.get("orders", 0.0)))
    falls = bool(np.all(np.isfinite(curve.open)) and np.all(np.diff(curve.open) <= RISING))
    return curve if falls and math.isclose(shares[0], 1.0) and shares[-1] >= 0 else None
