"""Open orders against expectation: how old each is, and how many orders like it finished sooner. Bounded reads.

An order is compared with the finished orders of its class, or of the nearest size, as `tracking why` does. Drawn are
the most overdue, those next to be late, and the newest: the same ones at each reading, so that none flickers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection, Row, select

from tracking.forecasting.classes import class_of
from tracking.forecasting.forecasts import ComparableTimes, Forecasts
from tracking.orders.model import CLOSED
from tracking.storage.database import Database
from tracking.storage.tables import COUNTERS, OPEN, ORDERS
from tracking.storage.team import snoozing

MOST_OVERDUE, NEWEST = 300, 200
_COLUMNS = tuple(
    ORDERS.c[name]
    for name in (
        *("id", "po_number", "type", "units", "state", "accepted_at", "late_at"),
        *("snoozed_at", "snoozed_until"),
    )
)


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """One open order that the provider has taken.

    Attributes:
        age: since the provider took it.
        slower_than: the share of finished orders like it that took less, 0 to 1; None: too few have finished.
        class_name: its type and size, a name of `forecasting.classes`.
        late: whether it is late, by the limit stored with it.
        asleep: whether it is snoozed now, and so not counted as late.
    """

    po_number: str
    state: str
    age: timedelta
    slower_than: float | None
    class_name: str
    late: bool
    asleep: bool


@dataclass(frozen=True, slots=True)
class OpenOrders:
    """Open orders against expectation, the most overdue first.

    Attributes:
        orders: those that are drawn.
        open: how many are open in all.
        waiting: how many of those read the provider has not taken yet, so that they have no age there.
    """

    orders: tuple[OpenOrder, ...]
    open: int
    waiting: int

    @property
    def complete(self) -> bool:
        """Whether each open order is among those drawn, or waits for the provider."""
        return len(self.orders) + self.waiting >= self.open


def open_orders(database: Database, now: datetime) -> OpenOrders:
    """Compare open orders with the finished ones of their class; of very many, MOST_OVERDUE and NEWEST."""
    with database.read() as connection:
        still_open = COUNTERS.c.name == "stock", COUNTERS.c.state.not_in(sorted(CLOSED))
        number = connection.execute(select(sa.func.sum(COUNTERS.c.orders)).where(*still_open)).scalar()
        rows = _rows(connection)
        compared = _comparable_times(connection, {class_of(row.type, row.units) for row in rows})
    taken = [_open_order(row, compared, now) for row in rows if row.accepted_at is not None]
    return OpenOrders(tuple(taken), int(number or 0), len(rows) - len(taken))


def _rows(connection: Connection) -> Sequence[Row[tuple[object, ...]]]:
    """The open orders whose limit is passed first, or next; then the newest."""
    by_limit = select(*_COLUMNS).where(OPEN, ORDERS.c.late_at.is_not(None)).order_by(ORDERS.c.late_at)
    newest = select(*_COLUMNS).where(OPEN).order_by(ORDERS.c.id.desc())
    rows = [*connection.execute(by_limit.limit(MOST_OVERDUE)), *connection.execute(newest.limit(NEWEST))]
    return list({row.id: row for row in rows}.values())


def _comparable_times(connection: Connection, names: Iterable[str]) -> dict[str, ComparableTimes]:
    from tracking.forecasting import learned  # noqa: PLC0415 - numpy is imported when first needed, not at a start

    forecasts = Forecasts()
    learned.load_forecasts(connection, forecasts)
    return {name: forecasts.comparable_times(name) for name in names}


def _open_order(row: Row[tuple[object, ...]], compared: dict[str, ComparableTimes], now: datetime) -> OpenOrder:
    age, name = max(now - row.accepted_at, timedelta()), class_of(row.type, row.units)
    times = compared[name]
    share = times.slower_than(age.total_seconds()) if times.times.reliable else None
    late = row.late_at is not None and row.late_at < now
    snooze = {"snoozed_at": row.snoozed_at, "snoozed_until": row.snoozed_until}
    return OpenOrder(row.po_number, row.state, age, share, name, late, snoozing.is_snoozed(snooze, now))
