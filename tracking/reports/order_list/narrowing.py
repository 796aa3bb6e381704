"""Narrows a filter's query: finds the one condition that few orders meet, to read along its index.

A list is read in the order it is sorted by, and what does not match is passed over: quick where many match, a walk over
all orders where few do. So each condition that has an index is asked first, up to RARE rows; where few orders meet one,
the list is read from these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, select

from tracking.orders.model import State, folded_id
from tracking.orders.vocabulary import EventKind
from tracking.reports.order_list.filters import Filters
from tracking.reports.trends import day_start
from tracking.storage.tables import (
    CLAIMED,
    EVENTS,
    LINES,
    OPEN,
    ORDERS,
    OVER_AT_FIRST_SIGHT,
    UNAPPROVED,
    UNSETTLED,
)
from tracking.storage.team.tables import JOB_ORDERS

# These words must be those of the partial indexes in `tables`, or no engine will use them.
FLAGGED = sa.text("attention IS NOT NULL AND acknowledged_at IS NULL")
RARE = 5_000
FEW_LATE = 1_000  # more are soon come across among the open orders, whose index has them as they were placed
FEW_TODAY = 500
ENDS = sorted({EventKind.COMPLETED, EventKind.CANCELLED, EventKind.REFUSED, EventKind.PO_NUMBER_MISMATCH})
_LAST = "\U0010ffff"  # no character sorts behind it


@dataclass(frozen=True, slots=True)
class Indexed:
    """The ids of the orders that may meet a condition, as an index has them.

    `exact`: all of these meet it, none twice. `by_time`: it has them in the order they were placed. `few`: so many are
    few, where that is not RARE. `counted`: what has at least as many rows and takes less to count.
    """

    ids: Any
    exact: bool = True
    by_time: bool = False
    few: int = 0
    counted: Any = None


def narrowest(connection: Connection, filters: Filters, now: datetime) -> ColumnElement[bool] | None:
    """What narrows the list to few orders, for a WHERE; None where each condition holds for many, or has no index."""
    indexed = list(_indexed(filters, now, connection.dialect.name))
    if filters.text or (filters.sort == "placed" and len(indexed) == 1 and indexed[0].by_time and not _others(filters)):
        return None
    for each in indexed:
        few = each.few or RARE
        some = (each.ids if each.counted is None else each.counted).limit(few + 1).subquery()
        if int(connection.execute(select(sa.func.count()).select_from(some)).scalar_one()) <= few:
            return ORDERS.c.id.in_(each.ids)
    return None


def all_ids(connection: Connection, filters: Filters, now: datetime) -> Any:
    """The ids of all that match, along one index; None where the filter asks for more than one index can tell."""
    indexed = list(_indexed(filters, now, connection.dialect.name))
    single = len(indexed) == 1 and indexed[0].exact and not _others(filters)
    return indexed[0].ids if single else None


def tested(column: Any) -> Any:
    """A column of texts that is only looked at on a walk: as an expression, whose index SQLite leaves alone.

    By that it would read, and sort, all that meet the condition, where `narrowest` found that these are many.
    """
    return column.concat("")


def tested_number(column: Any) -> Any:
    """The same of numbers."""
    return column + 0


def unindexed(column: Any) -> Any:
    """Keep the database from sorting by an index: few orders are sorted sooner than all are walked through in order."""
    return sa.func.coalesce(column, sa.null())


def with_prefix(prefix: str) -> ColumnElement[bool]:
    """Match orders whose PONumber begins so, in whatever case."""
    begins: ColumnElement[bool] = tested(ORDERS.c.po_folded).startswith(folded_id(prefix), autoescape=True)
    return begins


def with_product(product: str) -> ColumnElement[bool]:
    """Match orders with a line of this product."""
    return sa.exists().where(LINES.c.product_id.in_(_cases(product)), LINES.c.order_id == ORDERS.c.id)


def _cases(product: str) -> list[str]:
    """A product's id as it is written, and in the cases that such ids have."""
    return list(dict.fromkeys((product, product.upper(), product.lower())))


def of_job(job: int) -> ColumnElement[bool]:
    """Match the orders of a job."""
    return sa.exists().where(JOB_ORDERS.c.job_id == job, JOB_ORDERS.c.order_id == ORDERS.c.id)


def with_event(kinds: Sequence[str], first: datetime | None, end: datetime | None) -> ColumnElement[bool]:
    """Match orders with an event of these kinds learned within these times, looked for in the order's own log."""
    of_kinds = tested(EVENTS.c.kind).in_(kinds)
    return sa.exists().where(EVENTS.c.order_id == ORDERS.c.id, EVENTS.c.seq >= 1, of_kinds, *_learned(first, end))


def _learned(first: datetime | None, end: datetime | None) -> list[Any]:
    within = [] if first is None else [EVENTS.c.learned_at >= first]
    return within + ([] if end is None else [EVENTS.c.learned_at < end])


def _orders(*conditions: Any) -> Any:
    return select(ORDERS.c.id).where(*conditions)


