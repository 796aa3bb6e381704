"""Overview: count what is open, late or needs a person, and list the latest changes. Bounded reads; writes nothing.

Counts come from the counters and from partial indexes, never from a walk over all orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row, select

from tracking.orders.model import CLOSED, State
from tracking.orders.vocabulary import EventKind
from tracking.orders.wording import TimelineEntry, describe_event, verdict
from tracking.reports import amounts
from tracking.reports.health import ComponentStatus, component_status
from tracking.reports.order_list.conditions import FLAGGED
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


# The address of the list of orders that each count stands for; it shows as many.
COUNTED_LISTS: Mapping[str, Mapping[str, str]] = {
    "attention": {"view": "attention"},
    "late": {"view": "late", "each": "true"},
    "unknown": {"view": "unknown"},
    "open": {"view": "open"},
    "done_today": {"view": "today"},
}


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of things; `changes` are (PONumber, event).

    `bands` has the columns band, currency, orders, value_minor: each band once for each currency, which is "" where
    nobody knows it. An order of two currencies counts in both. `values` are the sums, minor units by currency, and
    `currency` is the one of all open orders, None where they have several or nobody knows.
    """

    verdict: str
    attention: int
    late: int
    unknown: int
    open: int
    done_today: int
    discovered_today: int
    oldest: timedelta | None
    bands: pd.DataFrame
    components: tuple[ComponentStatus, ...]
    changes: tuple[tuple[str, TimelineEntry], ...]
    empty: bool
    values: Mapping[str, int]
    currency: str | None


def overview(database: Database, now: datetime) -> Overview:
    """The overview's figures, in one short transaction."""
    with database.read() as connection:
        stock = _open_stock(connection)
        total = _number(connection, select(sa.func.sum(COUNTERS.c.orders)).where(COUNTERS.c.name == "stock"))
        attention = _number(connection, select(sa.func.count()).select_from(ORDERS).where(FLAGGED))
        late = _number(connection, select(sa.func.count()).select_from(ORDERS).where(OPEN, ORDERS.c.late_at < now))
        flow = _flow(connection, day_start(now))
        oldest = _oldest(connection, stock, now)
        changes = _changes(connection)
        bands = _bands(connection, now)
        signs = component_status(connection, now)
    number = sum(row.orders for row in stock)
    values = {str(name): int(value) for name, value in bands.groupby("currency")["value_minor"].sum().items()}
    return Overview(
        verdict=verdict(total, number, late, oldest, attention),
        attention=attention,
        late=late,
        unknown=sum(row.orders for row in stock if row.state == State.UNKNOWN),
        open=number,
        done_today=flow.get("Completed", 0),
        discovered_today=flow.get("Found Completed", 0),
        oldest=oldest,
        bands=bands,
        components=signs,
        changes=changes,
        empty=total == 0,
        values=values,
        currency=next(iter(values)) or None if len(values) == 1 else None,
    )


def _number(connection: Connection, query: Any) -> int:
    return int(connection.execute(query).scalar() or 0)


def _open_stock(connection: Connection) -> Sequence[Row[Any]]:
    """Open orders by the hour they were made in: hour, state, orders; the oldest first."""
    columns = [COUNTERS.c[name] for name in ("hour", "state", "orders")]
    still_open = COUNTERS.c.name == "stock", COUNTERS.c.state.not_in(sorted(CLOSED)), COUNTERS.c.orders > 0
    return connection.execute(select(*columns).where(*still_open).order_by(COUNTERS.c.hour)).all()


def _oldest(connection: Connection, stock: Sequence[Row[Any]], now: datetime) -> timedelta | None:
    """The age of the oldest open order: the counters know its hour, the index on created_at the rest."""
    if not stock:
        return None
    hour: datetime = stock[0].hour
    within = (ORDERS.c.created_at >= hour, ORDERS.c.created_at < hour + timedelta(hours=1))
    query = select(sa.func.min(ORDERS.c.created_at)).where(OPEN, *within)
    oldest: datetime | None = connection.execute(query).scalar()
    return max(timedelta(), now - (oldest or hour))


def _bands(connection: Connection, now: datetime) -> pd.DataFrame:
    """The value of open orders by age and currency; one whose outcome is unknown has a band of its own."""
    names = (*(name for _, name in BANDS), OLDEST_BAND, UNKNOWN_BAND)
    since = [hour_of(now) - timedelta(hours=edge - 1) for edge, _ in BANDS]
    aged = ((ORDERS.c.created_at >= first, name) for first, (_, name) in zip(since, BANDS, strict=True))
    band = sa.case((ORDERS.c.state == State.UNKNOWN, UNKNOWN_BAND), *aged, else_=OLDEST_BAND)
    table = amounts.open_values(connection, band)
    currencies = sorted({currency for (_, currency, _), value in table.items() if value}) or [""]
    rows = [
        (name, currency, table[name, currency, "orders"], table[name, currency, "value"])
        for currency in currencies
        for name in names
    ]
    return pd.DataFrame(rows, columns=["band", "currency", "orders", "value_minor"])


def _flow(connection: Connection, since: datetime) -> dict[str, int]:
    entered = select(COUNTERS.c.state, sa.func.sum(COUNTERS.c.orders)).group_by(COUNTERS.c.state)
    rows = connection.execute(entered.where(COUNTERS.c.name == "flow", COUNTERS.c.hour >= since))
    return {state: int(number) for state, number in rows}


def _changes(connection: Connection) -> tuple[tuple[str, TimelineEntry], ...]:
    """The latest events that changed something, one for each order, newest first."""
    newest = select(EVENTS).order_by(EVENTS.c.learned_at.desc(), EVENTS.c.id.desc()).limit(CHANGES_READ).subquery()
    latest = select(newest, ORDERS.c.po_number).join(ORDERS, ORDERS.c.id == newest.c.order_id)
    # A page of the provider's list is learned at one moment, and its newest order stands at its head.
    latest = latest.order_by(newest.c.learned_at.desc(), ORDERS.c.created_at.desc(), newest.c.id.desc())
    entries: dict[str, TimelineEntry] = {}
    for row in connection.execute(latest).mappings():
        dull = row["kind"] in _ROUTINE and "state" not in row["changes"]
        if not dull and row["po_number"] not in entries:
            entries[row["po_number"]] = describe_event(row)
        if len(entries) == CHANGES_LISTED:
            break
    return tuple(entries.items())
