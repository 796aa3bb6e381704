"""Finds the orders that could be polled now, in one read: open ones, and finished ones due for a follow-up.

One bounded read and arithmetic over arrays, so that a hundred thousand open orders are assessed within a second. Where
more are open than are read at once, those come first that a webhook announced or a person asked for, then by when they
are planned: every order's time comes, as each poll sets a later one. Nothing is leased here.
"""

import functools
import operator
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy import Connection, bindparam, select

from tracking.forecasting.classes import class_of
from tracking.forecasting.forecasts import Forecasts
from tracking.forecasting.survival import Array
from tracking.orders.model import State, Submission, WebhookStatus
from tracking.orders.vocabulary import PollReason
from tracking.polling.selection import Candidates, Flags
from tracking.storage import orders
from tracking.storage.tables import OPEN, ORDERS, URGENT

COLUMN_COUNT = 8
OPEN_READ = 200_000
URGENT_READ = 20_000
MOST_COUNTED = 2_000_000
READ_AT_ONCE = 5_000
FINISHED_READ = 2_000
LARGEST_LISTED = 100  # lines: a page of larger orders would be slower than asking for each
FOLLOW_PATIENCE = 0.25  # of the wait before it
SHORTEST_PATIENCE = 1e-3  # seconds
LAST = 4102444800.0  # 2100-01-01, for times without an end


@dataclass(frozen=True)
class DueOrders:
    """The orders that could be polled now, ascending by creation at the provider. Arrays of shape (n,).

    `ids`: their row ids. `candidates`: what `select_calls` needs of them. `classes`: the names of their classes.
    `webhook_expected`: whether a webhook should announce the completion. `ages`: now, in seconds. `waited`: for how
    long each has been due, in seconds, negative before. `lag`: that of the longest due order. `left_out`: how many open
    orders were not read, as more are open than are read at once; those that are read are the ones to be polled first.
    """

    ids: npt.NDArray[np.int64]
    candidates: Candidates
    classes: npt.NDArray[np.object_]
    webhook_expected: Flags
    ages: Array
    waited: Array
    lag: float
    left_out: int = 0


class _Statements(NamedTuple):
    """Statements over orders with a due time, `most` of them at the most; times as `_seconds` reads them.

    `every`: all open orders. `urgent` and `planned` take its place where these are too many: those that are due and
    were announced or asked for, and those that are planned first. `finished`: finished ones that are due, and
    `requested` those of them that somebody asked for.
    """

    every: Any
    urgent: Any
    planned: Any
    finished: Any
    requested: Any


NOT_LEASED = sa.or_(ORDERS.c.lease_until.is_(None), ORDERS.c.lease_until <= bindparam("now"))


def _statements(dialect: str, free: Any = NOT_LEASED) -> _Statements:
    # A plus keeps SQLite from an index that does not help here: of all finished orders, or of all with a due time.
    plus = "+" if dialect == "sqlite" else ""
    planned, due = ORDERS.c.next_look_at.is_not(None), ORDERS.c.next_look_at <= bindparam("now")
    will_be = sa.text(f"{plus}orders.next_look_at IS NOT NULL")
    every = select(*_columns_to_read(dialect, finished=False))
    closed = sa.text(f"{plus}orders.state IN ('Completed', 'Cancelled', 'Refused')")
    finished = select(*_columns_to_read(dialect, finished=True)).where(planned, closed, free, due)
    asked_for = ORDERS.c.next_look_why == PollReason.REQUESTED.value

    def first(read: Any) -> Any:
        return select(read.order_by(ORDERS.c.next_look_at).limit(bindparam("most")).subquery())

    return _Statements(
        # In the order in which the rows lie: in any other, to find them takes twice as long as all the rest.
        every.where(will_be, OPEN, free).limit(bindparam("most")),
        first(every.where(planned, URGENT, due, OPEN, free)),
        first(every.where(planned, OPEN, free)),
        first(finished),
        first(finished.where(URGENT, asked_for)),
    )


