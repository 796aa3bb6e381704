"""Lateness: stores from when on each open order is late (`late_at`), by the rule of `forecasts.Forecasts.late_after`.

An order is late once 99 of 100 of its class have finished sooner. The time is kept with the order, so that lists and
counts find what is late through an index. It is set when the provider takes the order; what is learned of the class
later moves it, for all orders of it that are still open.
"""

import functools
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, bindparam

from tracking.forecasting.classes import class_bounds
from tracking.forecasting.forecasts import Forecasts
from tracking.storage import facts
from tracking.storage.facts import FactKey
from tracking.storage.tables import OPEN, ORDERS

MOVED = 0.02  # a smaller change is not worth writing all open orders of a class anew


def in_class(name: str) -> ColumnElement[bool]:
    """Match the orders of the class, in SQL."""
    order_type, fewest, most = class_bounds(name)
    # Orders without a number of cards are compared with those of one.
    return sa.and_(ORDERS.c.type == order_type, ORDERS.c.units.between(fewest if most > 1 else 0, most))


def update_late_times(connection: Connection, forecasts: Forecasts, now: datetime) -> list[str]:
    """Recompute when the open orders of each class are late; returns the classes whose late age had changed."""
    stored = facts.get_fact(connection, FactKey.LATENESS)
    before = stored[1] if stored else {}
    ages = {name: forecasts.late_after_for_class(name).total_seconds() for name in forecasts.by_class()}
    changed = {name: after for name, after in ages.items() if _has_moved(before.get(name), after)}
    for name, after in changed.items():
        connection.execute(_update(connection.dialect.name).where(in_class(name)), _parameters(connection, after))
    if changed:
        facts.set_fact(connection, FactKey.LATENESS, {**before, **changed}, now)
    return sorted(changed)


def _has_moved(before: Any, after: float) -> bool:
    return not isinstance(before, int | float) or abs(after - before) > MOVED * before


@functools.cache
def _update(dialect: str) -> Any:
    """Sets when open orders are late: so long after the provider took them."""
    since = ORDERS.c.accepted_at
    if dialect == "sqlite":  # in the form that times are kept in, to the millisecond
        late_at: Any = sa.func.strftime("%Y-%m-%d %H:%M:%f000", since, bindparam("after"))
    else:
        late_at = since + sa.func.make_interval(0, 0, 0, 0, 0, 0, bindparam("after", type_=sa.Float))
    return sa.update(ORDERS).where(OPEN, since.is_not(None)).values(late_at=sa.type_coerce(late_at, sa.String))


def _parameters(connection: Connection, after: float) -> dict[str, Any]:
    return {"after": f"+{after:.3f} seconds" if connection.dialect.name == "sqlite" else after}
