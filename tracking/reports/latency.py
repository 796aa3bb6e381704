"""Detection latency: where the time of completed orders went, of one order and of all, day by day.

Reads only, all bounded. Orders that were finished when they were first seen are not in it: nobody knows when they were
done. They are counted apart.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.orders.latency import PARTS, CompletionTimes, LatencyBreakdown, StatedTime, between, break_down, within
from tracking.orders.vocabulary import EventKind
from tracking.orders.wording import count
from tracking.reports.trends import day_start
from tracking.startup import pd
from tracking.storage.database import Database
from tracking.storage.tables import CALLBACKS, EVENTS, ORDERS

ORDERS_MEASURED = 10_000  # half a second's work, in the process that also asks and listens
_MEASURES = (*PARTS, "lag")
_ENDS = tuple(f"{name}_{end}" for name in _MEASURES for end in ("least", "most"))
LATENCY_COLUMNS = ("day", "orders", "stated", *_ENDS, "p95_least", "p95_most")


@dataclass(frozen=True, slots=True)
class LatencyReport:
    """Where the time of completed orders went.

    Attributes:
        rows: by the day in UTC on which orders were known complete: day, orders, stated (how many of them rest on a
            time the provider stated), the mean seconds of each part and of the lag as `<part>_least` and `<part>_most`,
            and `p95_least`, `p95_most` of the lag.
        orders: how many orders that rests on.
        text: all that in sentences; also how many are not in it, as nobody knows when they were done.
    """

    rows: pd.DataFrame
    orders: int
    text: str


def breakdown_of(connection: Connection, order_id: int) -> LatencyBreakdown | None:
    """Break down where the time of this order went; None unless it is complete and was polled while open."""
    row = connection.execute(_one_order(), {"wanted": order_id}).first()
    return None if row is None else break_down(CompletionTimes(*row))


def latency_report(database: Database, since: datetime) -> LatencyReport:
    """Report where the time of the orders went that were known complete from `since` on."""
    with database.read() as connection:
        rows = connection.execute(_newest(since)).all()
        unknown = int(connection.execute(_unknown(since)).scalar_one())
    traces = [CompletionTimes(*row) for row in rows[:ORDERS_MEASURED]]
    if not traces:
        return LatencyReport(pd.DataFrame(columns=list(LATENCY_COLUMNS)), 0, _unknown_text(unknown, 0))
    splits = [_seconds(trace.completed_by, break_down(trace)) for trace in traces]
    frame = pd.DataFrame(splits, columns=["day", "stated", "unfit", *_ENDS[:-2]])
    for end in ("least", "most"):
        frame[f"lag_{end}"] = sum(frame[f"{part}_{end}"] for part in PARTS[1:])
    texts = (
        _summary(frame, capped=len(rows) > ORDERS_MEASURED),
        _stated_text(frame),
        _unknown_text(unknown, len(frame)),
    )
    return LatencyReport(_by_day(frame), len(frame), " ".join(filter(None, texts)))


_MEASURABLE = sa.and_(ORDERS.c.last_open_at.is_not(None), ORDERS.c.accepted_at.is_not(None))


def _completed() -> Any:
    """Select the completed orders of the report and the polls that showed it."""
    times = ORDERS.c.accepted_at, ORDERS.c.completed_after, EVENTS.c.happened_at, ORDERS.c.completed_by
    return (
        select(ORDERS.c.id, *times, ORDERS.c.claimed_at)
        .join(EVENTS, sa.and_(EVENTS.c.order_id == ORDERS.c.id, EVENTS.c.kind == EventKind.COMPLETED))
        .where(_MEASURABLE, ORDERS.c.completed_after.is_not(None), ORDERS.c.completed_by.is_not(None))
    )


def _with_stated_time(completed: Any) -> Any:
    """Select the fields of `CompletionTimes` for each of these, with the time that the provider stated."""
    done, word, stated = completed.subquery("done"), CALLBACKS.alias("word"), CALLBACKS.alias("stated")
    # Of several the first that came after the last open look: what came before spoke too early.
    in_time = sa.func.min(sa.case((stated.c.received_at > done.c.completed_after, stated.c.id)))
    chosen = (
        select(sa.func.coalesce(in_time, sa.func.min(stated.c.id)))
        .where(stated.c.order_id == done.c.id, stated.c.outcome != "refused", stated.c.stated_at.is_not(None))
        .correlate(done)
        .scalar_subquery()
    )
    times = (each for name, each in done.c.items() if name != "id")
    return select(*times, word.c.stated_at, word.c.received_at).outerjoin_from(done, word, word.c.id == chosen)


@functools.cache
def _one_order() -> Any:
    """Made once: an open page asks every two seconds."""
    # A log counts from 1: to say so keeps SQLite from looking for the order among all completions.
    return _with_stated_time(_completed().where(ORDERS.c.id == sa.bindparam("wanted"), EVENTS.c.seq >= 1))


def _newest(since: datetime) -> Any:
    newest = _completed().where(EVENTS.c.learned_at >= since).order_by(EVENTS.c.learned_at.desc())
    traced = _with_stated_time(newest.limit(ORDERS_MEASURED + 1))
    return traced.order_by(traced.selected_columns.completed_by.desc())


def _unknown(since: datetime) -> Any:
    matches = (
        select(EVENTS.c.id)
        .join(ORDERS, ORDERS.c.id == EVENTS.c.order_id)
        .where(EVENTS.c.kind == EventKind.COMPLETED, EVENTS.c.learned_at >= since, sa.not_(_MEASURABLE))
        .limit(ORDERS_MEASURED)
    )
    return select(sa.func.count()).select_from(matches.subquery())


def _seconds(by: datetime, one: LatencyBreakdown) -> tuple[Any, ...]:
    """The day, what the provider's own word is worth, then the ends of each part: this is done for all orders."""
    early, late, word = one.early, one.late, one.stated_time
    ends = (early.provider, late.provider, late.notice, early.notice, late.wait, early.wait, late.handling)
    seconds = (end.total_seconds() for end in (*ends, early.handling))
    return day_start(by), word is StatedTime.BELIEVED, word is StatedTime.UNFIT, *seconds


