"""What an order must be to match a filter, in SQL, and how what matches is sorted and counted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, select

from tracking.forecasting import incidents
from tracking.orders.model import CLOSED, State, Submission, WebhookStatus, folded_id
from tracking.orders.vocabulary import AttentionReason, EventKind
from tracking.provider import people
from tracking.reports.order_list.filters import SORTS, Filters
from tracking.reports.trends import day_start
from tracking.storage.engines import casefold
from tracking.storage.tables import COUNTERS, EVENTS, LINES, OPEN, ORDERS, UNAPPROVED, UNSETTLED
from tracking.storage.team import snoozing
from tracking.storage.team.tables import JOB_ORDERS

# These words must be those of the partial indexes in `tables`, or no engine will use them.
FLAGGED = sa.text("attention IS NOT NULL AND acknowledged_at IS NULL")
COUNTED = 10_000
# In a store of more orders an exact id is found through the indexes alone: to look for it within others takes seconds.
SEARCHED_WHOLE = 50_000


_ENDS = sorted({EventKind.COMPLETED, EventKind.CANCELLED, EventKind.REFUSED, EventKind.PO_NUMBER_MISMATCH})
# Of an order of another system that nobody here has seen open.
_OVER_AT_FIRST_SIGHT = sa.and_(ORDERS.c.submission == Submission.ELSEWHERE, ORDERS.c.last_open_at.is_(None))


def _finished_today(now: datetime, *, discovered: bool) -> ColumnElement[bool]:
    """Completed today; `found` picks those that were complete when first seen, which is not our doing."""
    done = select(EVENTS.c.order_id).where(EVENTS.c.kind == EventKind.COMPLETED, EVENTS.c.learned_at >= day_start(now))
    return sa.and_(ORDERS.c.id.in_(done), _OVER_AT_FIRST_SIGHT if discovered else sa.not_(_OVER_AT_FIRST_SIGHT))


def _view(view: str, assigned: str, now: datetime) -> list[Any]:
    """What the view shows; what asks for somebody now leaves the snoozed ones to their own view."""
    if view in {"today", "found"}:
        return [_finished_today(now, discovered=view == "found")]
    awake = snoozing.awake(now)
    conditions: dict[str, list[Any]] = {
        "attention": [FLAGGED, awake],
        "unassigned": [FLAGGED, ORDERS.c.assignee.is_(None), awake],
        "mine": [ORDERS.c.assignee == assigned, UNSETTLED, awake],
        "approval": [UNAPPROVED],
        "snoozed": [snoozing.snoozed(now)],
        "late": [OPEN, ORDERS.c.late_at < now, awake],
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
    clauses: list[Any] = _view(filters.view, filters.assigned, now)
    if filters.view == "late" and not filters.each:
        clauses += [sa.not_(incident.matches(now)) for incident in incidents.stored_late_orders(connection).incidents]
    if text := filters.text.strip():
        exact = is_exact(connection, filters)
        clauses.append(whole_id(text) if exact else containing(text, connection.dialect.name))
    if filters.not_states:
        clauses.append(ORDERS.c.state.in_(_states_except(connection, filters.not_states)))
    clauses += [
        clause(value) for name, clause in _BOUNDS.items() if (value := getattr(filters, name)) not in ((), "", None)
    ]
    if filters.completed_from or filters.completed_to:
        clauses.append(_completed_between(filters.completed_from, filters.completed_to))
    if filters.watched:
        clauses.append(sa.not_(sa.and_(_OVER_AT_FIRST_SIGHT, ORDERS.c.state.in_(sorted(CLOSED)))))
    if filters.older_than is not None:
        clauses.append(ORDERS.c.created_at < now - filters.older_than)
    return clauses


def stopped_counting(total: int, clauses: list[Any]) -> bool:
    """Whether `count` stopped at this total, so that there may be more."""
    return bool(clauses) and total > COUNTED


def _states_except(connection: Connection, states: tuple[str, ...]) -> list[str]:
    """The states that occur but for these: what is equal to one of a few words is found through an index."""
    occurring = select(COUNTERS.c.state).where(COUNTERS.c.name == "stock", COUNTERS.c.orders > 0).distinct()
    return sorted(set(connection.execute(occurring).scalars()) - set(states))


def _needs_decision_for(reasons: tuple[str, ...]) -> ColumnElement[bool]:
    reason = sa.func.coalesce(ORDERS.c.attention_reason, AttentionReason.OTHER.value)
    return sa.and_(FLAGGED, reason.in_(reasons))


def _of_job(job: int) -> ColumnElement[bool]:
    return ORDERS.c.id.in_(select(JOB_ORDERS.c.order_id).where(JOB_ORDERS.c.job_id == job))


def _with_product(product: str) -> ColumnElement[bool]:
    return ORDERS.c.id.in_(select(LINES.c.order_id).where(LINES.c.product_id == product))


def _ended_since(first: datetime) -> ColumnElement[bool]:
    """Completed, cancelled or refused at or after `first`, by when we learned it."""
    ended = EVENTS.c.kind.in_(_ENDS), EVENTS.c.learned_at >= first
    return ORDERS.c.id.in_(select(EVENTS.c.order_id).where(*ended))


def _completed_between(first: datetime | None, end: datetime | None) -> ColumnElement[bool]:
    """Completed at or after `first` and before `end`, by when we learned it; the index on kinds holds both bounds."""
    within = [] if first is None else [EVENTS.c.learned_at >= first]
    within += [] if end is None else [EVENTS.c.learned_at < end]
    return ORDERS.c.id.in_(select(EVENTS.c.order_id).where(EVENTS.c.kind == EventKind.COMPLETED, *within))


# What a field of the filter asks of an order, where it is set.
_BOUNDS: dict[str, Callable[[Any], ColumnElement[bool]]] = {
    "only": ORDERS.c.po_number.in_,
    "imported": lambda batch_id: ORDERS.c.batch_id == batch_id,
    "states": ORDERS.c.state.in_,
    "types": ORDERS.c.type.in_,
    "reasons": _needs_decision_for,
    "source": lambda source: ORDERS.c.source == source,
    "product": _with_product,
    "assigned": lambda name: ORDERS.c.assignee == name,
    "job": _of_job,
    "po_prefix": lambda prefix: ORDERS.c.po_number.startswith(prefix, autoescape=True),
    "created_from": lambda first: ORDERS.c.created_at >= first,
    "created_to": lambda end: ORDERS.c.created_at < end,
    "ended_from": _ended_since,
    "min_minor": lambda least: ORDERS.c.value_minor >= least,
    "max_minor": lambda most: ORDERS.c.value_minor <= most,
    "not_types": ORDERS.c.type.not_in,
    "not_sources": ORDERS.c.source.not_in,
    "not_reasons": lambda reasons: sa.not_(_needs_decision_for(reasons)),
}


def ordering(filters: Filters, *, backwards: bool = False) -> list[Any]:
    """What to sort by; the id decides between equals."""
    column = ORDERS.c[SORTS.get(filters.sort, "created_at")]
    descending = filters.descending != backwards
    first, then = (each.desc() if descending else each.asc() for each in (column, ORDERS.c.id))
    if not column.nullable:
        return [first, then]
    return [first.nulls_first() if backwards else first.nulls_last(), then]
