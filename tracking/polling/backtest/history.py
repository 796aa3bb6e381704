"""What happened to the orders, read back from the store so that it can be replayed. Bounded reads; writes nothing.

A look only tells that an order was open at one time and finished at a later one. So each finish is drawn from the time
it must lie in, by a seeded draw, and it is said how wide those times are: what was measured live is a range.
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
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
from tracking.storage.database import Database
from tracking.storage.tables import CALLBACKS, EVENTS, EXCHANGES, ORDERS
from tracking.webhooks import silence_alarm

ORDERS_READ = 2_000
CALLBACKS_READ = 5 * ORDERS_READ
ENOUGH = 20  # finished orders: with fewer, what a plan comes to is chance
SEED = 1

_KINDS = ("singles", "pages", "discoveries", "aside")
_READ: tuple[str, ...] = ("id", "type", "units", "state", "submission", "accepted_at", "last_open_at")
_READ += ("completed_after", "completed_by", "claimed_at")


@dataclass(frozen=True, slots=True)
class Range:
    """A figure that is not known exactly: what it is by the drawn finishes, and the least and the most it can be."""

    value: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Asked:
    """The calls that were really made for open orders.

    Attributes:
        singles: looks at one order.
        pages: list pages for several.
        discoveries: list pages that looked for orders placed elsewhere.
        aside: looks at orders that had finished, or that are older than the history: no plan replays them.
        takes: the seconds that a call took (mean).
    """

    singles: int
    pages: int
    discoveries: int
    aside: int
    takes: float

    @property
    def calls(self) -> int:
        """All that a plan would make too."""
        return self.singles + self.pages + self.discoveries


@dataclass(frozen=True, slots=True)
class Really:
    """What happened in the time of the history. Delays in seconds; `asked` is None where no calls are on record."""

    asked: Asked | None
    hours: float
    mean: Range
    p95: Range
    longest: Range

    @property
    def calls_an_hour(self) -> float | None:
        """The calls, an hour; None where nobody knows."""
        return self.asked.calls / max(self.hours, 1 / 3600) if self.asked else None


@dataclass(frozen=True)
class Recorded:
    """A history that can be replayed, and how well it is known.

    Attributes:
        history: what happened.
        really: how it was noticed.
        since: from when on orders are in it.
        until: when the last one was seen finished.
        finished: how many finished; the others are still open.
        found: left out, as they were finished when they were first seen.
        cancelled: left out, as they did not finish.
        earlier: left out, as no calls are on record from before `since`.
        cut: whether only the newest were read.
        known_to: half of the finishes are known to so many seconds.
        stated: how many finishes a callback states, or the answer to the order.
        heard: the share of completions that are expected to announce themselves.
    """

    history: History
    really: Really
    since: datetime
    until: datetime
    finished: int
    found: int
    cancelled: int
    earlier: int
    cut: bool
    known_to: float
    stated: int
    heard: float


@dataclass(frozen=True, slots=True)
class _Told:
    """What callbacks and the answer to the order say of its finish."""

    received: tuple[datetime, ...] = ()
    stated: datetime | None = None
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class _Course:
    """One order: it finished between `low` and `high`, None where it is open still; seen at `seen`."""

    name: str
    announces: bool
    arrived: datetime
    low: datetime | None = None
    high: datetime | None = None
    seen: datetime | None = None
    announced: datetime | None = None
    stated: bool = False


def read(database: Database, since: datetime) -> Recorded | None:
    """The history since then; None where too few orders finished in it.

    Where calls are on record for a part of that time that is long enough, it is the history of that part.
    """
    with database.read() as connection:
        rows, cut = _orders(connection, since)
        told = _told(connection, rows)
        alarm = silence_alarm.latest_alarm(connection)
        first_call = connection.execute(select(sa.func.min(EXCHANGES.c.at))).scalar()
        kept = [row for row in rows if row.state != State.CANCELLED and not _found(row)]
        courses = sorted((_course(row, told.get(row.id, _Told())) for row in kept), key=lambda one: one.arrived)
        common = [one for one in courses if first_call is not None and one.arrived >= first_call]
        covered = _finished(common) >= ENOUGH
        used = common if covered else courses
        if _finished(used) < ENOUGH:
            return None
        began, until = used[0].arrived, max(one.seen for one in used if one.seen is not None)
        asked = _asked(connection, began, until) if covered else None
    silent = alarm is not None and alarm.ended_at is None
    cancelled = sum(row.state == State.CANCELLED for row in rows)
    left_out = {"found": len(rows) - len(kept) - cancelled, "cancelled": cancelled, "earlier": len(courses) - len(used)}
    return _recorded(used, asked, 0.0 if silent else estimated_webhook_share(rows), left_out, cut=cut)


def _orders(connection: Connection, since: datetime) -> tuple[Sequence[Row[Any]], bool]:
    """The newest orders that were placed since then and taken by the provider, and whether there are more."""
    taken = select(*(ORDERS.c[name] for name in _READ)).where(
        ORDERS.c.created_at >= since, ORDERS.c.accepted_at.is_not(None)
    )
    newest = taken.order_by(ORDERS.c.created_at.desc(), ORDERS.c.id.desc()).limit(ORDERS_READ + 1)
    rows = connection.execute(newest).all()
    return rows[:ORDERS_READ], len(rows) > ORDERS_READ


def _found(row: Row[Any]) -> bool:
    """Whether it was finished when it was first seen, perhaps for days."""
    seen_open = row.last_open_at is not None or row.submission != Submission.ELSEWHERE
    return row.completed_by is not None and not seen_open


def _finished(courses: Sequence[_Course]) -> int:
    return sum(one.seen is not None for one in courses)


def _told(connection: Connection, rows: Sequence[Row[Any]]) -> Mapping[int, _Told]:
    """What is on record of each order's finish beside the looks."""
    wanted = [row.id for row in rows if row.completed_by is not None]
    genuine = select(CALLBACKS.c.order_id, CALLBACKS.c.received_at, CALLBACKS.c.stated_at).where(
        CALLBACKS.c.order_id.in_(wanted), CALLBACKS.c.outcome == "accepted"
    )
    received, stated = defaultdict(list), {}
    for row in connection.execute(genuine.order_by(CALLBACKS.c.received_at).limit(CALLBACKS_READ)):
        received[row.order_id].append(row.received_at)
        if row.stated_at is not None:
            stated[row.order_id] = row.stated_at
    answers = select(EVENTS.c.order_id, EVENTS.c.detail).where(
        EVENTS.c.order_id.in_(wanted), EVENTS.c.kind == EventKind.ACCEPTED
    )
    at_once = {
        row.order_id
        for row in connection.execute(answers.limit(ORDERS_READ))
        if row.detail.get("status") == State.COMPLETED
    }
    return {
        number: _Told(tuple(received.get(number, ())), stated.get(number), number in at_once)
        for number in {*received, *at_once}
    }


