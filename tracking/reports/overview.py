"""What people read across all orders: the overview, charts, activity, health. Bounded reads; writes nothing.

Counts of the overview come from the counters and from partial indexes, never from a walk over all orders. What belongs
to one order, its events and calls is in `stories`, to a filter in `filters` and `exports`; they are offered here too,
so that a page needs one door only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.forecasting import incidents as _incidents
from tracking.forecasting.incidents import Incident
from tracking.forecasting.predictions import Score, held_of_100, scores
from tracking.orders import wording as _sentences
from tracking.orders.model import CLOSED, State
from tracking.orders.wording import Told, amount, clock, count, duration, guarded, money, plain
from tracking.reports import latency as _ledger
from tracking.reports.exports import EXPORT_COLUMNS, orders_export, write_export
from tracking.reports.health import Health, Sign, fact, health, signs_of_life
from tracking.reports.latency import Ledger
from tracking.reports.order import (
    LINES_PER_PAGE,
    OrderView,
    events,
    everything,
    exchanges,
    find_order,
    line_progress,
    lines_page,
    order_story,
    order_view,
    provider_calls,
    story,
)
from tracking.reports.query_params import parse_length
from tracking.reports.search import (
    FLAGGED,
    OPEN,
    SORTS,
    VIEWS,
    Filters,
    Page,
    count_new,
    day_start,
    neighbours,
    order_records,
    orders_count,
    orders_page,
)
from tracking.startup import pd
from tracking.storage.database import Database
from tracking.storage.tables import BATCHES, CALLBACKS, COUNTERS, EVENTS, ORDERS

__all__ = [
    "EXPORT_COLUMNS", "LINES_PER_PAGE", "SORTS", "SPANS", "VIEWS", "Completions", "Filters", "Health", "Incident",
    "Ledger", "OrderView", "Overview", "Page", "Score", "Sign", "Told", "amount", "batches", "callbacks", "clock",
    "completions", "count", "count_new", "duration", "events", "everything", "exchanges", "fact", "find_order",
    "foretold", "guarded", "health", "held_of_100", "incidents", "known_words", "ledger", "lifecycle", "line_progress",
    "lines_page", "money", "neighbours", "order_records", "order_story", "order_view", "orders_count", "orders_export",
    "orders_page", "overview", "parse_length", "plain", "provider_calls", "story", "write_export",
]  # fmt: skip

SPANS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}
BANDS = ((2, "up to 2 h"), (6, "2 to 6 h"), (24, "6 to 24 h"), (168, "1 to 7 days"))
OLDEST_BAND = "over 7 days"
UNKNOWN_BAND = "outcome unknown"
CHANGES_SHOWN = 10
CHANGES_READ = 300
COMPLETIONS_READ = 20_000
STATES = (
    State.QUEUED, State.SENDING, State.UNKNOWN, State.ACCEPTED, State.PENDING, State.AWAITING_APPROVAL,
    State.PROCESSING, State.REFUSED, State.CANCELLED, State.COMPLETED,
)  # fmt: skip
_DULL = frozenset({"still open", "sending", "notice repeated", "answer repeated", "not found"})


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of things. `bands` has the columns band, orders, value_minor; `changes` are (PONumber, event)."""

    verdict: str
    attention: int
    late: int
    unknown: int
    open: int
    done_today: int
    found_today: int
    cancelled_today: int
    oldest: timedelta | None
    bands: pd.DataFrame
    signs: tuple[Sign, ...]
    changes: tuple[tuple[str, Told], ...]
    empty: bool
    currency: str | None


@dataclass(frozen=True, slots=True)
class Completions:
    """Times to completion. `rows` has the columns hour, p50, p95 (seconds), orders; `capped`: only the newest."""

    rows: pd.DataFrame
    orders: int
    p50: timedelta | None
    p95: timedelta | None
    capped: bool


def overview(database: Database, now: datetime) -> Overview:
    """The overview's figures, in one short transaction."""
    with database.read() as connection:
        stock = _open_stock(connection, now)
        total = _total(connection)
        attention = _number(connection, select(sa.func.count()).select_from(ORDERS).where(FLAGGED))
        late = _number(connection, select(sa.func.count()).select_from(ORDERS).where(OPEN, ORDERS.c.late_at < now))
        flow = _flow(connection, day_start(now))
        oldest = _oldest(connection, stock, now)
        changes = _changes(connection)
        currency = connection.execute(select(ORDERS.c.currency).order_by(ORDERS.c.id.desc()).limit(1)).scalar()
        signs = signs_of_life(connection, now)
    number = int(stock["orders"].sum())
    return Overview(
        verdict=_sentences.verdict(total, number, late, oldest, attention),
        attention=attention,
        late=late,
        unknown=int(stock.loc[stock["state"] == State.UNKNOWN, "orders"].sum()),
        open=number,
        done_today=flow.get("Completed", 0),
        found_today=flow.get("Found Completed", 0),
        cancelled_today=flow.get("Cancelled", 0),
        oldest=oldest,
        bands=_bands(stock),
        signs=signs,
        changes=changes,
        empty=total == 0,
        currency=currency,
    )


