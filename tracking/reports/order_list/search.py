"""Which orders to show: the filter, its form in an address, and the pages it leads to. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, time, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, select
from sqlalchemy.engine import RowMapping

from tracking.errors import Problem
from tracking.forecasting import incidents
from tracking.orders.model import State, Submission, WebhookStatus, folded_id, is_open
from tracking.orders.vocabulary import EventKind
from tracking.orders.wording import amount, window
from tracking.provider import people
from tracking.reports import amounts
from tracking.reports.order import order_summary
from tracking.reports.order_list.query_params import Reader
from tracking.reports.trends import day_start
from tracking.startup import pd
from tracking.storage.database import Database
from tracking.storage.engines import casefold
from tracking.storage.tables import COUNTERS, EVENTS, LINES, OPEN, ORDERS

# These words must be those of the partial indexes in `tables`, or no engine will use them.
FLAGGED = sa.text("attention IS NOT NULL AND acknowledged_at IS NULL")

VIEWS = ("all", "attention", "late", "unknown", "claimed", "open", "today", "found")
SORTS = {
    "placed": "created_at",
    "po number": "po_number",
    "state": "state",
    "type": "type",
    "cards": "units",
    "value": "value_minor",
    "completed": "completed_by",
    "next look": "next_look_at",
}
COUNTED = 10_000
NEWS_COUNTED = 1_000
# In a store of more orders an exact id is found through the indexes alone: to look for it within others takes seconds.
SEARCHED_WHOLE = 50_000

_LISTED_COLUMNS = (
    "id", "po_number", "provider_id", "state", "type", "units", "units_fulfilled", "value_minor", "currency", "source",
    "submission", "notice", "created_at", "last_open_at", "completed_after", "completed_by", "late_at", "attention",
    "acknowledged_at", "next_look_at", "line_count",
)  # fmt: skip


_CHANGING_COLUMNS = (
    "provider_id", "state", "units_fulfilled", "value_minor", "currency", "notice", "completed_by", "attention",
    "acknowledged_at",
)  # fmt: skip


def _set_by(name: str, read: Callable[[Reader, str], Any]) -> dict[str, Any]:
    """The query parameter that sets a field of the filter."""
    return {"name": name, "read": read}


@dataclass(frozen=True, slots=True)
class Filters:
    """What to show, in which order, which page. Values in minor units; `created_to` is not included.

    `each`: late orders that are late together are listed too, where one sentence would tell them all. `parts`: what
    holds the text is listed too, where the store is so large that an exact id would be the only match.
    """

    text: str = field(default="", metadata=_set_by("q", Reader.text))
    view: str = field(default="all", metadata=_set_by("view", lambda reader, name: reader.one_of(name, VIEWS, "all")))
    states: tuple[str, ...] = field(default=(), metadata=_set_by("state", Reader.many))
    types: tuple[str, ...] = field(default=(), metadata=_set_by("type", Reader.many))
    source: str = field(default="", metadata=_set_by("source", Reader.text))
    product: str = field(default="", metadata=_set_by("product", Reader.text))
    created_from: datetime | None = field(default=None, metadata=_set_by("from", Reader.time))
    created_to: datetime | None = field(default=None, metadata=_set_by("to", Reader.time))
    min_minor: int | None = field(default=None, metadata=_set_by("min", Reader.money))
    max_minor: int | None = field(default=None, metadata=_set_by("max", Reader.money))
    older_than: timedelta | None = field(default=None, metadata=_set_by("older", Reader.length))
    po_prefix: str = field(default="", metadata=_set_by("prefix", Reader.text))
    each: bool = field(default=False, metadata=_set_by("each", Reader.yes))
    parts: bool = field(default=False, metadata=_set_by("parts", Reader.yes))
    sort: str = field(
        default="placed", metadata=_set_by("sort", lambda reader, name: reader.one_of(name, tuple(SORTS), "placed"))
    )
    descending: bool = field(default=True, metadata=_set_by("asc", lambda reader, name: not reader.yes(name)))
    page: int = field(default=1, metadata=_set_by("page", lambda reader, name: reader.number(name, 1, 1, 1_000_000)))
    page_size: int = field(default=50, metadata=_set_by("size", lambda reader, name: reader.number(name, 50, 1, 500)))

    def to_query(self) -> dict[str, Any]:
        """The filter as query parameters, without what is as usual."""
        changed = [each for each in fields(self) if getattr(self, each.name) != each.default]
        return {each.metadata["name"]: _as_parameter(each.name, getattr(self, each.name)) for each in changed}

    @classmethod
    def from_query(cls, query: Mapping[str, Any]) -> tuple[Filters, list[Problem]]:
        """The filter in an address, and what of the address could not be used."""
        reader = Reader(query)
        filters = cls(**{each.name: each.metadata["read"](reader, each.metadata["name"]) for each in fields(cls)})
        return filters, reader.problems


def _as_parameter(name: str, value: Any) -> str | list[str]:
    """A value that is not the usual one, as the query parameter that `Reader` reads back."""
    match value:
        case bool():
            return "true"
        case tuple():
            return list(value)
        case datetime():
            return value.date().isoformat() if value.time() == time() else value.isoformat()
        case timedelta():
            return f"{int(value.total_seconds())}s"
        case _:
            return amount(value) if name.endswith("_minor") else str(value)


# Conditions


def _finished_today(now: datetime, *, discovered: bool) -> ColumnElement[bool]:
    """Completed today; `found` picks those that were complete when first seen, which is not our doing."""
    done = select(EVENTS.c.order_id).where(EVENTS.c.kind == EventKind.COMPLETED, EVENTS.c.learned_at >= day_start(now))
    first_sight = sa.and_(ORDERS.c.submission == Submission.ELSEWHERE, ORDERS.c.last_open_at.is_(None))
    return sa.and_(ORDERS.c.id.in_(done), first_sight if discovered else sa.not_(first_sight))


def _view(view: str, now: datetime) -> list[Any]:
    if view in {"today", "found"}:
        return [_finished_today(now, discovered=view == "found")]
    conditions: dict[str, list[Any]] = {
        "attention": [FLAGGED],
        "late": [OPEN, ORDERS.c.late_at < now],
        "unknown": [ORDERS.c.state == State.UNKNOWN],
        "claimed": [OPEN, ORDERS.c.notice == WebhookStatus.CLAIMED],
        "open": [OPEN],
    }
    return conditions.get(view, [])


def _whole_id(text: str) -> ColumnElement[bool]:
    """The condition for the one order that has this very id, in whatever case it is written."""
    folded = folded_id(text)
    return sa.or_(ORDERS.c.po_folded == folded, ORDERS.c.provider_folded == folded)


def _is_exact(connection: Connection, filters: Filters) -> bool:
    """Whether the order that has this very id is all that is listed, and not what holds it as a part."""
    text = filters.text.strip()
    if not text or filters.parts or _count(connection, []) <= SEARCHED_WHOLE:
        return False
    return connection.execute(select(ORDERS.c.id).where(_whole_id(text)).limit(1)).first() is not None


def is_exact(database: Database, text: str) -> bool:
    """Whether an order has this very id in a store so large that it alone is listed, unless `parts` is set."""
    with database.read() as connection:
        return _is_exact(connection, Filters(text=text))


def _containing(text: str, dialect: str) -> ColumnElement[bool]:
    """The condition for orders with this text in an id or a reference, or with this person, however written."""
    orders, lines = ORDERS.c, LINES.c
    ids = {" ".join(text.split()), "".join(text.split())}
    of_order = [_holds(column, part, dialect) for column in (orders.po_number, orders.provider_id) for part in ids]
    of_line = [_holds(lines.external_id, part, dialect) for part in ids]
    of_line += [lines.recipient_key.contains(form, autoescape=True) for form in sorted(people.search_forms(text))]
    return sa.or_(*of_order, orders.id.in_(select(lines.order_id).where(sa.or_(*of_line))))


def _holds(column: sa.Column[Any], part: str, dialect: str) -> ColumnElement[bool]:
    held = column.icontains(part, autoescape=True)
    if dialect != "sqlite":
        return held
    # SQLite knows the case of ASCII letters alone; only what holds others has to be folded.
    beyond_ascii = sa.and_(
        column.op("GLOB")("*[^ -~]*"), sa.func.casefold(column).contains(casefold(part), autoescape=True)
    )
    return sa.or_(held, beyond_ascii)


def conditions(connection: Connection, filters: Filters, now: datetime) -> list[Any]:
    """What an order must be to match, for a WHERE."""
    orders = ORDERS.c
    clauses: list[Any] = _view(filters.view, now)
    if filters.view == "late" and not filters.each:
        clauses += [sa.not_(incident.matches(now)) for incident in incidents.stored_late_orders(connection).incidents]
    if text := filters.text.strip():
        exact = _is_exact(connection, filters)
        clauses.append(_whole_id(text) if exact else _containing(text, connection.dialect.name))
    on_lines = select(LINES.c.order_id)
    bounds: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
        (
            filters.product or None,
            lambda product: orders.id.in_(on_lines.where(LINES.c.product_id == product)),
        ),
        (filters.po_prefix or None, lambda prefix: orders.po_number.startswith(prefix, autoescape=True)),
        (filters.states or None, orders.state.in_),
        (filters.types or None, orders.type.in_),
        (filters.source or None, lambda source: orders.source == source),
        (filters.created_from, lambda first: orders.created_at >= first),
        (filters.created_to, lambda end: orders.created_at < end),
        (filters.min_minor, lambda least: orders.value_minor >= least),
        (filters.max_minor, lambda most: orders.value_minor <= most),
        (filters.older_than, lambda age: orders.created_at < now - age),
    )
    return clauses + [clause(value) for value, clause in bounds if value is not None]


def ordering(filters: Filters, *, backwards: bool = False) -> list[Any]:
    """What to sort by; the id decides between equals."""
    column = ORDERS.c[SORTS.get(filters.sort, "created_at")]
    descending = filters.descending != backwards
    first, then = (each.desc() if descending else each.asc() for each in (column, ORDERS.c.id))
    if not column.nullable:
        return [first, then]
    return [first.nulls_first() if backwards else first.nulls_last(), then]


# Pages


@dataclass(frozen=True, slots=True)
class Page:
    """One page of orders. `total` counts all that match; with `more` there are at least so many.

    With `exact` the one order that has this very id is shown, and others may hold it as a part.
    `rows` also has the columns late, worth (the face value by currency, in words) and completion (when it was completed
    as far as is known, in words). `values` holds what the page shows of each order and can change, by its row id.
    """

    rows: pd.DataFrame
    total: int
    more: bool
    newest_id: int
    values: Mapping[int, tuple[Any, ...]]
    exact: bool = False


@dataclass(frozen=True, slots=True)
class News:
    """What a page of orders does not show yet: so many `new` orders, and so many `changed` since it was read."""

    new: int
    changed: int


def orders_count(database: Database, filters: Filters, now: datetime) -> int:
    """How many orders match; above COUNTED it says COUNTED + 1 where a filter is set."""
    with database.read() as connection:
        return _count(connection, conditions(connection, filters, now))


def orders_page(database: Database, filters: Filters, now: datetime, *, total: int | None = None) -> Page:
    """The orders that match, filtered, sorted and cut in the database. `total`: where they were counted before."""
    with database.read() as connection:
        clauses = conditions(connection, filters, now)
        rows = (
            connection.execute(_cut(filters, clauses, *(ORDERS.c[name] for name in _LISTED_COLUMNS))).mappings().all()
        )
        total = _count(connection, clauses) if total is None else total
        newest = connection.execute(select(sa.func.max(ORDERS.c.id))).scalar() or 0
        exact = _is_exact(connection, filters)
        values = amounts.order_values(connection, rows)
    frame = pd.DataFrame([dict(row) for row in rows], columns=list(_LISTED_COLUMNS))
    frame["late"] = [_is_late(row, now) for row in rows]
    frame["worth"] = [amounts.worth(values[row["id"]]) for row in rows]
    frame["completion"] = [_completion(row, now) for row in rows]
    changing = {row["id"]: _changing_values(row, now) for row in rows}
    more = total > COUNTED and bool(clauses)
    return Page(frame, total, more=more, newest_id=newest, values=changing, exact=exact)


def _is_late(row: RowMapping, now: datetime) -> bool:
    return row["late_at"] is not None and row["late_at"] < now and is_open(row["state"])


def _changing_values(row: RowMapping, now: datetime) -> tuple[Any, ...]:
    return (*(row[name] for name in _CHANGING_COLUMNS), _is_late(row, now))


def _cut(filters: Filters, clauses: list[Any], *columns: Any) -> Any:
    """Select the filter's page of the orders that match."""
    matching = select(*columns).where(*clauses).order_by(*ordering(filters))
    return matching.limit(filters.page_size).offset((filters.page - 1) * filters.page_size)


