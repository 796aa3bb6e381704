"""Trends by hour or day: orders by state, and times to completion. Bounded reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from tracking.orders.model import State
from tracking.orders.vocabulary import EventKind
from tracking.startup import pd
from tracking.storage.counters import hour_of
from tracking.storage.database import Database
from tracking.storage.tables import COUNTERS, EVENTS, ORDERS

SPANS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}
COMPLETIONS_READ = 20_000
STATES = (
    State.QUEUED, State.SENDING, State.UNKNOWN, State.ACCEPTED, State.PENDING, State.AWAITING_APPROVAL,
    State.PROCESSING, State.REFUSED, State.CANCELLED, State.COMPLETED,
)  # fmt: skip


def day_start(now: datetime) -> datetime:
    """The last midnight, UTC."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@dataclass(frozen=True, slots=True)
class Completions:
    """Times to completion. `rows` has the columns hour, p50, p95 (seconds), orders; `capped`: only the newest."""

    rows: pd.DataFrame
    orders: int
    p50: timedelta | None
    p95: timedelta | None
    capped: bool


def step_name(span: str) -> str:
    """Name what one step of the span's charts is: an hour, or a day."""
    return "day" if span == "30d" else "hour"


def step_starts(now: datetime, span: str) -> list[datetime]:
    """List the hours (days for 30d) of the span, the current one last."""
    if span not in SPANS:
        raise ValueError(f"{span!r} is no span: use one of {', '.join(SPANS)}")
    step = timedelta(days=1) if span == "30d" else timedelta(hours=1)
    last = day_start(now) if span == "30d" else hour_of(now)
    return [last - step * back for back in range(SPANS[span] // step - 1, -1, -1)]


def span_start(now: datetime, span: str) -> datetime:
    """Compute the full hour (day for 30d) in which the span begins."""
    return step_starts(now, span)[0]


def lifecycle(database: Database, now: datetime, span: str) -> pd.DataFrame:
    """Orders by when they were made and the state they are in now: columns hour, state, orders; gaps are zeros."""
    starts = step_starts(now, span)
    stock = COUNTERS.c.name == "stock", COUNTERS.c.hour >= starts[0]
    with database.read() as connection:
        rows = connection.execute(select(COUNTERS.c.hour, COUNTERS.c.state, COUNTERS.c.orders).where(*stock)).all()
    counted: Counter[tuple[datetime, str]] = Counter()
    for hour, state, orders in rows:
        counted[step_of(hour, span), state] += orders
    present = {state for (_, state), orders in counted.items() if orders}
    states = [state.value for state in STATES if state in present] + sorted(present - set(STATES))
    cells = [(start, state, counted[start, state]) for state in states for start in starts]
    return pd.DataFrame(cells, columns=["hour", "state", "orders"])


def completions(database: Database, now: datetime, span: str) -> Completions:
    """How long orders took, by the hour they were seen complete in.

    Counted are orders that a look had seen open before: of those found finished, nobody knows how long they took. The
    time is the longest it can have been, up to the look that showed it.
    """
    starts = step_starts(now, span)
    observed = ORDERS.c.last_open_at.is_not(None), ORDERS.c.completed_by.is_not(None)
    done = select(ORDERS.c.completed_by, ORDERS.c.created_at).join(EVENTS, EVENTS.c.order_id == ORDERS.c.id)
    done = done.where(EVENTS.c.kind == EventKind.COMPLETED, EVENTS.c.learned_at >= starts[0], *observed)
    with database.read() as connection:
        newest = done.order_by(EVENTS.c.learned_at.desc()).limit(COMPLETIONS_READ + 1)
        rows = connection.execute(newest).all()
    capped = len(rows) > COMPLETIONS_READ
    took = [(step_of(by, span), max(0.0, (by - made).total_seconds())) for by, made in rows[:COMPLETIONS_READ]]
    if not took:
        return Completions(pd.DataFrame(columns=["hour", "p50", "p95", "orders"]), 0, None, None, capped=False)
    frame = pd.DataFrame(took, columns=["hour", "seconds"])
    grouped = frame.groupby("hour")["seconds"]
    # A time that one of them took: what lies between two would hold for too few.
    shares = {"p50": 0.5, "p95": 0.95}
    columns = {name: grouped.quantile(share, interpolation="higher") for name, share in shares.items()}
    columns["orders"] = grouped.size()
    p50, p95 = (
        timedelta(seconds=float(frame["seconds"].quantile(share, interpolation="higher"))) for share in shares.values()
    )
    return Completions(pd.DataFrame(columns).reset_index(), len(frame), p50, p95, capped)


def step_of(moment: datetime, span: str) -> datetime:
    """Compute the hour (day for 30d) that a time falls into."""
    return day_start(moment) if span == "30d" else hour_of(moment)


def rounded_outwards(frame: pd.DataFrame, *, least: Sequence[str] = (), most: Sequence[str] = ()) -> pd.DataFrame:
    """The frame with these columns as bounds with one decimal, rounded down or up, so that they stay true."""
    tenths = (frame[[*least, *most]] * 10).astype(float).round(6)  # 0.7 times ten is a little more than seven
    tenths[[*least]] //= 1
    tenths[[*most]] = -(-tenths[[*most]] // 1)
    return frame.assign(**{str(name): column / 10 for name, column in tenths.items()})