def _by_day(frame: pd.DataFrame) -> pd.DataFrame:
    days = frame.groupby("day")
    counted = {"orders": days.size(), "stated": days["stated"].sum()}
    slowest = {f"p95_{end}": days[f"lag_{end}"].quantile(0.95, interpolation="higher") for end in ("least", "most")}
    return pd.DataFrame({**counted, **days[list(_ENDS)].mean(), **slowest}).reset_index()


# In words


def _summary(frame: pd.DataFrame, *, capped: bool) -> str:
    ends, number = frame[list(_ENDS)], len(frame)
    texts = {name: _in_words(ends.mean(), name) for name in _MEASURES}
    slowest = within(*_ends_of(ends.quantile(0.95, interpolation="higher"), "lag"))
    were, they = ("was", "it was") if number == 1 else ("were", "they were")
    newest, since = ("the newest ", f", from {frame['day'].min():%Y-%m-%d} on,") if capped else ("", "")
    return (
        f"{newest}{count(number, 'order')}{since} {were} known {texts['lag']} after {they} done, "
        f"on average: notice {texts['notice']}, our wait {texts['wait']}, handling {texts['handling']}; the provider "
        f"itself took {texts['provider']}. 95 of 100 were known within {slowest}."
    )


def _in_words(seconds: pd.Series, name: str) -> str:
    return between(*_ends_of(seconds, name))


def _ends_of(seconds: pd.Series, name: str) -> tuple[timedelta, timedelta]:
    least, most = (timedelta(seconds=float(seconds[f"{name}_{end}"])) for end in ("least", "most"))
    return least, most


def _stated_text(frame: pd.DataFrame) -> str:
    stated, unfit = int(frame["stated"].sum()), int(frame["unfit"].sum())
    rests = f"The time of {stated:,} rests on the provider's own word." if stated else ""
    wrong = f"Of {unfit:,} the provider stated a time that does not fit what looks showed." if unfit else ""
    return f"{rests} {wrong}".strip()


def _unknown_text(unknown: int, orders: int) -> str:
    if not unknown:
        return "" if orders else "No order completed."
    many = f"{'At least ' if unknown >= ORDERS_MEASURED else ''}{unknown:,}{' more' if orders else ''}"
    apart = f"{many} {'is' if unknown == 1 else 'are'} not in it: finished when first seen"
    return f"{apart}, or nobody said when the provider took {'it' if unknown == 1 else 'them'}."