def _course(row: Row[Any], told: _Told) -> _Course:
    """Between which times the order finished, and when it was announced."""
    name, announces = class_of(row.type, row.units), row.submission != Submission.ELSEWHERE
    begun: datetime = row.accepted_at
    if row.completed_by is None:
        return _Course(name, announces, begun)
    low, high = min(row.completed_after or begun, row.completed_by), row.completed_by
    if told.at_once and low <= begun:  # the answer said so, and no look has contradicted it
        return _Course(name, announces, begun, begun, begun, row.completed_by, begun, stated=True)
    # A claim from before a look that still said open was premature: it bounds nothing and tells nobody anything.
    claims = [moment for moment in (row.claimed_at, *told.received) if moment is not None and moment > low]
    announced = min(claims, default=None)
    low, high, word = completion_window(CompletionTimes(begun, low, high, high, announced, told.stated))
    low, high = max(low, begun), max(high, begun)
    if announced is not None:
        announced = max(announced, high)
    return _Course(
        name, announces, begun, low, high, max(row.completed_by, high), announced, word is StatedTime.BELIEVED
    )


def _asked(connection: Connection, began: datetime, until: datetime) -> Asked:
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
    rows = [row for row in connection.execute(within) if row.kind is not None]
    counted = {row.kind: int(row.calls) for row in rows}
    takes = sum(float(row.spent) for row in rows) / 1000 / max(sum(counted.values()), 1)
    singles, pages, discoveries, aside = (counted.get(name, 0) for name in _KINDS)
    return Asked(singles, pages, discoveries, aside, takes)


def _recorded(
    courses: Sequence[_Course], asked: Asked | None, heard: float, left_out: Mapping[str, int], *, cut: bool
) -> Recorded:
    began, done = courses[0].arrived, [one for one in courses if one.seen is not None]
    until = max(one.seen for one in done if one.seen is not None)
    low, high, seen = (_seconds(done, name) for name in ("low", "high", "seen"))
    rng = random.Random(SEED)  # noqa: S311 - a draw that must be repeatable guards nothing  # nosec B311
    drawn = low + np.array([rng.random() for _ in done]) * (high - low)
    finished = np.full(len(courses), NEVER)
    finished[[one.seen is not None for one in courses]] = drawn
    announced = np.maximum(_seconds(courses, "announced"), finished)
    announced[np.isinf(finished)] = NEVER
    announces = np.array([one.announces for one in courses], dtype=np.bool_)
    history = History(_seconds(courses, "arrived"), finished, [one.name for one in courses], announced, announces)
    hours = (until - began) / timedelta(hours=1)
    return Recorded(
        history=history,
        really=_really(asked, hours, seen - drawn, seen - high, seen - low),
        since=began,
        until=until,
        finished=len(done),
        cut=cut,
        known_to=float(np.median(high - low)),
        stated=sum(one.stated for one in done),
        heard=heard,
        **left_out,
    )


def _seconds(courses: Sequence[_Course], name: str) -> Array:
    """These times in seconds since 1970, as whole ones of them are what the provider tells."""
    moments = (getattr(one, name) for one in courses)
    return np.array([NEVER if at is None else at.timestamp() for at in moments], dtype=np.float64)


def _really(asked: Asked | None, hours: float, drawn: Array, least: Array, most: Array) -> Really:
    """A quantile rises with every delay, so those of the shortest and of the longest bound it."""

    def ranged(figure: Any) -> Range:
        return Range(*(float(figure(np.maximum(delays, 0.0))) for delays in (drawn, least, most)))

    return Really(asked, hours, ranged(np.mean), ranged(lambda delays: np.quantile(delays, 0.95)), ranged(np.max))
