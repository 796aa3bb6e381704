"""Outages that the store shows: API calls that failed one after another, silent webhooks, silent workers.

Only the newest API calls are stored, of silent webhooks only the last time, and of workers only when each was last at
work. What is not known of the past is said. Bounded reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, select

from tracking.provider.call_log import calls_complete_since
from tracking.reports.activity import ROWS_SEARCHED
from tracking.reports.health import is_unreachable
from tracking.reports.logs.calls import is_answered, outcome_label
from tracking.storage.tables import EXCHANGES
from tracking.webhooks.silence_alarm import SilenceAlarm, latest_alarm


@dataclass(frozen=True, slots=True)
class Outage:
    """Calls that failed one after another; `ended_at` is the first answer after them, None where none came yet.

    `why` is how most of them ended, in words.
    """

    began_at: datetime
    last_at: datetime
    ended_at: datetime | None
    calls: int
    why: str


@dataclass(frozen=True, slots=True)
class OutageReport:
    """The outages of a time, oldest first, of `calls` API calls, `failed` of which the provider did not answer.

    `calls_since`: from when on calls are counted, where earlier ones of the time are stored no more or are too many;
    else None. `silence` is the latest alarm about webhooks, where it was in that time.
    """

    outages: tuple[Outage, ...]
    calls: int
    failed: int
    calls_since: datetime | None
    silence: SilenceAlarm | None


@dataclass(slots=True)
class _Stretch:
    """Failed calls, as they are counted."""

    began_at: datetime
    last_at: datetime
    calls: int = 0
    labels: Counter[str] = field(default_factory=Counter)


def outage_report(connection: Connection, since: datetime, until: datetime) -> OutageReport:
    """Find the outages from `since` to `until`, among the newest ROWS_SEARCHED calls of that time."""
    newest = select(EXCHANGES.c.at, EXCHANGES.c.outcome, EXCHANGES.c.status)
    newest = newest.where(EXCHANGES.c.at >= since, EXCHANGES.c.at < until).order_by(EXCHANGES.c.at.desc())
    rows = [tuple(row) for row in connection.execute(newest.limit(ROWS_SEARCHED + 1))]
    complete_since = calls_complete_since(connection)
    is_whole = len(rows) <= ROWS_SEARCHED and complete_since is not None and complete_since < since
    rows = rows[:ROWS_SEARCHED][::-1]
    failed = sum(is_answered(outcome) is False for _, outcome, _ in rows)
    alarm = latest_alarm(connection)
    lasted = alarm is not None and alarm.since < until and (alarm.ended_at is None or alarm.ended_at >= since)
    calls_since = None if is_whole or not rows else rows[0][0]
    return OutageReport(tuple(_outages(rows)), len(rows), failed, calls_since, alarm if lasted else None)


def _outages(rows: Iterable[tuple[datetime, str, int | None]]) -> Iterator[Outage]:
    stretch: _Stretch | None = None
    for at, outcome, status in rows:
        answered = is_answered(outcome)
        if answered is None:
            continue
        if not answered:
            stretch = stretch or _Stretch(at, at)
            stretch.last_at, stretch.calls = at, stretch.calls + 1
            stretch.labels[outcome_label(outcome, status)] += 1
        elif stretch is not None:
            yield from _lasting(stretch, at)
            stretch = None
    if stretch is not None:
        yield from _lasting(stretch, None)


def _lasting(stretch: _Stretch, ended_at: datetime | None) -> Iterator[Outage]:
    """The outage of a stretch of failed calls, if it is long enough: a single call may fail because of its order."""
    if is_unreachable(stretch.calls, (ended_at or stretch.last_at) - stretch.began_at):
        [(why, _)] = stretch.labels.most_common(1)
        yield Outage(stretch.began_at, stretch.last_at, ended_at, stretch.calls, why)