def _completion(row: RowMapping, now: datetime) -> str:
    """When the order was completed, as far as anybody knows; what was complete when first seen has no look before."""
    if row["state"] != State.COMPLETED or row["completed_by"] is None:
        return ""
    discovered = row["submission"] == Submission.ELSEWHERE and row["last_open_at"] is None
    return window(None if discovered else row["completed_after"], row["completed_by"], now)


def _count(connection: Connection, clauses: list[Any]) -> int:
    """How many match: all from the counters, a part by counting at the most COUNTED + 1."""
    if not clauses:
        counted = select(sa.func.coalesce(sa.func.sum(COUNTERS.c.orders), 0)).where(COUNTERS.c.name == "stock")
        return int(connection.execute(counted).scalar_one())
    some = select(ORDERS.c.id).where(*clauses).limit(COUNTED + 1).subquery()
    return int(connection.execute(select(sa.func.count()).select_from(some)).scalar_one())


def news(database: Database, filters: Filters, page: Page, now: datetime) -> News:
    """What has come or changed since the page was read; orders that only now match the filter count as changed."""
    with database.read() as connection:
        clauses = conditions(connection, filters, now)
        newer = select(ORDERS.c.id).where(ORDERS.c.id > page.newest_id, *clauses).limit(NEWS_COUNTED)
        new = len(connection.execute(newer).all())
        columns = (ORDERS.c[name] for name in ("id", "late_at", *_CHANGING_COLUMNS))
        rows = connection.execute(select(*columns).where(ORDERS.c.id.in_(page.values))).mappings()
        changed = {row["id"] for row in rows if _changing_values(row, now) != page.values[row["id"]]}
        if filters.page == 1 and not filters.text:  # to look for a part of an id again is a walk over all orders
            earlier = [*clauses, ORDERS.c.id <= page.newest_id]
            changed |= _entered(filters, page, list(connection.execute(_cut(filters, earlier, ORDERS.c.id)).scalars()))
    return News(new, len(changed))


