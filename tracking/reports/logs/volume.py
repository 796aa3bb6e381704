"""Volume: count webhooks, API calls or events in 60 bars over a span of time, by outcome or source. Bounded reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import sqlalchemy as sa
from sqlalchemy import select

from tracking.reports.activity import ROWS_SEARCHED, within
from tracking.reports.logs.calls import THROTTLED, UNAVAILABLE
from tracking.startup import pd
from tracking.storage.database import Database
from tracking.storage.tables import CALLBACKS, EVENTS, EXCHANGES

BARS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """How many rows there were in each bar. It equals itself alone, so that what is drawn of it can be remembered.

    Attributes:
        rows: start (of the bar, UTC), group (outcome or source, as stored), number; empty bars are left out.
        start: where the first bar begins.
        step: how long a bar is.
        capped: whether only the newest ROWS_SEARCHED rows of the span were counted.
    """

    rows: pd.DataFrame
    start: datetime
    step: timedelta
    capped: bool

    @property
    def end(self) -> datetime:
        """Where the last bar ends."""
        return self.start + BARS * self.step


def bars_of(now: datetime, span: timedelta) -> tuple[datetime, timedelta]:
    """Compute where the first bar begins, and how long each is: they begin at full multiples of their length."""
    step = max(1, math.ceil(span.total_seconds() / BARS))
    last = int(now.timestamp()) // step * step
    return datetime.fromtimestamp(last - (BARS - 1) * step, UTC), timedelta(seconds=step)


def webhook_volume(database: Database, now: datetime, span: timedelta) -> Volume:
    """Count webhooks by outcome, when they came first."""
    return _volume(database, now, span, CALLBACKS.c.received_at, CALLBACKS.c.outcome)


def call_volume(database: Database, now: datetime, span: timedelta, *, method: str = "") -> Volume:
    """Count API calls by outcome; those that were told that nothing can be had as UNAVAILABLE."""
    conditions = [EXCHANGES.c.method == method] if method else []
    unavailable = (EXCHANGES.c.outcome == THROTTLED) & (EXCHANGES.c.status == HTTPStatus.SERVICE_UNAVAILABLE.value)
    outcome = sa.case((unavailable, UNAVAILABLE), else_=EXCHANGES.c.outcome)
    return _volume(database, now, span, EXCHANGES.c.at, outcome, *conditions)


def event_volume(database: Database, now: datetime, span: timedelta, *, kinds: Sequence[str] = ()) -> Volume:
    """Count events by source, when they were recorded."""
    conditions = [EVENTS.c.kind.in_(kinds)] if kinds else []
    return _volume(database, now, span, EVENTS.c.learned_at, EVENTS.c.witness, *conditions)


def _volume(database: Database, now: datetime, span: timedelta, at: Any, group: Any, *conditions: Any) -> Volume:
    start, step = bars_of(now, span)
    seconds = int(step.total_seconds())
    epoch = sa.extract("epoch", at)
    bar = (epoch - epoch % seconds).label("bar")
    group = group.label("group")
    counts = select(bar, group, sa.func.count().label("number")).where(within(at, start), *conditions)
    beyond = select(at).where(at >= start).order_by(at.desc()).offset(ROWS_SEARCHED).limit(1)
    with database.read() as connection:
        rows = connection.execute(counts.group_by(bar, group)).all()
        capped = connection.execute(beyond).first() is not None
    bars = [(datetime.fromtimestamp(int(row.bar), UTC), row.group, row.number) for row in rows]
    return Volume(pd.DataFrame(sorted(bars), columns=["start", "group", "number"]), start, step, capped)