def _columns_to_read(dialect: str, *, finished: bool) -> tuple[Any, ...]:
    began = sa.func.coalesce(ORDERS.c.accepted_at, ORDERS.c.created_at)
    times = (ORDERS.c.provider_created_at, began, ORDERS.c.last_look_at, ORDERS.c.next_look_at)
    return ORDERS.c.id, ORDERS.c.type, ORDERS.c.units, _flags(finished), *(_time(dialect, each) for each in times)


def _time(dialect: str, column: Any) -> Any:
    """A time as it is stored, if that is a text: numpy parses these ten times as fast as SQLAlchemy's type."""
    if dialect == "sqlite":
        return sa.type_coerce(column, sa.String)
    return sa.cast(sa.extract("epoch", column), sa.Float)


def _flags(finished: bool) -> Any:
    """Yes-or-no facts as bits of one number: computed in SQL, so that no words have to be read."""
    no = sa.false()
    claimed = no if finished else ORDERS.c.notice == WebhookStatus.CLAIMED.value
    urgent = sa.or_(
        ORDERS.c.next_look_why == PollReason.REQUESTED.value, claimed, ORDERS.c.state == State.ACCEPTED.value
    )
    unproven = no if finished else ORDERS.c.provider_status == State.COMPLETED.value
    conditions = (
        sa.true() if finished else no,
        no if finished else ORDERS.c.submission != Submission.ELSEWHERE.value,
        sa.func.coalesce(urgent, no),
        sa.or_(ORDERS.c.line_count > LARGEST_LISTED, sa.func.coalesce(unproven, no)),
        ORDERS.c.failures > 0,
        ORDERS.c.next_look_at <= bindparam("now"),
    )
    bits = [sa.case((condition, 1 << place), else_=0) for place, condition in enumerate(conditions)]
    return functools.reduce(operator.add, bits)


_cached_statements = functools.cache(_statements)
_class_of = functools.lru_cache(maxsize=10_000)(class_of)


def find_due_orders(
    connection: Connection, forecasts: Forecasts, now: datetime, floor: float, price: float, webhook_share: float = 0.0
) -> DueOrders:
    """Finds the orders that could be polled now.

    `floor` is the shortest wait between two polls of an order, `price` that of one call, both in seconds;
    `webhook_share` of the completions are expected to announce themselves.
    """
    (ids, classes, flags, created, began, last, planned), left_out = _read_columns(connection, now)
    at = now.astimezone(UTC).timestamp()
    closed, webhook_expected, urgent, polled_alone, failed, due = ((flags >> place) & 1 > 0 for place in range(6))
    ages = np.abs(at - began)
    polled_at_age = np.minimum(np.where(np.isnan(last), 0.0, np.abs(last - began)), ages)
    accrued, still_open = _accrued(classes, polled_at_age, ages, forecasts)
    accrued *= np.where(webhook_expected, 1.0 - webhook_share, 1.0)
    # Nobody waits for a finished order: the poll that follows it may wait for others to share a page with.
    patience = np.maximum((planned - last) * FOLLOW_PATIENCE, SHORTEST_PATIENCE)
    resting = closed & due & ~failed & ~urgent & (at - planned < patience)
    due &= ~resting
    # Finished orders, and those whose last poll failed, are polled at their due time and not before.
    waits = ~due & (closed | failed | (at - last < floor))
    accrued[closed | waits], still_open[closed] = 0.0, 1.0
    accrued[resting] = (price * (at - planned) / patience)[resting]
    listed = np.maximum(accrued - price * forecasts.unproven_share * (1.0 - still_open), 0.0)
    listed[polled_alone | np.isnan(created)] = np.nan
    candidates = Candidates(created, accrued, listed, due, urgent & due)
    lag = float(np.max(at - planned[due], initial=0.0))
    return DueOrders(ids, candidates, classes, webhook_expected, ages, at - planned, lag, left_out)


