"""Reads the recorded history of orders from the store, for a backtest to replay. Bounded reads.

A poll only tells that an order was open at one time and finished at a later one. So each finish is drawn from the time
it must lie in, by a seeded draw, and it is said how wide those times are: what was measured live is a range.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection, select
from sqlalchemy.engine import Row

from tracking.forecasting.classes import class_of
from tracking.forecasting.learned import estimated_webhook_share
from tracking.forecasting.survival import Array
from tracking.orders.latency import CompletionTimes, StatedTime, completion_window
from tracking.orders.model import State, Submission
from tracking.orders.vocabulary import EventKind
from tracking.polling.backtest.model import NEVER, History
from tracking.provider.call_log import calls_complete_since
from tracking.storage.database import Database
from tracking.storage.tables import CALLBACKS, EVENTS, EXCHANGES, ORDERS
from tracking.webhooks import silence_alarm

ORDERS_REPLAYED = 2_000
CALLBACKS_READ = 5 * ORDERS_REPLAYED
ENOUGH = 20  # finished orders: with fewer, what a plan comes to is chance
SEED = 1

_CALLS = ("singles", "pages", "discoveries", "aside")
_READ: tuple[str, ...] = ("id", "type", "units", "state", "submission", "accepted_at", "last_open_at")
_READ += ("completed_after", "completed_by", "claimed_at")


@dataclass(frozen=True, slots=True)
class Range:
    """A figure that is not known exactly: what it is by the drawn finishes, and the least and the most it can be."""

    value: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class CallCounts:
    """The calls that were really made for open orders.

    `singles`: polls of one order. `pages`: list pages for several. `discoveries`: list pages that looked for orders
    placed elsewhere. `aside`: polls of orders that had finished, or that are older than the history: no plan replays
    them. `takes`: the seconds that a call took (mean).
    """

    singles: int
    pages: int
    discoveries: int
    aside: int
    takes: float

    @property
    def total(self) -> int:
        """All that a plan would make too."""
        return self.singles + self.pages + self.discoveries


@dataclass(frozen=True)
class RecordedHistory:
    """A history that can be replayed, how well it is known, and how its finishes were really detected.

    Delays are in seconds. Left out are orders that were finished when they were discovered (`finished_before`) or did
    not finish (`cancelled`), and those from before calls were on record (`earlier`).
    """

    history: History
    since: datetime  # from when on orders are in it
    until: datetime  # when the last finish was detected
    finished: int  # the others are still open
    finished_before: int
    cancelled: int
    earlier: int
    newest_only: bool  # more orders were placed than were read
    finish_uncertainty: float  # half of the finishes are known to so many seconds
    stated: int  # finishes that a webhook states, or the answer to the order
    webhook_share: float  # of completions, those that webhooks are expected to announce
    calls: CallCounts | None  # None where no calls are on record
    mean: Range
    p95: Range
    longest: Range

    @property
    def calls_an_hour(self) -> float | None:
        """The calls that were really made, an hour; None where nobody knows."""
        hours = max((self.until - self.since) / timedelta(hours=1), 1 / 3600)
        return self.calls.total / hours if self.calls else None


@dataclass(frozen=True, slots=True)
class _RecordedOrder:
    """One order: it finished between `low` and `high`, None where it is open still; `detected` by a poll or a page."""

    name: str
    webhook_expected: bool
    arrived: datetime
    low: datetime | None = None
    high: datetime | None = None
    detected: datetime | None = None
    webhook_at: datetime | None = None
    stated: bool = False


def read_history(database: Database, since: datetime) -> RecordedHistory | None:
    """Reads the history since then; None where too few orders finished in it.

    Where calls are on record for a part of that time that is long enough, it is the history of that part.
    """
    with database.read() as connection:
        rows, newest_only = _orders(connection, since)
        used = [row for row in rows if row.state != State.CANCELLED and not _finished_before(row)]
        all_orders = sorted(_recorded_orders(connection, used), key=lambda one: one.arrived)
        alarm = silence_alarm.latest_alarm(connection)
        first_call = calls_complete_since(connection)
        with_calls = [one for one in all_orders if first_call is not None and one.arrived >= first_call]
        covered = len(_finished(with_calls)) >= ENOUGH
        orders = with_calls if covered else all_orders
        if len(done := _finished(orders)) < ENOUGH:
            return None
        began, until = orders[0].arrived, max(one.detected for one in done if one.detected is not None)
        calls = _count_calls(connection, began, until) if covered else None
    low, high, detected = (_seconds(done, name) for name in ("low", "high", "detected"))
    rng = random.Random(SEED)  # noqa: S311 - a draw that must be repeatable guards nothing  # nosec B311
    drawn = low + np.array([rng.random() for _ in done]) * (high - low)
    cancelled = sum(row.state == State.CANCELLED for row in rows)

    def ranged(figure: Callable[[Array], Any]) -> Range:
        """A quantile rises with every delay, so those of the shortest and of the longest bound it."""
        return Range(*(float(figure(np.maximum(detected - at, 0.0))) for at in (drawn, high, low)))

    return RecordedHistory(
        history=_history(orders, drawn),
        since=began,
        until=until,
        finished=len(done),
        finished_before=len(rows) - len(used) - cancelled,
        cancelled=cancelled,
        earlier=len(all_orders) - len(orders),
        newest_only=newest_only,
        finish_uncertainty=float(np.median(high - low)),
        stated=sum(one.stated for one in done),
        webhook_share=0.0 if alarm is not None and alarm.ended_at is None else estimated_webhook_share(rows),
        calls=calls,
        mean=ranged(np.mean),
        p95=ranged(lambda delays: np.quantile(delays, 0.95)),
        longest=ranged(np.max),
    )


def _orders(connection: Connection, since: datetime) -> tuple[Sequence[Row[Any]], bool]:
    """The newest orders that were placed since then and taken by the provider, and whether there are more."""
    taken = select(*(ORDERS.c[name] for name in _READ)).where(
        ORDERS.c.created_at >= since, ORDERS.c.accepted_at.is_not(None)
    )
    newest = taken.order_by(ORDERS.c.created_at.desc(), ORDERS.c.id.desc()).limit(ORDERS_REPLAYED + 1)
    rows = connection.execute(newest).all()
    return rows[:ORDERS_REPLAYED], len(rows) > ORDERS_REPLAYED


def _finished_before(row: Row[Any]) -> bool:
    """Whether it was finished when it was discovered, perhaps for days."""
    was_open = row.last_open_at is not None or row.submission != Submission.ELSEWHERE
    return row.completed_by is not None and not was_open


def _finished(orders: Sequence[_RecordedOrder]) -> list[_RecordedOrder]:
    return [one for one in orders if one.detected is not None]


def _recorded_orders(connection: Connection, rows: Sequence[Row[Any]]) -> list[_RecordedOrder]:
    """Each order with what is on record of its finish: polls, genuine webhook calls and the answer to the order."""
    finished_ids = [row.id for row in rows if row.completed_by is not None]
    genuine = select(CALLBACKS.c.order_id, CALLBACKS.c.received_at, CALLBACKS.c.stated_at).where(
        # As an expression, or SQLite would read all that were ever accepted by their index.
        CALLBACKS.c.order_id.in_(finished_ids),
        CALLBACKS.c.outcome.concat("") == "accepted",
    )
    received, stated = defaultdict(list), {}
    for row in connection.execute(genuine.order_by(CALLBACKS.c.received_at).limit(CALLBACKS_READ)):
        received[row.order_id].append(row.received_at)
        if row.stated_at is not None:
            stated[row.order_id] = row.stated_at
    answers = select(EVENTS.c.order_id, EVENTS.c.detail).where(
        EVENTS.c.order_id.in_(finished_ids), EVENTS.c.kind == EventKind.ACCEPTED
    )
    answered = connection.execute(answers.limit(ORDERS_REPLAYED))
    at_once = {row.order_id for row in answered if row.detail.get("status") == State.COMPLETED}
    return [_recorded_order(row, received[row.id], stated.get(row.id), at_once=row.id in at_once) for row in rows]


def _recorded_order(
    row: Row[Any], webhooks_at: Sequence[datetime], stated: datetime | None, *, at_once: bool
) -> _RecordedOrder:
    """Between which times the order finished, and when it was announced."""
    begun: datetime = row.accepted_at
    recorded = partial(_RecordedOrder, class_of(row.type, row.units), row.submission != Submission.ELSEWHERE, begun)
    if row.completed_by is None:
        return recorded()
    low, high = min(row.completed_after or begun, row.completed_by), row.completed_by
    if at_once and low <= begun:  # the answer said so, and no poll has contradicted it
        return recorded(begun, begun, row.completed_by, begun, stated=True)
    # A claim from before a poll that still said open was premature: it bounds nothing and tells nobody anything.
    claims = [moment for moment in (row.claimed_at, *webhooks_at) if moment is not None and moment > low]
    webhook_at = min(claims, default=None)
    low, high, word = completion_window(CompletionTimes(begun, low, high, high, webhook_at, stated))
    low, high = max(low, begun), max(high, begun)
    announced = None if webhook_at is None else max(webhook_at, high)
    return recorded(low, high, max(row.completed_by, high), announced, stated=word is StatedTime.BELIEVED)


def _count_calls(connection: Connection, began: datetime, until: datetime) -> CallCounts:
    """The calls for orders within that time, as far as a plan would make them too."""
    path, at = EXCHANGES.c.path, EXCHANGES.c.at
    after = sa.or_(at > ORDERS.c.completed_by, ORDERS.c.accepted_at < began)
    kind = sa.case(
        (sa.and_(path.like("/v1/Orders/%"), after), "aside"),
        (path.like("/v1/Orders/%"), "singles"),
        (path.like("/v1/Orders?%endDate=%"), "pages"),
        (path.like("/v1/Orders?%startDate=%"), "discoveries"),
    )
    spent = sa.func.sum(EXCHANGES.c.milliseconds).label("spent")
    made = select(kind.label("kind"), sa.func.count().label("calls"), spent).select_from(
        EXCHANGES.outerjoin(ORDERS, ORDERS.c.id == EXCHANGES.c.order_id)
    )
    within = made.where(EXCHANGES.c.method == "GET", at >= began, at <= until).group_by(kind)
    rows = {row.kind: row for row in connection.execute(within) if row.kind is not None}
    singles, pages, discoveries, aside = (int(rows[name].calls) if name in rows else 0 for name in _CALLS)
    takes = sum(float(row.spent) for row in rows.values()) / 1000 / max(singles + pages + discoveries + aside, 1)
    return CallCounts(singles, pages, discoveries, aside, takes)


def _history(orders: Sequence[_RecordedOrder], drawn: Array) -> History:
    finished = np.full(len(orders), NEVER)
    finished[[one.detected is not None for one in orders]] = drawn
    webhook_at = np.maximum(_seconds(orders, "webhook_at"), finished)
    webhook_at[np.isinf(finished)] = NEVER
    webhook_expected = np.array([one.webhook_expected for one in orders], dtype=np.bool_)
    return History(_seconds(orders, "arrived"), finished, [one.name for one in orders], webhook_at, webhook_expected)


def _seconds(orders: Sequence[_RecordedOrder], name: str) -> Array:
    """These times in seconds since 1970, as whole ones of them are what the provider tells."""
    moments = (getattr(one, name) for one in orders)
    return np.array([NEVER if at is None else at.timestamp() for at in moments], dtype=np.float64)
