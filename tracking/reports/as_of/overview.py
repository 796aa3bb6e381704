"""The overview's counts as of a moment: those of now less what changed since, hour by hour. Bounded reads.

The count at the full hour before is that of now less what the counters say changed since; what happened within the hour
is added up from its events. How many orders were late is no part of the log: it is known as it was recorded by the end
of the hour before, or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.orders import wording
from tracking.orders.model import State, is_open
from tracking.orders.wording import TimelineEntry
from tracking.reports.board import moves
from tracking.reports.trends import day_start
from tracking.storage.counters import LATE, Movement, decision_movements, hour_of, needs_decision, state_movements
from tracking.storage.database import Database
from tracking.storage.tables import COUNTERS, EVENTS, ORDERS

HOUR = timedelta(hours=1)
EVENTS_WITHIN_HOUR = 2_000  # and all others of their orders: a twentieth of a second's work
EVENTS_FOLDED = 20_000
CHANGES_LISTED = 12
_COUNTED = frozenset({"state", "attention", "acknowledged_at"})
Counts = Counter[tuple[str, str]]
"""By how much the counters of a name and a state grew."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts at one moment. `needs_decision` has snoozed orders among it, which the log's counters do not tell apart.

    `completed` are those of the moment's day (UTC), without those that were complete when first seen. `late` is None
    where nobody recorded it.
    """

    needs_decision: int
    late: int | None
    unconfirmed: int
    open: int
    completed: int
    by_state: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LatestEvent:
    """An event that was the newest then, and the order it is of."""

    po_number: str
    entry: TimelineEntry


@dataclass(frozen=True, slots=True)
class OverviewAsOf:
    """The counts as they were known at `moment`, and those of today.

    Where too much happened within the hour to be added up, `moment` is the full hour before `asked`. `late_at` is by
    when the late of then were counted. Before `first_at` nothing was recorded; None in an empty database. The completed
    of `today` are those of the same day as far as is known today.
    """

    asked: datetime
    moment: datetime
    first_at: datetime | None
    late_at: datetime
    then: Figures
    today: Figures
    latest: tuple[LatestEvent, ...]


def overview_as_of(database: Database, asked: datetime, now: datetime) -> OverviewAsOf:
    """Read the counts at a moment that is over. Raises ValueError for one that is yet to come."""
    if asked > now:
        raise ValueError("that time is yet to come")
    with database.snapshot() as connection:
        hour = hour_of(asked)
        within = _within_hour(connection, hour, asked)
        moment = hour if within is None else asked
        today = _today(connection, hour, now)
        since = _since(connection, hour)
        first = select(EVENTS.c.learned_at).order_by(EVENTS.c.learned_at).limit(1)
        return OverviewAsOf(
            asked=asked,
            moment=moment,
            first_at=connection.execute(first).scalar(),
            late_at=hour,
            then=_then(connection, today, hour, since, within or Counter()),
            today=today,
            latest=_latest(connection, moment),
        )


def _today(connection: Connection, hour: datetime, now: datetime) -> Figures:
    by_state = {row.state: int(row.orders) for row in moves.open_stock(connection)}
    return Figures(
        needs_decision=sum(moves.need_decision(connection, now)),
        late=sum(moves.late(connection, now)),
        unconfirmed=by_state.get(State.UNKNOWN, 0),
        open=sum(by_state.values()),
        completed=_completed(connection, day_start(hour), day_start(hour) + 24 * HOUR),
        by_state=by_state,
    )


def _then(connection: Connection, today: Figures, hour: datetime, since: Counts, within: Counts) -> Figures:
    def grown(name: str, state: str) -> int:
        return within[name, state] - since[name, state]

    found = moves.FIRST_SIGHT
    words = {state.removeprefix(found) for _, state in (*since, *within) if is_open(state.removeprefix(found))}
    levels = {
        state: today.by_state.get(state, 0) + grown("flow", state) + grown("flow", found + state) - grown("left", state)
        for state in sorted({*words, *today.by_state} - {"needed", "settled"})
    }
    return Figures(
        needs_decision=today.needs_decision + grown("decisions", "needed") - grown("decisions", "settled"),
        late=_late_recorded(connection, hour - HOUR),
        unconfirmed=levels.get(State.UNKNOWN, 0),
        open=sum(levels.values()),
        completed=_completed(connection, day_start(hour), hour) + within["flow", State.COMPLETED],
        by_state={state: number for state, number in levels.items() if number},
    )


def _since(connection: Connection, hour: datetime) -> Counts:
    """What the counters grew by from that hour on."""
    names = COUNTERS.c.name.in_(("flow", "left", "decisions")), COUNTERS.c.hour >= hour
    sums = select(COUNTERS.c.name, COUNTERS.c.state, sa.func.sum(COUNTERS.c.orders)).where(*names)
    rows = connection.execute(sums.group_by(COUNTERS.c.name, COUNTERS.c.state))
    return Counter({(name, state): int(orders) for name, state, orders in rows})


def _completed(connection: Connection, start: datetime, end: datetime) -> int:
    within = COUNTERS.c.name == "flow", COUNTERS.c.state == State.COMPLETED, COUNTERS.c.hour >= start
    total = select(sa.func.sum(COUNTERS.c.orders)).where(*within, COUNTERS.c.hour < end)
    return int(connection.execute(total).scalar() or 0)


def _late_recorded(connection: Connection, hour: datetime) -> int | None:
    at = COUNTERS.c.name == LATE, COUNTERS.c.hour == hour
    number: int | None = connection.execute(select(COUNTERS.c.orders).where(*at)).scalar()
    return number


def _within_hour(connection: Connection, hour: datetime, moment: datetime) -> Counts | None:
    """What the counters grew by from the full hour to the moment, by the events; None where these are too many."""
    learned = EVENTS.c.learned_at >= hour, EVENTS.c.learned_at <= moment
    many = select(EVENTS.c.learned_at).where(*learned).offset(EVENTS_WITHIN_HOUR).limit(1)
    if connection.execute(many).first() is not None:
        return None
    events = select(EVENTS.c.order_id, EVENTS.c.changes).where(*learned)
    rows = connection.execute(events).all() if moment > hour else []
    touched = sorted({order_id for order_id, changes in rows if not _COUNTED.isdisjoint(changes)})
    counts: Counts = Counter()
    left = EVENTS_FOLDED
    for at in range(0, len(touched), 500):
        history = _histories(connection, touched[at : at + 500], left)
        if history is None:
            return None
        left -= len(history)
        for _, group in groupby(history, itemgetter(0)):
            for name, _hour, state, sign in _movements(group, hour, moment):
                counts[name, state] += sign
    return counts


def _histories(connection: Connection, ids: Sequence[int], most: int) -> Sequence[Any] | None:
    """The events of these orders in the order they were stored, not always that of their times; None for too many."""
    columns = (EVENTS.c[name] for name in ("order_id", "learned_at", "changes", "detail"))
    query = select(*columns).where(EVENTS.c.order_id.in_(ids))
    rows = connection.execute(query.order_by(EVENTS.c.order_id, EVENTS.c.seq).limit(most + 1)).all()
    return rows if len(rows) <= most else None


def _movements(events: Iterable[Any], hour: datetime, moment: datetime) -> Iterable[Movement]:
    """What one order's events within the hour add to the counters, as it was counted when they were stored."""
    facts: dict[str, Any] = {}
    for _, learned_at, changes, detail in events:
        before, needed = facts.get("state"), needs_decision(facts.get("attention"), facts.get("acknowledged_at"))
        facts |= {name: changes[name] for name in _COUNTED & changes.keys()}
        if hour <= learned_at <= moment:
            needs = needs_decision(facts.get("attention"), facts.get("acknowledged_at"))
            sight = bool(detail.get("first_sight"))
            yield from state_movements(before, facts["state"], hour, hour, first_sight=sight)
            yield from decision_movements(needed, needs, hour)


def _latest(connection: Connection, moment: datetime) -> tuple[LatestEvent, ...]:
    """The newest events of then, newest first."""
    newest = select(EVENTS, ORDERS.c.po_number).join(ORDERS, ORDERS.c.id == EVENTS.c.order_id)
    newest = newest.where(EVENTS.c.learned_at <= moment).order_by(EVENTS.c.learned_at.desc(), EVENTS.c.id.desc())
    rows = connection.execute(newest.limit(CHANGES_LISTED)).mappings()
    return tuple(LatestEvent(row["po_number"], wording.describe_event(row)) for row in rows)
