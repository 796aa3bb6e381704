"""Lists the orders that match a filter: one page, how many, the neighbours of one. Bounded reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, select
from sqlalchemy.engine import RowMapping

from tracking.errors import TooSlow
from tracking.orders.model import State, Submission, is_open
from tracking.orders.wording import window
from tracking.reports import amounts
from tracking.reports.finding.lookup import look_up, whole_id
from tracking.reports.finding.terms import readable
from tracking.reports.order import order_summary
from tracking.reports.order_list.conditions import (
    COUNTED,
    count,
    list_conditions,
    may_be_null,
    ordering,
    sorting,
    stopped_counting,
    to_count,
)
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_list.narrowing import all_ids
from tracking.reports.order_list.standstill import Standing, standing
from tracking.reports.order_list.view_counts import FLOWS, ended_today
from tracking.startup import pd
from tracking.storage.database import Database
from tracking.storage.reading.time_limits import hurried
from tracking.storage.tables import ORDERS
from tracking.storage.team import snoozing

_LISTED_COLUMNS = (
    "id", "po_number", "provider_id", "state", "type", "units", "units_fulfilled", "value_minor", "currency", "source",
    "submission", "notice", "created_at", "accepted_at", "last_open_at", "completed_after", "completed_by", "late_at",
    "attention", "attention_reason", "acknowledged_at", "claimed_at", "next_look_at", "line_count", "assignee",
    "snoozed_at", "snoozed_until",
)  # fmt: skip
CHANGING_COLUMNS = (
    "po_number", "provider_id", "state", "units", "units_fulfilled", "value_minor", "currency", "notice",
    "completed_by", "attention", "attention_reason", "acknowledged_at", "late_at", "assignee", "snoozed_at",
    "snoozed_until",
)  # fmt: skip
_JUDGED_BY_NOW = {"late_at", "snoozed_at", "snoozed_until"}

COUNTING_SECONDS = 0.1
PLACED = 1000
"""How many orders of a list are counted to say which of them one is."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of orders. `total` counts all that match; with `more` there are at least so many.

    `notes` say in sentences what a search for a text did not look through; `incomplete`: it will be in a while.
    `rows` also has the columns late, snoozed, worth (the face value by currency, in words) and completion (when it was
    completed as far as is known, in words). `values` holds what of each order is shown and can change, by its row id:
    see `changing_values`.
    """

    rows: pd.DataFrame
    total: int
    more: bool
    standing: Standing
    values: Mapping[int, Mapping[str, Any]]
    notes: tuple[str, ...] = ()
    incomplete: bool = False

    @property
    def newest_id(self) -> int:
        """The newest order there was, whether it matches or not."""
        return self.standing.newest_order

    @property
    def number(self) -> str:
        """How many match, in words; where counting stopped, or would have taken too long, as many as are certain."""
        if not self.more:
            return f"{self.total:,}"
        return f"more than {COUNTED:,}" if self.total == COUNTED + 1 else f"at least {self.total:,}"


def orders_page(database: Database, filters: Filters, now: datetime) -> Page:
    """The orders that match, filtered, sorted and cut in the database."""
    with database.read() as connection:
        clauses, text_search = list_conditions(connection, filters, now)
        rows = page_rows(connection, filters, clauses, *(ORDERS.c[name] for name in _LISTED_COLUMNS))
        listed = (filters.page - 1) * filters.page_size + len(rows)
        if len(rows) < filters.page_size and (rows or filters.page == 1):  # the last page
            total, more = listed, False
        else:
            total, more = _total(connection, filters, clauses, now, listed)
            total = max(total, listed) if more and rows else total
        stood = standing(connection, now)
        values = amounts.order_values(connection, rows)
    frame = pd.DataFrame([dict(row) for row in rows], columns=list(_LISTED_COLUMNS))
    frame["late"] = [_is_late(row, now) for row in rows]
    frame["snoozed"] = [snoozing.is_snoozed(row, now) for row in rows]
    frame["worth"] = [amounts.worth(values[row["id"]]) for row in rows]
    frame["completion"] = [_completion(row, now) for row in rows]
    changing = {row["id"]: changing_values(row, now) for row in rows}
    more |= bool(text_search and text_search.capped)
    notes = tuple(text_search.notes(now)) if text_search else ()
    incomplete = bool(text_search and text_search.incomplete)
    return Page(frame, total, more, stood, values=changing, notes=notes, incomplete=incomplete)


def _total(
    connection: Connection, filters: Filters, clauses: list[Any], now: datetime, at_least: int
) -> tuple[int, bool]:
    """How many match, and whether there may be more: to count all would take longer than to find a page of them."""
    if filters.view in FLOWS and filters.is_view_alone:
        return ended_today(connection, now)[filters.view], False
    try:
        with hurried(connection, COUNTING_SECONDS):
            total = count(connection, to_count(filters, clauses, now), all_ids(connection, filters, now))
    except TooSlow:
        return at_least, True
    return total, stopped_counting(total, clauses)


def _is_late(row: RowMapping, now: datetime) -> bool:
    return row["late_at"] is not None and row["late_at"] < now and is_open(row["state"])


def changing_values(row: RowMapping, now: datetime) -> dict[str, Any]:
    """The values in a list that can change: CHANGING_COLUMNS, and whether the order is late or snoozed."""
    stored = {name: row[name] for name in CHANGING_COLUMNS if name not in _JUDGED_BY_NOW}
    return stored | {"late": _is_late(row, now), "snoozed": snoozing.is_snoozed(row, now)}


def page_rows(connection: Connection, filters: Filters, clauses: list[Any], *columns: Any) -> Sequence[RowMapping]:
    """These columns of the filter's page of the orders that match; first their ids, which an index alone may tell."""
    ids = page_ids(connection, filters, clauses)
    chosen = select(*columns).where(ORDERS.c.id.in_(ids)).order_by(*ordering(filters))
    return connection.execute(chosen).mappings().all() if ids else []


