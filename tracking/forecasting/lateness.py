"""From when on an open order counts as late: once 99 of 100 of its class have finished sooner, as it is known now.

The time is kept beside the order, so that lists and counts find what is late through an index. It is set when the
provider takes the order; what is learned of the class later moves it, for all orders of it that are still open.
"""

import functools
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, bindparam

from tracking.forecasting.classes import bounds_of
from tracking.forecasting.forecasts import Book
from tracking.storage import facts
from tracking.storage.tables import ORDERS

KEY = "lateness"
MOVED = 0.02  # a smaller change is not worth writing all open orders of a class anew
OPEN = sa.text("orders.state NOT IN ('Completed', 'Cancelled', 'Refused')")  # as the index of open orders has it


def of_class(name: str) -> ColumnElement[bool]:
    """That an order belongs to the class."""
    order_type, fewest, most = bounds_of(name)
    # Orders that told no cards are compared with those of one.
    return sa.and_(ORDERS.c.type == order_type, ORDERS.c.units.between(fewest if most > 1 else 0, most))


def renew(connection: Connection, book: Book, now: datetime) -> list[str]:
    """Brings the open orders of each class to what the book says of it now; returns the classes that had changed."""
    kept = facts.fact(connection, KEY)
    before = kept[1] if kept else {}
    told = {name: book.late_after_in(name).total_seconds() for name in book.known()}
    changed = {name: after for name, after in told.items() if _moved(before.get(name), after)}
    for name, after in changed.items():
        connection.execute(_moving(connection.dialect.name).where(of_class(name)), _given(connection, after))
    if changed:
        facts.set_fact(connection, KEY, {**before, **changed}, now)
    return sorted(changed)


def _moved(before: Any, after: float) -> bool:
    return not isinstance(before, int | float) or abs(after - before) > MOVED * before


@functools.cache
def _moving(dialect: str) -> Any:
    """Sets when open orders are late: so long after the provider took them."""
    since = ORDERS.c.accepted_at
    if dialect == "sqlite":  # in the form that times are kept in, to the millisecond
        late_at: Any = sa.func.strftime("%Y-%m-%d %H:%M:%f000", since, bindparam("after"))
    else:
        late_at = since + sa.func.make_interval(0, 0, 0, 0, 0, 0, bindparam("after", type_=sa.Float))
    return sa.update(ORDERS).where(OPEN, since.is_not(None)).values(late_at=sa.type_coerce(late_at, sa.String))


def _given(connection: Connection, after: float) -> dict[str, Any]:
    return {"after": f"+{after:.3f} seconds" if connection.dialect.name == "sqlite" else after}
