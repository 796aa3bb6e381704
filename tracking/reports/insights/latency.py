"""Detection delay: where the time of completed orders went, of one order and of all by hour or day.

Reads only, all bounded. Orders that were complete when they were first seen are not in it: nobody knows when they were
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
from tracking.orders.wording import count, longest
from tracking.reports.trends import day_start
from tracking.startup import pd
from tracking.storage.counters import hour_of
from tracking.storage.database import Database
from tracking.storage.tables import CALLBACKS, EVENTS, ORDERS

ORDERS_MEASURED = 4_000  # a fifth of a second's work, in the process that also asks and listens
COMPLETIONS_SEARCHED = 10_000  # for those that can be measured, and for how many cannot
TARGET = timedelta(seconds=5)  # for the delay: what somebody who waits for an order does not notice
_MEASURES = (*PARTS, "lag")
_ENDS = tuple(f"{name}_{end}" for name in _MEASURES for end in ("least", "most"))
_SHARES = {"p50": 0.5, "p95": 0.95}
_DELAYS = tuple(f"{share}_{end}" for share in _SHARES for end in ("least", "most"))
LATENCY_COLUMNS = ("hour", "orders", "stated", *_DELAYS, *_ENDS[:-2])


@dataclass(frozen=True, slots=True)
class LatencyReport:
    """Where the time of completed orders went.

    Attributes:
        rows: by the hour or day in UTC in which orders were known complete: hour (its start), orders, stated (how many
            of them rest on a time the provider stated), `p50_least`, `p50_most`, `p95_least`, `p95_most` of the delay,
            and the parts of the median order as `<part>_least` and `<part>_most`; all in seconds.
        orders: how many orders that rests on.
        finding: how many were detected within TARGET, and how long it took, in a sentence.
        details: where the time of the median order went, and how many are not in it: nobody knows when they were done.
    """

    rows: pd.DataFrame
    orders: int
    finding: str
    details: str


def breakdown_of(connection: Connection, order_id: int) -> LatencyBreakdown | None:
    """Break down where the time of this order went; None unless it is complete and was polled while open."""
    row = connection.execute(_one_order(), {"wanted": order_id}).first()
    return None if row is None else break_down(CompletionTimes(*row))


def latency_report(database: Database, since: datetime, *, hourly: bool = False) -> LatencyReport:
    """Report where the time of the orders went that were known complete from `since` on, by hour or by day."""
    with database.read() as connection:
        rows = connection.execute(_newest(since)).all()
        unknown, more = _count_unknown(connection, since)
    traces = [CompletionTimes(*row) for row in rows[:ORDERS_MEASURED]]
    if not traces:
        empty = pd.DataFrame(columns=list(LATENCY_COLUMNS))
        return LatencyReport(empty, 0, "No completions observed in this period.", _unknown_text(unknown, more=more))
    start = hour_of if hourly else day_start
    splits = [_seconds(start(trace.completed_by), break_down(trace)) for trace in traces]
    frame = pd.DataFrame(splits, columns=["hour", "stated", "unfit", *_ENDS[:-2]])
    for end in ("least", "most"):
        frame[f"lag_{end}"] = sum(frame[f"{part}_{end}"] for part in PARTS[1:])
    finding = _finding(frame, capped=len(rows) > ORDERS_MEASURED)
    details = " ".join(filter(None, (_median_text(frame), _stated_text(frame), _unknown_text(unknown, more=more))))
    return LatencyReport(_by_hour(frame), len(frame), finding, details)


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
    searched = _searched(since).subquery()
    newest = _completed().where(EVENTS.c.id.in_(select(searched.c.id))).order_by(EVENTS.c.learned_at.desc())
    traced = _with_stated_time(newest.limit(ORDERS_MEASURED + 1))
    return traced.order_by(traced.selected_columns.completed_by.desc())


def _searched(since: datetime) -> Any:
    """Select the newest completions since then, COMPLETIONS_SEARCHED at the most."""
    of_kind = select(EVENTS.c.id, EVENTS.c.order_id).where(EVENTS.c.kind == EventKind.COMPLETED)
    newest = of_kind.where(EVENTS.c.learned_at >= since).order_by(EVENTS.c.learned_at.desc())
    return newest.limit(COMPLETIONS_SEARCHED)


def _count_unknown(connection: Connection, since: datetime) -> tuple[int, bool]:
    """How many of the newest completions cannot be measured, and whether there may be more of them."""
    searched = _searched(since).subquery()
    counted = sa.func.count(), sa.func.sum(sa.case((_MEASURABLE, 0), else_=1))
    joined = searched.join(ORDERS, ORDERS.c.id == searched.c.order_id)
    looked_at, unknown = connection.execute(select(*counted).select_from(joined)).one()
    return int(unknown or 0), looked_at >= COMPLETIONS_SEARCHED


def _seconds(start: datetime, one: LatencyBreakdown) -> tuple[Any, ...]:
    """The hour or day, what the provider's own word is worth, the ends of each part: this is done for all orders."""
    early, late, word = one.early, one.late, one.stated_time
    ends = (early.provider, late.provider, late.notice, early.notice, late.wait, early.wait, late.handling)
    seconds = (end.total_seconds() for end in (*ends, early.handling))
    return start, word is StatedTime.BELIEVED, word is StatedTime.UNFIT, *seconds


