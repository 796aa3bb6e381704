"""Orders by state now, with their cards and value. Bounded reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.orders.model import CLOSED
from tracking.reports import amounts
from tracking.reports.board import moves
from tracking.reports.board.course import in_order
from tracking.reports.trends import STATES, day_start
from tracking.startup import pd
from tracking.storage.database import Database
from tracking.storage.tables import COUNTERS, ORDERS


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Orders by state, in the order of their lives.

    `states` has the columns state, open, orders, units (cards): of open states the orders that are in them now, every
    known state among them; of the others those that came to be in them since `since`, the last midnight (UTC). Those
    that were finished when they were first seen are left out.

    `values` has the columns state, currency, orders, value_minor for the open states: currency is "" where nobody knows
    it, and an order of two currencies counts in both. What finished orders are worth is not counted by currency.
    """

    states: pd.DataFrame
    values: pd.DataFrame
    since: datetime


def lifecycle_now(database: Database, now: datetime, *, with_values: bool = True) -> Lifecycle:
    """Read how many orders are in each state now, and how many were completed, cancelled or refused today.

    Without the values it costs little, however many are open.
    """
    with database.snapshot() as connection:
        return lifecycle_of(connection, now, with_values=with_values)


def lifecycle_of(connection: Connection, now: datetime, *, with_values: bool = True) -> Lifecycle:
    """The same within a transaction, beside what is shown with it."""
    since = day_start(now)
    stock = {row.state: (int(row.orders), int(row.units)) for row in moves.open_stock(connection)}
    ended = _ended(connection, since)
    values = amounts.open_values(connection, ORDERS.c.state) if with_values else {}
    begun = in_order({*stock, *STATES} - CLOSED)
    counts = [(state, True, *stock.get(state, (0, 0))) for state in begun]
    counts += [(state, False, *ended.get(state, (0, 0))) for state in in_order(CLOSED)]
    cells = [
        (state, currency, values[state, currency, "orders"], values[state, currency, "value"])
        for state, currency in sorted({key[:2] for key, number in values.items() if number})
    ]
    return Lifecycle(
        pd.DataFrame(counts, columns=["state", "open", "orders", "units"]),
        pd.DataFrame(cells, columns=["state", "currency", "orders", "value_minor"]),
        since,
    )


def _ended(connection: Connection, since: datetime) -> dict[str, tuple[int, int]]:
    """The orders and cards that entered each closed state since then."""
    sums = (sa.func.sum(COUNTERS.c[name]) for name in ("orders", "units"))
    entered = select(COUNTERS.c.state, *sums).where(COUNTERS.c.name == "flow", COUNTERS.c.hour >= since)
    rows = connection.execute(entered.where(COUNTERS.c.state.in_(sorted(CLOSED))).group_by(COUNTERS.c.state))
    return {state: (int(orders), int(units)) for state, orders, units in rows}