def creation_times(connection: Connection, first: float, last: float, limit: int) -> Array:
    """When the orders between these two times were created at the provider, ascending, at most `limit`."""
    start, end = (datetime.fromtimestamp(min(moment, LAST), UTC) for moment in (first, last))
    created = orders.created_between(connection, start, end, limit)
    return np.array([moment.timestamp() for moment in created], dtype=np.float64)


Columns = tuple[npt.NDArray[Any], ...]
_COUNT_OPEN = select(sa.func.count()).select_from(select(ORDERS.c.id).where(OPEN).limit(bindparam("most")).subquery())


def _read_columns(connection: Connection, now: datetime) -> tuple[Columns, int]:
    """The orders as arrays, and how many open ones were not read.

    Ascending by creation (unknown times last): ids, classes, flags, and four times in seconds.
    """
    statements = _cached_statements(connection.dialect.name)
    total = connection.execute(_COUNT_OPEN, {"most": MOST_COUNTED}).scalar_one()
    if total <= OPEN_READ:
        read = _read_parts(connection, statements.every, now, OPEN_READ)
    else:
        read = _read_parts(connection, statements.planned, now, OPEN_READ)
        read += _read_parts(connection, statements.urgent, now, URGENT_READ)
    finished = _read_parts(connection, statements.finished, now, FINISHED_READ)
    if _row_count(finished) >= FINISHED_READ:
        finished += _read_parts(connection, statements.requested, now, URGENT_READ)
    columns = tuple(map(np.concatenate, zip(*read, *finished, strict=True))) if read or finished else _columns(())
    # Each order once, though two of the reads may show it.
    _, first = np.unique(columns[0], return_index=True)
    order = first[np.argsort(columns[3][first], kind="stable")]
    return tuple(column[order] for column in columns), max(total - OPEN_READ, 0)


def _read_parts(connection: Connection, statement: Any, now: datetime, most: int) -> list[Columns]:
    """Rows become numbers a part at a time."""
    rows = connection.execute(statement, {"now": now, "most": most})
    return [_columns(part) for part in rows.partitions(READ_AT_ONCE)]


def _row_count(parts: Sequence[Columns]) -> int:
    return sum(len(part[0]) for part in parts)


def _columns(rows: Sequence[Any]) -> Columns:
    ids, types, units, marks, *times = zip(*rows, strict=True) if rows else ((),) * COLUMN_COUNT
    classes = np.array(list(map(_class_of, types, units)), dtype=object)
    return np.array(ids, dtype=np.int64), classes, np.array(marks, dtype=np.int64), *map(_seconds, times)


def _seconds(times: Sequence[Any]) -> Array:
    """Times in seconds since 1970, NaN for those that are not known; as texts in UTC, or as such numbers."""
    if not any(isinstance(time, str) for time in times):
        return np.array(times, dtype=np.float64)
    moments = np.array(times, dtype="datetime64[us]")
    return np.where(np.isnat(moments), np.nan, moments.astype(np.int64) / 1e6)


def _accrued(
    classes: npt.NDArray[np.object_], polled_at_age: Array, ages: Array, forecasts: Forecasts
) -> tuple[Array, Array]:
    """The wait that each order has accrued since its last poll, and the chance that it is still open."""
    accrued, still_open = np.zeros(len(ages)), np.ones(len(ages))
    for name, indexes in indexes_by_class(classes):
        forecast = forecasts.for_class(name)
        accrued[indexes] = forecast.delay_cost.cost_between(polled_at_age[indexes], ages[indexes])
        still_open[indexes] = forecast.curve.at(ages[indexes]) / forecast.curve.at(polled_at_age[indexes])
    return accrued, still_open


def indexes_by_class(classes: npt.NDArray[np.object_]) -> list[tuple[str, npt.NDArray[np.intp]]]:
    """The orders of each class, by index."""
    indexes: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(classes):
        indexes[name].append(index)
    return [(name, np.array(indexes, dtype=np.intp)) for name, indexes in indexes.items()]