def _entered(filters: Filters, page: Page, ids: list[int]) -> set[int]:
    """The orders that match only now: all that the page did not show, but for those that moved up to its end."""
    places = [place for place, order_id in enumerate(ids, start=1) if order_id in page.values]
    end = max(places, default=0) if len(page.values) == filters.page_size else len(ids)
    return set(ids[:end]) - set(page.values)


def neighbours(database: Database, filters: Filters, order_id: int, now: datetime) -> tuple[str | None, str | None]:
    """The PONumbers before and after the order among those that match, also where it does not match any more."""
    column = ORDERS.c[SORTS.get(filters.sort, "created_at")]
    with database.read() as connection:
        value = connection.execute(select(column).where(ORDERS.c.id == order_id)).scalar()
        matching = select(ORDERS.c.po_number).where(*conditions(connection, filters, now)).limit(1)

        def nearest(*, backwards: bool) -> str | None:
            up = filters.descending == backwards
            beyond = matching.where(_beyond(column, value, order_id, up=up, backwards=backwards))
            po_number: str | None = connection.execute(
                beyond.order_by(*ordering(filters, backwards=backwards))
            ).scalar()
            return po_number

        return nearest(backwards=True), nearest(backwards=False)


def _beyond(column: Any, value: Any, order_id: int, *, up: bool, backwards: bool) -> ColumnElement[bool]:
    """What comes after the order of this value (before it, `backwards`); what has no value comes last."""
    same = ORDERS.c.id > order_id if up else ORDERS.c.id < order_id
    if value is None:
        tie = sa.and_(column.is_(None), same)
        return sa.or_(column.is_not(None), tie) if backwards else tie
    reached, further = (column >= value, column > value) if up else (column <= value, column < value)
    beyond = sa.and_(reached, sa.or_(further, same))
    return sa.or_(beyond, column.is_(None)) if column.nullable and not backwards else beyond


def order_records(database: Database, filters: Filters, now: datetime) -> list[dict[str, Any]]:
    """One page of orders as `orders --json` prints it."""
    with database.read() as connection:
        rows = connection.execute(_cut(filters, conditions(connection, filters, now), ORDERS)).mappings().all()
        values = amounts.order_values(connection, rows)
        return [order_summary(row, values[row["id"]]) for row in rows]
