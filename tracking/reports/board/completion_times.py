"""Completion times: how long orders took, by delivery type and by the hour or day they completed in. Bounded reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from tracking.orders.vocabulary import EventKind
from tracking.reports import trends
from tracking.startup import pd
from tracking.storage.counters import hour_of
from tracking.storage.database import Database
from tracking.storage.tables import EVENTS, ORDERS

COMPLETIONS_READ = 20_000
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
    """Times to completion by delivery type, the type of the most orders first; `capped`: only the newest were read."""

    by_type: Mapping[str, TimesOfType]
    capped: bool


def completion_times(database: Database, now: datetime, span: str) -> CompletionTimes:
    """How long orders took, by the hour (day for more than 24h) they were seen complete in.

    Counted are orders that a poll had seen open before: of those found finished, nobody knows how long they took. The
    time is the longest it can have been, up to the poll that showed it.
    """
    since, step = trends.span_start(now, span), hour_of if span == "24h" else trends.day_start
    observed = ORDERS.c.last_open_at.is_not(None), ORDERS.c.completed_by.is_not(None)
    done = select(ORDERS.c.type, ORDERS.c.completed_by, ORDERS.c.created_at).join(
        EVENTS, EVENTS.c.order_id == ORDERS.c.id
    )
    done = done.where(EVENTS.c.kind == EventKind.COMPLETED, EVENTS.c.learned_at >= since, *observed)
    with database.read() as connection:
        newest = done.order_by(EVENTS.c.learned_at.desc()).limit(COMPLETIONS_READ + 1)
        rows = connection.execute(newest).all()
    capped = len(rows) > COMPLETIONS_READ
    took = [(of_type, step(by), max(0.0, (by - made).total_seconds())) for of_type, by, made in rows[:COMPLETIONS_READ]]
    frame = pd.DataFrame(took, columns=["type", "hour", "seconds"])
    types = frame["type"].value_counts().index
    return CompletionTimes({str(name): _times_of_type(frame[frame["type"] == name]) for name in types}, capped)


def _times_of_type(frame: pd.DataFrame) -> TimesOfType:
    grouped = frame.groupby("hour")["seconds"]
    # A time that one of them took: what lies between two would hold for too few.
    columns = {name: grouped.quantile(share, interpolation="higher") for name, share in SHARES.items()}
    rows = pd.DataFrame({**columns, "orders": grouped.size()}).reset_index()
    p50, p95 = (
        timedelta(seconds=float(frame["seconds"].quantile(share, interpolation="higher"))) for share in SHARES.values()
    )
    return TimesOfType(rows, len(frame), p50, p95)
