"""Overview: count what is open, late or needs a person, and list the latest changes. Bounded reads; writes nothing.

Counts come from the counters and from partial indexes, never from a walk over all orders.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.orders import wording as _sentences
from tracking.orders.model import CLOSED, State
from tracking.orders.vocabulary import EventKind
from tracking.orders.wording import TimelineEntry
from tracking.reports.health import ComponentStatus, component_status
from tracking.reports.order_list.search import FLAGGED
from tracking.reports.trends import day_start
from tracking.startup import pd
from tracking.storage.counters import hour_of
from tracking.storage.database import Database
from tracking.storage.tables import COUNTERS, EVENTS, OPEN, ORDERS

BANDS = ((2, "up to 2 h"), (6, "2 to 6 h"), (24, "6 to 24 h"), (168, "1 to 7 days"))
OLDEST_BAND = "over 7 days"
UNKNOWN_BAND = "outcome unknown"
CHANGES_LISTED = 10
CHANGES_READ = 300
_ROUTINE = frozenset(
    {
        EventKind.STILL_OPEN,
        EventKind.SENDING,
        EventKind.WEBHOOK_REPEATED,
        EventKind.ANSWER_REPEATED,
        EventKind.NOT_FOUND,
    }
)


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of things. `bands` has the columns band, orders, value_minor; `changes` are (PONumber, event)."""

    verdict: str
    attention: int
    late: int
    unknown: int
    open: int
    done_today: int
    discovered_today: int
    cancelled_today: int
    oldest: timedelta | None
    bands: pd.DataFrame
    components: tuple[ComponentStatus, ...]
    changes: tuple[tuple[str, TimelineEntry], ...]
    empty: bool
    currency: str | None


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
        signs = component_status(connection, now)
    number = int(stock["orders"].sum())
    return Overview(
        verdict=_sentences.verdict(total, number, late, oldest, attention),
        attention=attention,
        late=late,
        unknown=int(stock.loc[stock["state"] == State.UNKNOWN, "orders"].sum()),
        open=number,
        done_today=flow.get("Completed", 0),
        discovered_today=flow.get("Found Completed", 0),
        cancelled_today=flow.get("Cancelled", 0),
        oldest=oldest,
        bands=_bands(stock),
        components=signs,
        changes=changes,
        empty=total == 0,
        currency=currency,
    )


def _number(connection: Connection, query: Any) -> int:
    return int(connection.execute(query).scalar() or 0)


def _total(connection: Connection) -> int:
    return _number(connection, select(sa.func.sum(COUNTERS.c.orders)).where(COUNTERS.c.name == "stock"))


def _open_stock(connection: Connection, now: datetime) -> pd.DataFrame:
    """Open orders by the hour they were made in: columns hour, state, orders, value_minor, age_hours."""
    query = (
        select(COUNTERS.c.hour, COUNTERS.c.state, COUNTERS.c.orders, COUNTERS.c.value_minor)
        .where(COUNTERS.c.name == "stock", COUNTERS.c.state.not_in(sorted(CLOSED)), COUNTERS.c.orders > 0)
        .order_by(COUNTERS.c.hour)
    )
    rows = connection.execute(query).all()
    frame = pd.DataFrame(rows, columns=["hour", "state", "orders", "value_minor"])
    this_hour = hour_of(now)
    frame["age_hours"] = [max(0.0, (this_hour - row.hour) / timedelta(hours=1)) for row in rows]
    return frame


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


def _changes(connection: Connection) -> tuple[tuple[str, TimelineEntry], ...]:
    """The latest events that changed something, one for each order, newest first."""
    latest = (
        select(EVENTS, ORDERS.c.po_number)
        .join(ORDERS, ORDERS.c.id == EVENTS.c.order_id)
        .order_by(EVENTS.c.id.desc())
        .limit(CHANGES_READ)
    )
    entries: dict[str, TimelineEntry] = {}
    for row in connection.execute(latest).mappings():
        dull = row["kind"] in _ROUTINE and "state" not in row["changes"]
        if not dull and row["po_number"] not in entries:
            entries[row["po_number"]] = _sentences.describe_event(row)
        if len(entries) == CHANGES_LISTED:
            break
    return tuple(entries.items())
