"""SQL conditions of a filter, and how the orders that match are sorted and counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, select

from tracking.forecasting import incidents
from tracking.orders.model import CLOSED, State, Submission
from tracking.orders.vocabulary import AttentionReason
from tracking.reports.finding.lookup import TextSearch, look_up
from tracking.reports.finding.terms import readable
from tracking.reports.order_list.filters import SORTS, Filters
from tracking.reports.order_list.narrowing import (
    ENDS,
    FLAGGED,
    narrowest,
    of_job,
    tested,
    tested_number,
    unindexed,
    with_event,
    with_prefix,
    with_product,
)
from tracking.reports.trends import day_start
from tracking.storage.tables import CLAIMED, COUNTERS, OPEN, ORDERS, UNAPPROVED, UNSETTLED
from tracking.storage.team import snoozing

COUNTED = 1_000
CLOCKS_DIFFER = timedelta(hours=1)  # at the most, of the processes that placed an order and saw it complete
OPEN_VIEWS = frozenset({"open", "late", "claimed"})

# An order of another system that was already complete when first seen.
_OVER_AT_FIRST_SIGHT = sa.and_(ORDERS.c.submission == Submission.ELSEWHERE, ORDERS.c.last_open_at.is_(None))


def _completed(filters: Filters, first: datetime | None, end: datetime | None) -> list[Any]:
    """Completed within these times, by when we learned it, which the order's row says as its event does.

    Sorted by just this the orders are read along its index; otherwise it is only looked at on a walk.
    """
    learned = ORDERS.c.completed_by if filters.sort == "completed" else unindexed(ORDERS.c.completed_by)
    within = [*([] if first is None else [learned >= first]), *([] if end is None else [learned < end])]
    return [tested(ORDERS.c.state) == State.COMPLETED, *within] if within else []


def _view(filters: Filters, now: datetime) -> list[Any]:
    """What the view shows; what asks for somebody now leaves the snoozed ones to their own view.

    "found" are those that were complete when first seen, which is not our doing.
    """
    view, assigned = filters.view, filters.assigned
    if view in {"today", "found"}:
        first_sight = _OVER_AT_FIRST_SIGHT if view == "found" else sa.not_(_OVER_AT_FIRST_SIGHT)
        return [*_completed(filters, day_start(now), None), first_sight]
    awake = snoozing.awake(now)
    conditions: dict[str, list[Any]] = {
        "attention": [FLAGGED, awake],
        "unassigned": [FLAGGED, ORDERS.c.assignee.is_(None), awake],
        "mine": [ORDERS.c.assignee == assigned, UNSETTLED, awake],
        "approval": [UNAPPROVED],
        "snoozed": [snoozing.snoozed(now)],
        "late": [OPEN, unindexed(ORDERS.c.late_at) < now, awake],
        "unknown": [ORDERS.c.state == State.UNKNOWN],
        "claimed": [CLAIMED],
        "open": [OPEN],
    }
    return conditions.get(view, [])


def count(connection: Connection, clauses: list[Any], ids: Any = None) -> int:
    """How many match: all from the counters, a part by counting at the most COUNTED + 1.

    `ids`: those of `narrowing.all_ids`, where there are any: an index alone tells how many they are.
    """
    if not clauses:
        counted = select(sa.func.coalesce(sa.func.sum(COUNTERS.c.orders), 0)).where(COUNTERS.c.name == "stock")
        return int(connection.execute(counted).scalar_one())
    matching = select(ORDERS.c.id).where(*clauses) if ids is None else ids
    some = matching.limit(COUNTED + 1).subquery()
    return int(connection.execute(select(sa.func.count()).select_from(some)).scalar_one())


def list_conditions(connection: Connection, filters: Filters, now: datetime) -> tuple[list[Any], TextSearch | None]:
    """What an order must be to be listed, and what is to be said of a text in the filter; bounded where that is common.

    Of more orders than a search lists, those are listed that came last, unless the rest of the filter leaves but a few:
    then each of these is asked whether it holds the text.
    """
    if not readable(filters.text):
        return conditions(connection, filters, now), None
    text_search, others = look_up(connection, filters.text), replace(filters, text="")
    clauses = conditions(connection, others, now)
    if text_search.capped and narrowest(connection, others, now) is not None:
        return [*clauses, text_search.matches], replace(text_search, capped=False)
    return [*clauses, text_search.among_listed], text_search


def conditions(connection: Connection, filters: Filters, now: datetime) -> list[Any]:
    """What an order must be to match, for a WHERE."""
    if filters.not_states:
        filters = replace(filters, states=_states_but(connection, filters))
    clauses: list[Any] = _view(filters, now)
    if filters.view == "late" and not filters.each:
        clauses += [sa.not_(incident.matches(now)) for incident in incidents.stored_late_orders(connection).incidents]
    if readable(filters.text):
        clauses.append(look_up(connection, filters.text).matches)
    clauses += [
        clause(value) for name, clause in _BOUNDS.items() if (value := getattr(filters, name)) not in ((), "", None)
    ]
    clauses += _words(filters)
    if filters.po_prefix:
        clauses.append(with_prefix(filters.po_prefix))
    if filters.completed_to:  # what was placed later is passed over at once
        clauses.append(ORDERS.c.created_at < filters.completed_to + CLOCKS_DIFFER)
    clauses += _completed(filters, filters.completed_from, filters.completed_to)
    if filters.watched:
        clauses.append(sa.not_(sa.and_(_OVER_AT_FIRST_SIGHT, ORDERS.c.state.in_(sorted(CLOSED)))))
    if filters.older_than is not None:
        clauses.append(ORDERS.c.created_at < now - filters.older_than)
    few = narrowest(connection, filters, now)
    return clauses if few is None else [*clauses, few]


def to_count(filters: Filters, clauses: list[Any], now: datetime) -> list[Any]:
    """The same conditions as they are best counted: late orders along the index that holds all they are counted by."""
    return [*clauses, ORDERS.c.late_at < now] if filters.view == "late" else clauses


def stopped_counting(total: int, clauses: list[Any]) -> bool:
    """Whether `count` stopped at this total, so that there may be more."""
    return bool(clauses) and total > COUNTED


def _states_but(connection: Connection, filters: Filters) -> tuple[str, ...]:
    """The states that are left: what is equal to one of a few words is found through an index."""
    occurring = select(COUNTERS.c.state).where(COUNTERS.c.name == "stock", COUNTERS.c.orders > 0).distinct()
    states = set(filters.states or connection.execute(occurring).scalars()) - set(filters.not_states)
    return (*sorted(states),) or ("",)


def _words(filters: Filters) -> list[ColumnElement[bool]]:
    """What state, type and source must be; of a single one the index has the orders as they were placed."""
    columns: list[tuple[Any, tuple[str, ...]]] = [(ORDERS.c.state, filters.states), (ORDERS.c.type, filters.types)]
    chosen = [*columns, (ORDERS.c.source, (filters.source,) if filters.source else ())]
    sorted_so = filters.sort == "placed" and filters.view == "all"  # a view has an index of its own
    return [
        (column if sorted_so and len(words) == 1 else tested(column)).in_(words) for column, words in chosen if words
    ]


def _needs_decision_for(reasons: tuple[str, ...]) -> ColumnElement[bool]:
    reason = sa.func.coalesce(ORDERS.c.attention_reason, AttentionReason.OTHER.value)
    return sa.and_(FLAGGED, reason.in_(reasons))


# What a field of the filter asks of an order, where it is set.
_BOUNDS: dict[str, Callable[[Any], ColumnElement[bool]]] = {
    "only": ORDERS.c.po_number.in_,
    "imported": lambda batch_id: ORDERS.c.batch_id == batch_id,
    "reasons": _needs_decision_for,
    "product": with_product,
    "assigned": lambda name: ORDERS.c.assignee == name,
    "job": of_job,
    "created_from": lambda first: ORDERS.c.created_at >= first,
    "created_to": lambda end: ORDERS.c.created_at < end,
    "ended_from": lambda first: with_event(ENDS, first, None),
    "min_minor": lambda least: tested_number(ORDERS.c.value_minor) >= least,
    "max_minor": lambda most: tested_number(ORDERS.c.value_minor) <= most,
    "not_types": ORDERS.c.type.not_in,
    "not_sources": ORDERS.c.source.not_in,
    "not_reasons": lambda reasons: sa.not_(_needs_decision_for(reasons)),
}


def sorting(filters: Filters) -> list[Any]:
    """The columns to sort by: the id decides between equals, of states and types what was placed first."""
    column = ORDERS.c[SORTS.get(filters.sort, "created_at")]
    if filters.view in OPEN_VIEWS and filters.sort not in {"placed", "next look"}:
        column = unindexed(column)
    # Their indexes go on by time: by the id alone all of one state would be read and sorted.
    by_time = [ORDERS.c.created_at] if filters.sort in {"state", "type"} else []
    return [column, *by_time, ORDERS.c.id]


def ordering(filters: Filters, *, backwards: bool = False) -> list[Any]:
    """What to sort by, and which way round; what has no value comes last."""
    descending = filters.descending != backwards
    columns = sorting(filters)
    first, *then = (each.desc() if descending else each.asc() for each in columns)
    if may_be_null(columns[0]):
        first = first.nulls_first() if backwards else first.nulls_last()
    return [first, *then]


def may_be_null(column: Any) -> bool:
    """Whether some orders have no value to sort by; an expression does not tell."""
    return bool(getattr(column, "nullable", True))
