"""What an order must be to match a filter, in SQL, and how what matches is sorted and counted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, select

from tracking.forecasting import incidents
from tracking.orders.model import State, Submission, WebhookStatus, folded_id
from tracking.orders.vocabulary import EventKind
from tracking.provider import people
from tracking.reports.order_list.filters import SORTS, Filters
from tracking.reports.trends import day_start
from tracking.storage.engines import casefold
from tracking.storage.tables import COUNTERS, EVENTS, LINES, OPEN, ORDERS

# These words must be those of the partial indexes in `tables`, or no engine will use them.
FLAGGED = sa.text("attention IS NOT NULL AND acknowledged_at IS NULL")
COUNTED = 10_000
# In a store of more orders an exact id is found through the indexes alone: to look for it within others takes seconds.
SEARCHED_WHOLE = 50_000


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


def whole_id(text: str) -> ColumnElement[bool]:
    """The condition for the one order that has this very id, in whatever case it is written."""
    folded = folded_id(text)
    return sa.or_(ORDERS.c.po_folded == folded, ORDERS.c.provider_folded == folded)


def is_exact(connection: Connection, filters: Filters) -> bool:
    """Whether the order that has this very id is all that is listed, and not what holds it as a part."""
    text = filters.text.strip()
    if not text or filters.parts or not is_large(connection):
        return False
    return connection.execute(select(ORDERS.c.id).where(whole_id(text)).limit(1)).first() is not None


def is_large(connection: Connection) -> bool:
    """Whether the store holds so many orders that to look through all of them takes seconds."""
    return count(connection, []) > SEARCHED_WHOLE


def count(connection: Connection, clauses: list[Any]) -> int:
    """How many match: all from the counters, a part by counting at the most COUNTED + 1."""
    if not clauses:
        counted = select(sa.func.coalesce(sa.func.sum(COUNTERS.c.orders), 0)).where(COUNTERS.c.name == "stock")
        return int(connection.execute(counted).scalar_one())
    some = select(ORDERS.c.id).where(*clauses).limit(COUNTED + 1).subquery()
    return int(connection.execute(select(sa.func.count()).select_from(some)).scalar_one())


def containing(text: str, dialect: str) -> ColumnElement[bool]:
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
        exact = is_exact(connection, filters)
        clauses.append(whole_id(text) if exact else containing(text, connection.dialect.name))
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