def incidents(database: Database, now: datetime) -> list[Incident]:
    """Orders that are late together, the worst first."""
    with database.read() as connection:
        return _incidents.known(connection, now)


def foretold(database: Database, now: datetime, span: str) -> list[Score]:
    """How what was said of open orders fared, of all whose time came within the span."""
    with database.read() as connection:
        return scores(connection, now - SPANS[span], now)


def _number(connection: Connection, query: Any) -> int:
    return int(connection.execute(query).scalar() or 0)


def _total(connection: Connection) -> int:
    return _number(connection, select(sa.func.sum(COUNTERS.c.orders)).where(COUNTERS.c.name == "stock"))


def _open_stock(connection: Connection, now: datetime) -> pd.DataFrame:
    """Open orders by the hour they were made in: columns hour, state, orders, value_minor, age_hours."""
    wanted = (
        select(COUNTERS.c.hour, COUNTERS.c.state, COUNTERS.c.orders, COUNTERS.c.value_minor)
        .where(COUNTERS.c.name == "stock", COUNTERS.c.state.not_in(sorted(CLOSED)), COUNTERS.c.orders > 0)
        .order_by(COUNTERS.c.hour)
    )
    rows = connection.execute(wanted).all()
    frame = pd.DataFrame(rows, columns=["hour", "state", "orders", "value_minor"])
    this_hour = _hour(now)
    frame["age_hours"] = [max(0.0, (this_hour - row.hour) / timedelta(hours=1)) for row in rows]
    return frame


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _oldest(connection: Connection, stock: pd.DataFrame, now: datetime) -> timedelta | None:
    """The age of the oldest open order: the counters know its hour, the index on created_at the rest."""
    if stock.empty:
        return None
    hour = stock["hour"].iloc[0].to_pydatetime()
    within = (ORDERS.c.created_at >= hour, ORDERS.c.created_at < hour + timedelta(hours=1))
    query = select(sa.func.min(ORDERS.c.created_at)).where(OPEN, *within)
    oldest: datetime | None = connection.execute(query).scalar()
    return max(timedelta(), now - (oldest or hour))


def _bands(stock: pd.DataFrame) -> pd.DataFrame:
    names = [name for _, name in BANDS] + [OLDEST_BAND, UNKNOWN_BAND]
    sums = {name: [0, 0] for name in names}
    for state, orders, value, age in zip(
        stock["state"], stock["orders"], stock["value_minor"], stock["age_hours"], strict=True
    ):
        aged = next((name for edge, name in BANDS if age < edge), OLDEST_BAND)
        band = UNKNOWN_BAND if state == State.UNKNOWN else aged
        sums[band][0] += int(orders)
        sums[band][1] += int(value)
    return pd.DataFrame([(name, *sums[name]) for name in names], columns=["band", "orders", "value_minor"])


def _flow(connection: Connection, since: datetime) -> dict[str, int]:
    entered = (
        select(COUNTERS.c.state, sa.func.sum(COUNTERS.c.orders))
        .where(COUNTERS.c.name == "flow", COUNTERS.c.hour >= since)
        .group_by(COUNTERS.c.state)
    )
    return {state: int(number) for state, number in connection.execute(entered)}


def _changes(connection: Connection) -> tuple[tuple[str, Told], ...]:
    """The latest events that changed something, one for each order, newest first."""
    latest = (
        select(EVENTS, ORDERS.c.po_number)
        .join(ORDERS, ORDERS.c.id == EVENTS.c.order_id)
        .order_by(EVENTS.c.id.desc())
        .limit(CHANGES_READ)
    )
    told: dict[str, Told] = {}
    for row in connection.execute(latest).mappings():
        dull = row["kind"] in _DULL and "state" not in row["changes"]
        if not dull and row["po_number"] not in told:
            told[row["po_number"]] = _sentences.tell(row)
        if len(told) == CHANGES_SHOWN:
            break
    return tuple(told.items())


# Charts