def _by_hour(frame: pd.DataFrame) -> pd.DataFrame:
    hours = frame.groupby("hour")
    counted = {"orders": hours.size(), "stated": hours["stated"].sum()}
    delays = {
        f"{name}_{end}": hours[f"lag_{end}"].quantile(share, interpolation="higher")
        for name, share in _SHARES.items()
        for end in ("least", "most")
    }
    parts = pd.DataFrame({start: _median_order(rows)[list(_ENDS[:-2])] for start, rows in hours}).T
    return pd.DataFrame({**counted, **delays}).join(parts.astype(float)).rename_axis("hour").reset_index()


def _median_order(frame: pd.DataFrame) -> pd.Series:
    """The order in the middle by the most that its delay can have been: half were detected as soon, or sooner."""
    return frame.sort_values("lag_most", kind="stable").iloc[len(frame) // 2]


# In words


def _finding(frame: pd.DataFrame, *, capped: bool) -> str:
    p50, p95 = (
        within(*_ends_of(frame[["lag_least", "lag_most"]].quantile(share, interpolation="higher"), "lag"))
        for share in _SHARES.values()
    )
    completions = f"{'the newest ' if capped else ''}{count(len(frame), 'completion')}"
    return f"{_share_text(frame)} of {completions} detected within {longest(TARGET)}: p50 {p50}, p95 {p95}."


def _share_text(frame: pd.DataFrame) -> str:
    """How many were detected within the target, as far as is known; of a hundred or more in percent, outwards."""
    surely, perhaps = (int((frame[f"lag_{end}"] <= TARGET.total_seconds()).sum()) for end in ("most", "least"))
    many = len(frame) >= 100
    least, most = (100 * surely // len(frame), -(-100 * perhaps // len(frame))) if many else (surely, perhaps)
    return f"{least if least == most else f'{least} to {most}'}{' %' if many else ''}"


def _median_text(frame: pd.DataFrame) -> str:
    texts = {name: between(*_ends_of(_median_order(frame), name)) for name in PARTS}
    return (
        f"The median order: webhook {texts['notice']}, polling {texts['wait']}, processing {texts['handling']}; "
        f"the provider took {texts['provider']}."
    )


def _ends_of(seconds: pd.Series, name: str) -> tuple[timedelta, timedelta]:
    least, most = (timedelta(seconds=float(seconds[f"{name}_{end}"])) for end in ("least", "most"))
    return least, most


def _stated_text(frame: pd.DataFrame) -> str:
    stated, unfit = int(frame["stated"].sum()), int(frame["unfit"].sum())
    rests = f"{stated:,} {'uses' if stated == 1 else 'use'} the provider's own timestamp." if stated else ""
    verb = "contradicts our polls and was" if unfit == 1 else "contradict our polls and were"
    wrong = f"{count(unfit, 'provider timestamp')} {verb} ignored." if unfit else ""
    return f"{rests} {wrong}".strip()


def _unknown_text(unknown: int, *, more: bool) -> str:
    if not unknown:
        return ""
    many = f"{'At least ' if more else ''}{unknown:,}"
    return f"{many} excluded (already complete when first seen, or no accepted time)."