def _ended(kinds: Sequence[str], first: datetime | None, end: datetime | None = None) -> Indexed:
    # As an expression: to tell apart what it has had, SQLite would walk over all logs in the order of their orders.
    ended = EVENTS.c.kind.in_(kinds), *_learned(first, end)
    order_ids = select(tested_number(EVENTS.c.order_id)).where(*ended)
    return Indexed(order_ids.distinct(), counted=select(EVENTS.c.kind).where(*ended))


def _view(filters: Filters, now: datetime) -> Indexed | None:
    # What completed today is soon come across among the newest orders.
    few_today = FEW_TODAY if filters.sort == "placed" and filters.descending else RARE
    views: dict[str, Callable[[], Indexed]] = {
        "attention": lambda: Indexed(_orders(FLAGGED), exact=False, by_time=True),
        "unassigned": lambda: Indexed(_orders(FLAGGED), exact=False, by_time=True),
        "mine": lambda: Indexed(_orders(ORDERS.c.assignee == filters.assigned, UNSETTLED), exact=False, by_time=True),
        "approval": lambda: Indexed(_orders(UNAPPROVED), by_time=True),
        "snoozed": lambda: Indexed(_orders(ORDERS.c.snoozed_at.is_not(None)), exact=False),
        "late": lambda: Indexed(_orders(OPEN, ORDERS.c.late_at < now), exact=False, few=FEW_LATE),
        "unknown": lambda: Indexed(_orders(ORDERS.c.state == State.UNKNOWN), by_time=True),
        "claimed": lambda: Indexed(_orders(CLAIMED), by_time=True),
        "today": lambda: replace(_ended([EventKind.COMPLETED], day_start(now)), exact=False, few=few_today),
        "found": lambda: Indexed(_orders(OVER_AT_FIRST_SIGHT, ORDERS.c.completed_by >= day_start(now)), exact=False),
    }
    return views[filters.view]() if filters.view in views else None


def _indexed(filters: Filters, now: datetime, dialect: str) -> Iterator[Indexed]:
    """Each condition of the filter that has an index."""
    if view := _view(filters, now):
        yield view
    for name, make in _FIELDS.items():
        if (value := getattr(filters, name)) not in ((), "", None):
            yield make(value)
    if filters.po_prefix:
        yield Indexed(_orders(*_beginning(folded_id(filters.po_prefix), dialect)))
    if filters.completed_from or filters.completed_to:
        yield _ended([EventKind.COMPLETED], filters.completed_from, filters.completed_to)
    if bounds := _bounds(ORDERS.c.value_minor, filters.min_minor, filters.max_minor):
        yield Indexed(_orders(*bounds))
    first = _bounds(ORDERS.c.created_at, filters.created_from, None)
    ends = [end for end in (filters.created_to, filters.older_than and now - filters.older_than) if end is not None]
    if created := [*first, *(ORDERS.c.created_at < end for end in ends)]:
        yield Indexed(_orders(*created), by_time=True)


def _beginning(folded: str, dialect: str) -> list[ColumnElement[bool]]:
    """What begins so lies between two texts; PostgreSQL compares by characters only where it is told to."""
    least, most = (">=", "<") if dialect == "sqlite" else ("~>=~", "~<~")
    texts = ((least, folded), (most, folded + _LAST))
    return [ORDERS.c.po_folded.bool_op(operator)(text) for operator, text in texts]


def _bounds(column: Any, least: Any, most: Any) -> list[ColumnElement[bool]]:
    return [*([] if least is None else [column >= least]), *([] if most is None else [column <= most])]


_FIELDS: dict[str, Callable[[Any], Indexed]] = {
    "only": lambda po_numbers: Indexed(_orders(ORDERS.c.po_number.in_(po_numbers))),
    "imported": lambda batch_id: Indexed(_orders(ORDERS.c.batch_id == batch_id)),
    "job": lambda job: Indexed(select(JOB_ORDERS.c.order_id).where(JOB_ORDERS.c.job_id == job)),
    "product": lambda product: Indexed(
        select(LINES.c.order_id).where(LINES.c.product_id.in_(_cases(product))).distinct()
    ),
    "ended_from": lambda first: _ended(ENDS, first),
    "states": lambda states: Indexed(_orders(ORDERS.c.state.in_(states)), by_time=len(states) == 1),
    "types": lambda types: Indexed(_orders(ORDERS.c.type.in_(types)), by_time=len(types) == 1),
    "source": lambda source: Indexed(_orders(ORDERS.c.source == source), by_time=True),
    "assigned": lambda name: Indexed(_orders(ORDERS.c.assignee == name), by_time=True),
    "reasons": lambda _reasons: Indexed(_orders(FLAGGED), exact=False, by_time=True),
}


def _others(filters: Filters) -> bool:
    """Whether the filter has a condition that no index knows."""
    return bool(
        filters.text or filters.watched or filters.not_states or filters.not_types or filters.not_sources
        or filters.not_reasons
    )  # fmt: skip
