"""Lateness: stores for each open order from when on it is late (`late_at`).

The time is kept with the order, so that lists and counts find what is late through an index. It is set when the
provider takes the order; what is learned of its class later, or promised by the settings, moves it while it lies ahead.
What is late stays late until it ends, unless its class became slower, as its newest finished orders show: a limit that
moved with the orders it is to judge would never be reached.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, bindparam

from tracking.forecasting.classes import class_bounds, class_of
from tracking.forecasting.forecasts import Forecasts, LateBasis, LateLimit
from tracking.storage import facts
from tracking.storage.facts import FactKey
from tracking.storage.integration import late_orders
from tracking.storage.tables import OPEN, ORDERS

MOVED = 0.02  # a smaller change is not worth writing all open orders of a class anew


def in_class(name: str) -> ColumnElement[bool]:
    """Match the orders of the class, in SQL."""
    order_type, fewest, most = class_bounds(name)
    return _in_sizes(order_type, fewest, most)


def _in_sizes(order_type: str, fewest: int, most: int | None) -> ColumnElement[bool]:
    # Orders without a number of cards are compared with those of one.
    least = fewest if fewest > 1 else 0
    sizes = ORDERS.c.units >= least if most is None else ORDERS.c.units.between(least, most)
    return sa.and_(ORDERS.c.type == order_type, sizes)


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Orders of a type and a range of sizes that have one limit; without a bound where `most` is None."""

    order_type: str
    fewest: int
    most: int | None

    @property
    def name(self) -> str:
        """What its limit is stored under: a class's name where it is all of a class."""
        if self.most is not None:
            whole = class_of(self.order_type, self.most)
            if class_bounds(whole) == (self.order_type, self.fewest, self.most):
                return whole
        return f"{self.order_type}:{self.fewest}-{self.most or ''}"


def _sizes(forecasts: Forecasts) -> Iterator[_Sizes]:
    """Split all orders by class and promise; what has neither is left out."""
    classes = {class_bounds(name) for name in {*forecasts.by_class(), *forecasts.finish_times_by_class()}}
    for order_type in sorted({one[0] for one in classes} | {one.order_type for one in forecasts.promises}):
        promises = [one for one in forecasts.promises if one.order_type == order_type]
        begins = {max(one.fewest, 1) for one in promises} | {one.most + 1 for one in promises if one.most is not None}
        of_type = [(fewest, most) for kind, fewest, most in classes if kind == order_type]
        begins |= {fewest for fewest, _ in of_type} | {most + 1 for _, most in of_type}
        ends: list[int | None] = [begin - 1 for begin in sorted(begins)[1:]]
        for fewest, last in zip(sorted(begins), [*ends, None], strict=True):
            learned = any(least <= fewest <= most for least, most in of_type)
            if learned or forecasts.promise(order_type, fewest) is not None:
                yield _Sizes(order_type, fewest, last)


def update_late_times(connection: Connection, forecasts: Forecasts, now: datetime) -> list[str]:
    """Recompute when open orders are late; returns the names of the classes, or sizes, whose limit had changed."""
    stored = facts.get_fact(connection, FactKey.LATENESS)
    before = stored[1] if stored else {}
    after, changed = {}, []
    for sizes in _sizes(forecasts):
        limit, past = forecasts.late_limit(sizes.order_type, sizes.fewest), before.get(sizes.name)
        if not _has_moved(past, limit):
            after[sizes.name] = past
            continue
        moved: ColumnElement[bool] = ORDERS.c.late_at.is_(None) | (ORDERS.c.late_at > now)
        if _replaces(forecasts, sizes, past, limit):
            moved = sa.true()
        matching = _in_sizes(sizes.order_type, sizes.fewest, sizes.most)
        update = _update(connection.dialect.name).where(matching, moved)
        connection.execute(update, _parameters(connection, limit.after.total_seconds()))
        after[sizes.name] = {
            "after": limit.after.total_seconds(),
            "basis": limit.basis.value,
            "orders": limit.orders,
            "like": limit.like,
        }
        changed.append(sizes.name)
    if after != before:
        facts.set_fact(connection, FactKey.LATENESS, after, now)
        if any(_is_shorter(before.get(name), after[name]) for name in changed):
            late_orders.look_again(connection, now)
    return sorted(changed)


def _is_shorter(past: Any, limit: Any) -> bool:
    """Whether orders may be late by the new limit already, which were not by the one before."""
    return not isinstance(past, dict) or bool(limit["after"] < past["after"])


def stored_limit(connection: Connection, order_type: str, units: int) -> LateLimit | None:
    """Read by which limit open orders of this type and size are judged late; None where none was set yet."""
    stored = facts.get_fact(connection, FactKey.LATENESS)
    for name, value in (stored[1] if stored else {}).items():
        if isinstance(value, dict) and _covers(name, order_type, max(units, 1)):
            after = timedelta(seconds=value["after"])
            return LateLimit(after, LateBasis(value["basis"]), value["orders"], value["like"])
    return None


def _covers(name: str, order_type: str, units: int) -> bool:
    if ":" not in name:
        return name == class_of(order_type, units)
    kind, _, sizes = name.partition(":")
    fewest, _, most = sizes.partition("-")
    return kind == order_type and int(fewest) <= units and (not most or units <= int(most))


def _has_moved(past: Any, limit: LateLimit) -> bool:
    """Whether a limit is worth storing; one stored before its basis was, is."""
    if not isinstance(past, dict) or (past["basis"], past["like"]) != (limit.basis, limit.like):
        return True
    after = limit.after.total_seconds()
    return abs(after - past["after"]) > MOVED * past["after"] or _counted_more(past["orders"], limit)


def _counted_more(orders: int, limit: LateLimit) -> bool:
    """Whether what is said of how many finished orders there are would be wrong."""
    return limit.basis == LateBasis.GUESS and orders != limit.orders


def _replaces(forecasts: Forecasts, sizes: _Sizes, past: Any, limit: LateLimit) -> bool:
    """Whether the limit holds for orders too that are late by the one before.

    It does where one of them is a promise, where finished orders of the class replace what was none of its own, and
    where the class became slower: half of its newest finished orders took longer than what was late.
    """
    if not isinstance(past, dict) or LateBasis.PROMISE in {past["basis"], limit.basis}:
        return True
    if limit.basis == LateBasis.LEARNED and past["basis"] != LateBasis.LEARNED:
        return True
    times = forecasts.finish_times(class_of(sizes.order_type, sizes.fewest))
    return times.reliable and times.recent_median > past["after"]


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
