"""Completion times: how long orders took, by delivery type and by the hour or day they completed in. Bounded reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import select

from tracking.orders.vocabulary import EventKind
from tracking.reports import trends
from tracking.startup import pd
from tracking.storage.counters import hour_of
from tracking.storage.database import Database
from tracking.storage.tables import EVENTS, ORDERS

COMPLETIONS_READ = 2_400  # of a span, as many of each of its hours or days
MEASURABLE_ONE_IN = 5  # completions of others, which nobody here saw open, are passed over
SHARES = {"p50": 0.5, "p95": 0.95}


@dataclass(frozen=True, slots=True)
class TimesOfType:
    """How long orders of one delivery type took: `rows` has the columns hour, p50, p95 (seconds), orders."""

    rows: pd.DataFrame
    orders: int
    p50: timedelta
    p95: timedelta


@dataclass(frozen=True, slots=True)
class CompletionTimes:
    """Times to completion by delivery type, the type of the most orders first.

    `newest`: of each hour or day only so many were read, the newest; None where all were.
    """

    by_type: Mapping[str, TimesOfType]
    newest: int | None


def completion_times(database: Database, now: datetime, span: str) -> CompletionTimes:
    """How long orders took, by the hour (day for more than 24h) they were seen complete in.

    Counted are orders that a poll had seen open before: of those found finished, nobody knows how long they took. The
    time is the longest it can have been, up to the poll that showed it.
    """
    since, step = trends.span_start(now, span), hour_of if span == "24h" else trends.day_start
    begins = sorted({step(start) for start in trends.step_starts(now, span)})
    each = COMPLETIONS_READ // len(begins)
    ends = [*begins[1:], None]
    parts = [_newest(max(begin, since), end, each) for begin, end in zip(begins, ends, strict=True)]
    with database.read() as connection:
        rows = connection.execute(sa.union_all(*parts)).all()
    counts = Counter(row.part for row in rows)
    full = any(counts[row.part] >= each or row.searched >= each * MEASURABLE_ONE_IN for row in rows)
    took = [(row.type, step(row.completed_by), _seconds(row.created_at, row.completed_by)) for row in rows]
    frame = pd.DataFrame(took, columns=["type", "hour", "seconds"])
    types = frame["type"].value_counts().index
    by_type = {str(name): _times_of_type(frame[frame["type"] == name]) for name in types}
    return CompletionTimes(by_type, each if full else None)


def _seconds(begin: datetime, end: datetime) -> float:
    return max(0.0, (end - begin).total_seconds())


def _newest(begin: datetime, end: datetime | None, most: int) -> Any:
    """Select the newest so many of a part of the span: part, type, completed_by, created_at, how many were searched."""
    learned = EVENTS.c.learned_at
    within = [EVENTS.c.kind == EventKind.COMPLETED, learned >= begin, *([] if end is None else [learned < end])]
    done = select(EVENTS.c.order_id, learned).where(*within).order_by(learned.desc()).limit(most * MEASURABLE_ONE_IN)
    completions = done.subquery()
    observed = ORDERS.c.last_open_at.is_not(None), ORDERS.c.completed_by.is_not(None)
    columns = ORDERS.c.type, ORDERS.c.completed_by, ORDERS.c.created_at
    newest = select(*columns).join(completions, completions.c.order_id == ORDERS.c.id).where(*observed)
    part = newest.order_by(completions.c.learned_at.desc()).limit(most).subquery()
    searched = select(sa.func.count()).select_from(completions).scalar_subquery()
    named = sa.literal(begin.isoformat()).label("part"), searched.label("searched")
    return select(*named, part.c.type, part.c.completed_by, part.c.created_at)


def _times_of_type(frame: pd.DataFrame) -> TimesOfType:
    grouped = frame.groupby("hour")["seconds"]
    # A time that one of them took: what lies between two would hold for too few.
    columns = {name: grouped.quantile(share, interpolation="higher") for name, share in SHARES.items()}
    rows = pd.DataFrame({**columns, "orders": grouped.size()}).reset_index()
    p50, p95 = (
        timedelta(seconds=float(frame["seconds"].quantile(share, interpolation="higher"))) for share in SHARES.values()
    )
    return TimesOfType(rows, len(frame), p50, p95)