def page_ids(connection: Connection, filters: Filters, clauses: list[Any]) -> list[int]:
    """The ids of the filter's page of the orders that match, sorted."""
    first, size = (filters.page - 1) * filters.page_size, filters.page_size

    def cut(matching: list[Any], start: int, most: int) -> list[int]:
        sorted_ids = select(ORDERS.c.id).where(*matching).order_by(*ordering(filters))
        return list(connection.execute(sorted_ids.offset(start).limit(most)).scalars())

    if filters.sort != "next look":
        return cut(clauses, first, size)
    # The index has those that wait for a poll; all others come behind them.
    waits = [*clauses, ORDERS.c.next_look_at.is_not(None)]
    ids = cut(waits, first, size)
    if len(ids) == size:
        return ids
    number = select(sa.func.count()).select_from(ORDERS).where(*waits)
    passed = first if ids or not first else int(connection.execute(number).scalar_one())
    by_id = ORDERS.c.id.desc() if filters.descending else ORDERS.c.id.asc()
    others = select(ORDERS.c.id).where(*clauses, ORDERS.c.next_look_at.is_(None)).order_by(by_id)
    return [*ids, *connection.execute(others.offset(max(0, first - passed)).limit(size - len(ids))).scalars()]


def _completion(row: RowMapping, now: datetime) -> str:
    """When the order was completed, as far as is known; nothing is known of before where it was first seen complete."""
    if row["state"] != State.COMPLETED or row["completed_by"] is None:
        return ""
    discovered = row["submission"] == Submission.ELSEWHERE and row["last_open_at"] is None
    return window(None if discovered else row["completed_after"], row["completed_by"], now)


def find_po_numbers(database: Database, text: str) -> list[str]:
    """The PONumbers of the orders somebody means by this text, two at the most: one alone can be opened at once.

    That is the order with this very id; failing that, what the text is part of, as the list finds it.
    """
    if not readable(text):
        return []
    two = select(ORDERS.c.po_number).limit(2)
    with database.read() as connection:
        if po_numbers := connection.execute(two.where(whole_id(text))).scalars().all():
            return list(po_numbers)
        few = look_up(connection, text).listed[:2]
        return list(connection.execute(two.where(ORDERS.c.id.in_(few))).scalars())


def neighbours(database: Database, filters: Filters, order_id: int, now: datetime) -> tuple[str | None, str | None]:
    """The PONumbers before and after the order among those that match, also where it does not match any more."""
    with database.read() as connection:
        values = _sorted_by(connection, filters, order_id)
        clauses, _ = list_conditions(connection, filters, now)
        matching = select(ORDERS.c.po_number).where(*clauses).limit(1)

        def nearest(*, backwards: bool) -> str | None:
            up, sorts = filters.descending == backwards, ordering(filters, backwards=backwards)
            for behind, then_by in _places(values, sorts, up=up, backwards=backwards):
                query = matching.where(behind).order_by(*then_by)
                if (po_number := connection.execute(query).scalar()) is not None:
                    return str(po_number)
            return None

        return nearest(backwards=True), nearest(backwards=False)