def _starts(now: datetime, span: str) -> list[datetime]:
    """The hours (days for 30d) of the span, the current one last."""
    if span not in SPANS:
        raise ValueError(f"{span!r} is no span: use one of {', '.join(SPANS)}")
    step = timedelta(days=1) if span == "30d" else timedelta(hours=1)
    last = day_start(now) if span == "30d" else _hour(now)
    return [last - step * back for back in range(SPANS[span] // step - 1, -1, -1)]


def lifecycle(database: Database, now: datetime, span: str) -> pd.DataFrame:
    """Orders by when they were made and the state they are in now: columns hour, state, orders; gaps are zeros."""
    starts = _starts(now, span)
    wanted = select(COUNTERS.c.hour, COUNTERS.c.state, COUNTERS.c.orders).where(
        COUNTERS.c.name == "stock", COUNTERS.c.hour >= starts[0]
    )
    with database.read() as connection:
        rows = connection.execute(wanted).all()
    counted: dict[tuple[datetime, str], int] = {}
    for hour, state, orders in rows:
        start = day_start(hour) if span == "30d" else hour
        counted[start, state] = counted.get((start, state), 0) + orders
    seen = {state for (_, state), orders in counted.items() if orders}
    states = [state.value for state in STATES if state in seen] + sorted(seen - set(STATES))
    cells = [(start, state, counted.get((start, state), 0)) for state in states for start in starts]
    return pd.DataFrame(cells, columns=["hour", "state", "orders"])


def completions(database: Database, now: datetime, span: str) -> Completions:
    """How long orders took, by the hour they were seen complete in.

    Counted are orders that a look had seen open before: of those found finished, nobody knows how long they took. The
    time is the longest it can have been, up to the look that showed it.
    """
    starts = _starts(now, span)
    done = (
        select(ORDERS.c.completed_by, ORDERS.c.created_at)
        .join(EVENTS, EVENTS.c.order_id == ORDERS.c.id)
        .where(EVENTS.c.kind == "completed", EVENTS.c.learned_at >= starts[0])
        .where(ORDERS.c.last_open_at.is_not(None), ORDERS.c.completed_by.is_not(None))
        .order_by(EVENTS.c.learned_at.desc())
        .limit(COMPLETIONS_READ + 1)
    )
    with database.read() as connection:
        rows = connection.execute(done).all()
    capped = len(rows) > COMPLETIONS_READ
    took = [(_start(by, span), max(0.0, (by - made).total_seconds())) for by, made in rows[:COMPLETIONS_READ]]
    if not took:
        return Completions(pd.DataFrame(columns=["hour", "p50", "p95", "orders"]), 0, None, None, capped=False)
    frame = pd.DataFrame(took, columns=["hour", "seconds"])
    grouped = frame.groupby("hour")["seconds"]
    columns = {"p50": grouped.quantile(0.5), "p95": grouped.quantile(0.95), "orders": grouped.size()}
    p50, p95 = (timedelta(seconds=float(frame["seconds"].quantile(share))) for share in (0.5, 0.95))
    return Completions(pd.DataFrame(columns).reset_index(), len(frame), p50, p95, capped)


def _start(moment: datetime, span: str) -> datetime:
    return day_start(moment) if span == "30d" else _hour(moment)


def ledger(database: Database, now: datetime, span: str) -> Ledger:
    """Where the time of the orders went that were known complete in the span: with the provider, and with us."""
    return _ledger.ledger(database, _starts(now, span)[0])


# Activity


def callbacks(database: Database, *, outcome: str = "", limit: int = 100, offset: int = 0) -> pd.DataFrame:
    """Callbacks as received, newest first. `outcome`: accepted, repeated, waiting, refused, or "" for all."""
    shown = ("received_at", "last_at", "outcome", "repeats", "reason", "action", "provider_id", "stated_at", "size")
    po_number = sa.func.coalesce(ORDERS.c.po_number, CALLBACKS.c.po_number).label("po_number")
    wanted = select(*(CALLBACKS.c[name] for name in shown), po_number).outerjoin(
        ORDERS, ORDERS.c.id == CALLBACKS.c.order_id
    )
    if outcome == "repeated":
        wanted = wanted.where(CALLBACKS.c.repeats > 0)
    elif outcome:
        wanted = wanted.where(CALLBACKS.c.outcome == outcome)
    newest = wanted.order_by(CALLBACKS.c.received_at.desc(), CALLBACKS.c.id.desc()).limit(limit).offset(offset)
    with database.read() as connection:
        return pd.DataFrame(connection.execute(newest).all(), columns=[*shown, "po_number"])


def batches(database: Database, limit: int = 50) -> pd.DataFrame:
    """Files that were handed in, newest first."""
    shown = ("created_at", "name", "rows", "orders", "actor", "digest")
    newest = select(*(BATCHES.c[name] for name in shown)).order_by(BATCHES.c.id.desc()).limit(limit)
    with database.read() as connection:
        return pd.DataFrame(connection.execute(newest).all(), columns=list(shown))


def known_words(database: Database) -> dict[str, list[str]]:
    """What there is to filter by: the states that occur, the kinds of events."""
    with database.read() as connection:
        occurring = select(COUNTERS.c.state).where(COUNTERS.c.name == "stock", COUNTERS.c.orders > 0).distinct()
        states = set(connection.execute(occurring).scalars())
    ours = [state.value for state in STATES]
    return {"states": ours + sorted(states - set(ours)), "kinds": list(_sentences.KINDS)}
