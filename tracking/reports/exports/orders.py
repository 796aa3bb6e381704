"""Export of the orders that match a filter, in chunks: no recipients, no claim data, no notes."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

from tracking.orders.vocabulary import MIXED
from tracking.orders.wording import amount
from tracking.reports import amounts
from tracking.reports.exports.columns import Kind, columns
from tracking.reports.order_list.conditions import conditions, ordering
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_list.narrowing import tested_number
from tracking.reports.order_list.search import beyond
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS

EXPORT_CHUNK, FIRST_CHUNK = 1000, 250
"""Orders of a chunk; the first is smaller, as a download begins with it."""
ORDER_COLUMNS = columns(
    po_number=Kind.IDENTIFIER,
    provider_id=Kind.IDENTIFIER,
    state=Kind.TEXT,
    type=Kind.TEXT,
    units=Kind.WHOLE,
    units_fulfilled=Kind.WHOLE,
    currency=Kind.TEXT,
    source=Kind.TEXT,
    submission=Kind.TEXT,
    notice=Kind.TEXT,
    created_at=Kind.TIME,
    accepted_at=Kind.TIME,
    completed_after=Kind.TIME,
    completed_by=Kind.TIME,
    claimed_at=Kind.TIME,
    attention=Kind.TEXT,
    acknowledged_at=Kind.TIME,
    line_count=Kind.WHOLE,
    looks=Kind.WHOLE,
    value=Kind.AMOUNT,
    values=Kind.TEXT,
    value_by_currency=Kind.AMOUNTS,
    cost=Kind.AMOUNT,
)
_STORED = tuple(column.name for column in ORDER_COLUMNS if column.name in ORDERS.c)
_MORE = ("value_minor", "cost_minor", "event_count", "events_removed")
_SELECTED = tuple(ORDERS.c[name] for name in ("id", *_STORED, *_MORE))


def orders_listed(database: Database, filters: Filters, now: datetime) -> Iterator[Sequence[RowMapping]]:
    """Rows of all orders that match, in chunks and in the order of the list."""
    with database.read() as connection:
        clauses = conditions(connection, filters, now)
    # Where an order was placed among others never changes, so that each chunk can begin behind the one before. By what
    # does change an order could come twice, or not at all; and a text is looked for once.
    by_place = filters.sort == "placed" and not filters.text
    yield from (_by_place if by_place else _by_ids)(database, filters, clauses)


def _by_place(database: Database, filters: Filters, clauses: list[Any]) -> Iterator[Sequence[RowMapping]]:
    """Chunks of the orders there are at the start; an order that matches all along comes once, whatever changes."""
    with database.read() as connection:
        newest = int(connection.execute(select(sa.func.max(ORDERS.c.id))).scalar() or 0)
    matching, place = [*clauses, tested_number(ORDERS.c.id) <= newest], list[Any]()
    size, more = FIRST_CHUNK, True
    while more:
        query = select(*_SELECTED).where(*matching, *place).order_by(*ordering(filters)).limit(size)
        with database.read() as connection:
            rows = connection.execute(query).mappings().all()
        if rows:
            yield rows
            last = [(ORDERS.c.created_at, rows[-1]["created_at"]), (ORDERS.c.id, rows[-1]["id"])]
            place = [beyond(last, up=not filters.descending, backwards=False)]
        size, more = EXPORT_CHUNK, len(rows) == size


def _by_ids(database: Database, filters: Filters, clauses: list[Any]) -> Iterator[Sequence[RowMapping]]:
    """Chunks of the orders that match at the start, whose ids are read first."""
    with database.read() as connection:
        ids = array("q", connection.execute(select(ORDERS.c.id).where(*clauses).order_by(*ordering(filters))).scalars())
    for start in range(0, len(ids), EXPORT_CHUNK):
        part = ids[start : start + EXPORT_CHUNK]
        with database.read() as connection:
            rows = connection.execute(select(*_SELECTED).where(ORDERS.c.id.in_(part))).mappings().all()
        by_id = {row["id"]: row for row in rows}
        yield [by_id[order_id] for order_id in part if order_id in by_id]


def order_rows(connection: Connection, orders: Sequence[RowMapping]) -> list[dict[str, Any]]:
    """The orders as they are exported.

    `value` is null where the order is of several currencies, whose amounts `value_by_currency` has; so is `cost`.
    """
    values = amounts.order_values(connection, orders)
    return [_exported(row, values[row["id"]]) for row in orders]


def _exported(row: RowMapping, values: Mapping[str, int]) -> dict[str, Any]:
    split = all(values) and amounts.SEVERAL not in values
    currency = MIXED.join(sorted(values)) if split else row["currency"] or None
    has_one_cost = row["cost_minor"] is not None and amounts.one_amount(values) is not None
    return {name: row[name] for name in _STORED} | {
        "currency": currency,
        "value": amounts.one_amount(values),
        "values": amounts.worth(values),
        "value_by_currency": amounts.decimal_texts(values),
        "cost": amount(row["cost_minor"]) if has_one_cost else None,
    }