def position(database: Database, filters: Filters, order_id: int, now: datetime) -> tuple[int | None, int | None]:
    """The place of the order among those that match, from 1, and how many match; None from PLACED or COUNTED on."""
    with database.read() as connection:
        values = _sorted_by(connection, filters, order_id)
        clauses, text_search = list_conditions(connection, filters, now)
        total, more = _total(connection, filters, clauses, now, 0)
        more |= bool(text_search and text_search.capped)
        if connection.execute(select(ORDERS.c.id).where(ORDERS.c.id == order_id, *clauses)).first() is None:
            return None, None if more else total
        sooner = beyond(values, up=filters.descending, backwards=True)
        before = select(ORDERS.c.id).where(*clauses, sooner).limit(PLACED).subquery()
        place = int(connection.execute(select(sa.func.count()).select_from(before)).scalar_one()) + 1
    return (place if place <= PLACED else None), (None if more else total)


def place_of(connection: Connection, filters: Filters, order_id: int) -> list[Any]:
    """The order's place in the list: its values of the columns that the list is sorted by."""
    return [value for _, value in _sorted_by(connection, filters, order_id)]


def ids_behind(connection: Connection, filters: Filters, clauses: list[Any], place: Sequence[Any]) -> list[int]:
    """The ids of the next page of matching orders after this place."""
    values, up = list(zip(sorting(filters), place, strict=True)), not filters.descending
    places = _places(values, ordering(filters), up=up, backwards=False)
    if len(values) > 2:  # of so many an index would be walked from where the first begins
        (column, value), *rest = values
        same = sa.and_(column == value, beyond(rest, up=up, backwards=False))
        places = [(same, ordering(filters)), (column > value if up else column < value, ordering(filters))]
    ids: list[int] = []
    for behind, then_by in places:
        matching = select(ORDERS.c.id).where(*clauses, behind).order_by(*then_by).limit(filters.page_size - len(ids))
        ids += connection.execute(matching).scalars()
        if len(ids) == filters.page_size:
            break
    return ids


def _sorted_by(connection: Connection, filters: Filters, order_id: int) -> list[tuple[Any, Any]]:
    """The columns that the list is sorted by, each with the order's value."""
    columns = sorting(filters)
    row = connection.execute(select(*columns).where(ORDERS.c.id == order_id)).first() or (None,) * len(columns)
    return [*zip(columns[:-1], row, strict=False), (ORDERS.c.id, order_id)]


def _places(
    values: list[tuple[Any, Any]], sorts: list[Any], *, up: bool, backwards: bool
) -> list[tuple[ColumnElement[bool], list[Any]]]:
    """Queries for the next order, (WHERE, ORDER BY) each, to be tried in turn, as an index serves only one at a time.

    Behind all that have a value come those that have none, by their ids.
    """
    (column, value), *rest = values
    if not may_be_null(column):
        return [(beyond(values, up=up, backwards=backwards), sorts)]
    without = column.is_(None)
    if value is None:
        same = sa.and_(without, beyond(rest, up=up, backwards=backwards)), sorts[1:]
        return [same, (column.is_not(None), sorts)] if backwards else [same]
    with_value = beyond(values, up=up, backwards=True), sorts
    return [with_value] if backwards else [with_value, (without, sorts[1:])]


def beyond(values: list[tuple[Any, Any]], *, up: bool, backwards: bool) -> ColumnElement[bool]:
    """What comes after the order of these values (before it, `backwards`); what has no value comes last."""
    (column, value), *rest = values
    if not rest:
        return cast("ColumnElement[bool]", column > value if up else column < value)
    same = beyond(rest, up=up, backwards=backwards)
    if value is None:
        tie = sa.and_(column.is_(None), same)
        return sa.or_(column.is_not(None), tie) if backwards else tie
    reached, further = (column >= value, column > value) if up else (column <= value, column < value)
    behind = sa.and_(reached, sa.or_(further, same))
    return sa.or_(behind, column.is_(None)) if may_be_null(column) and not backwards else behind


def order_records(database: Database, filters: Filters, now: datetime) -> list[dict[str, Any]]:
    """One page of orders as `orders --json` prints it."""
    with database.read() as connection:
        clauses, _ = list_conditions(connection, filters, now)
        rows = page_rows(connection, filters, clauses, ORDERS)
        values = amounts.order_values(connection, rows)
        return [order_summary(row, values[row["id"]]) for row in rows]
