"""Writes an export, of whatever kind and form, in constant memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

from sqlalchemy import ColumnElement, Connection, func, select
from sqlalchemy.engine import RowMapping

from tracking.errors import TooSlow
from tracking.reports.exports import orders, parts
from tracking.reports.exports.columns import Column
from tracking.reports.exports.forms import write_rows
from tracking.reports.order_list.conditions import conditions, ordering
from tracking.reports.order_list.filters import Filters
from tracking.storage.database import Database
from tracking.storage.reading.time_limits import hurried
from tracking.storage.tables import ORDERS

ROWS_AT_ONCE = 5000
"""So many lines or events are read at once, or all of one order."""
SAMPLE, SAMPLING_SECONDS = 1000, 1.0
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Export:
    """What can be exported: its columns, how its rows are read, and about how many an order has.

    `name` is what the audit log calls it, `noun` one of its rows. `row_bytes` is about how long a row is, by form, a
    little more than of usual orders; `stored_number` counts an order's rows in SQL. Both are None where that cannot be
    told beforehand.
    """

    name: str
    noun: str
    columns: tuple[Column, ...]
    rows: Callable[[Connection, Sequence[RowMapping]], Rows]
    number: Callable[[RowMapping], int]
    row_bytes: Mapping[str, int] | None = None
    stored_number: ColumnElement[int] | None = None


def _events(order: RowMapping) -> int:
    return int(order["event_count"] - order["events_removed"])


EXPORTS: Mapping[str, Export] = {
    "orders": Export(
        *("orders", "order", orders.ORDER_COLUMNS, orders.order_rows, lambda _: 1),
        row_bytes={"csv": 340, "jsonl": 740, "parquet": 120},
    ),
    "lines": Export(
        *("lines of orders", "line", parts.LINE_COLUMNS, parts.line_rows, lambda row: row["line_count"]),
        row_bytes={"csv": 125, "jsonl": 380, "parquet": 40},
        stored_number=ORDERS.c.line_count,
    ),
    "events": Export(
        *("events of orders", "event", parts.EVENT_COLUMNS, parts.event_rows, _events),
        row_bytes={"csv": 180, "jsonl": 310, "parquet": 35},
        stored_number=ORDERS.c.event_count - ORDERS.c.events_removed,
    ),
    "deliveries": Export("deliveries", "delivery", parts.DELIVERY_COLUMNS, parts.delivery_rows, _events),
}


def expected_sizes(database: Database, filters: Filters, now: datetime, what: str, matching: int) -> dict[str, int]:
    """About how many bytes an export of so many orders has, by form; empty where that cannot be told beforehand.

    Of lines and events, the first orders of the list say how many an order has.
    """
    export = EXPORTS[what]
    if export.row_bytes is None or not matching:
        return {}
    rows = float(matching)
    if export.stored_number is not None:
        with database.read() as connection:
            first = select(export.stored_number.label("number")).where(*conditions(connection, filters, now))
            first_orders = first.order_by(*ordering(filters)).limit(SAMPLE).subquery()
            try:
                with hurried(connection, SAMPLING_SECONDS):
                    rows *= float(connection.execute(select(func.avg(first_orders.c.number))).scalar() or 0)
            except TooSlow:
                return {}
    return {form: int(rows * size) for form, size in export.row_bytes.items()}


def export_chunks(database: Database, filters: Filters, now: datetime, what: str = "orders") -> Iterator[Rows]:
    """The rows of all orders that match, in chunks: no claim data, no notes, no recipient in full."""
    export = EXPORTS[what]
    for listed in orders.orders_listed(database, filters, now):
        for part in _parts(listed, export.number):
            with database.read() as connection:
                rows = export.rows(connection, part)
            yield rows


def _parts(listed: Sequence[RowMapping], number: Callable[[RowMapping], int]) -> Iterator[Sequence[RowMapping]]:
    """The orders in parts that have ROWS_AT_ONCE rows in all, or are one order."""
    begin, rows = 0, 0
    for at, order in enumerate(listed):
        more = number(order)
        if rows + more > ROWS_AT_ONCE and at > begin:
            yield listed[begin:at]
            begin, rows = at, 0
        rows += more
    if begin < len(listed):
        yield listed[begin:]


def write_export(
    database: Database, filters: Filters, now: datetime, *, form: str, file: IO[bytes], what: str = "orders"
) -> int:
    """Write all that match as csv, jsonl or parquet; returns how many rows. `what` is one of EXPORTS."""
    return write_rows(export_chunks(database, filters, now, what), EXPORTS[what].columns, form=form, file=file)
