"""Activity: lists of webhook calls, API calls, findings, events and imported files, newest first. Bounded reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import select

from tracking.orders.wording import describe_event
from tracking.reports.newest import newest_ids
from tracking.reports.trends import STATES
from tracking.startup import pd
from tracking.storage.database import Database
from tracking.storage.facts import FactKey, get_fact
from tracking.storage.tables import BATCHES, CALLBACKS, COUNTERS, EVENTS, EXCHANGES, ORDERS, REPEATED

ROWS_SEARCHED = 20_000  # the newest of a span of time: what looks for some of them looks through so many at the most
Span = tuple[datetime, datetime | None]


def within(at: Any, since: datetime, until: datetime | None = None) -> Any:
    """The condition that a time lies in this span, and among the newest ROWS_SEARCHED of it; an index finds both."""
    other = at.table.alias("searched").c[at.name]
    beyond = select(other).where(*_span(other, since, until)).order_by(other.desc()).offset(ROWS_SEARCHED).limit(1)
    # One bound alone: of two the database may walk from the wrong one, through all of the span.
    before = sa.literal(since - timedelta(microseconds=1), at.type)
    newest = at > sa.func.coalesce(beyond.scalar_subquery(), before)
    return newest if until is None else sa.and_(newest, at < until)


def _span(at: Any, since: datetime, until: datetime | None) -> list[Any]:
    return [at >= since, *([at < until] if until is not None else [])]


def webhook_calls(
    database: Database, *, outcome: str = "", span: Span | None = None, limit: int = 100, offset: int = 0
) -> pd.DataFrame:
    """Webhooks as received, newest first. `outcome`: accepted, repeated, waiting, refused, or "" for all.

    `order` is the PONumber of the order that it is of, `po_number` else what it named.
    """
    names = [*("id", "received_at", "last_at", "outcome", "repeats", "rule", "reason", "source"), "action"]
    names += ["provider_id", "stated_at", "size"]
    po_number = sa.func.coalesce(ORDERS.c.po_number, CALLBACKS.c.po_number).label("po_number")
    order = ORDERS.c.po_number.label("order")
    query = select(*(CALLBACKS.c[name] for name in names), po_number, order).outerjoin(
        ORDERS, ORDERS.c.id == CALLBACKS.c.order_id
    )
    if span is not None:
        query = query.where(within(CALLBACKS.c.received_at, *span))
    if outcome == "repeated":
        query = query.where(REPEATED)
    elif outcome == "accepted":
        # As an expression: nearly all are, so that the newest are found among the newest of all, by their index.
        query = query.where(CALLBACKS.c.outcome.concat("") == outcome)
    elif outcome:
        query = query.where(CALLBACKS.c.outcome == outcome)
    return _newest(database, query, CALLBACKS.c.received_at, CALLBACKS.c.id, limit=limit, offset=offset)


def _newest(database: Database, query: Any, *by: Any, limit: int, offset: int = 0) -> pd.DataFrame:
    """So many rows of the query, those with the greatest values of these columns first."""
    with database.read() as connection:
        rows = connection.execute(query.order_by(*(each.desc() for each in by)).limit(limit).offset(offset))
        return pd.DataFrame(rows.all(), columns=list(rows.keys()))


@dataclass(frozen=True, slots=True)
class RefusalCounts:
    """How many webhook calls were refused since a time, by rule; `stored` of them can be looked at."""

    counted: int
    stored: int
    by_rule: Mapping[str, int]
    since: datetime


def refusal_counts(database: Database) -> RefusalCounts | None:
    """Count all refused webhook calls, also those of which nothing else is stored; None before the first one."""
    rows = select(sa.func.count()).select_from(CALLBACKS).where(CALLBACKS.c.outcome == "refused")
    with database.read() as connection:
        fact = get_fact(connection, FactKey.REFUSALS)
        stored = connection.execute(rows).scalar_one()
    if fact is None:
        return None
    value = fact.value
    counted = max(int(value["counted"]), stored)
    return RefusalCounts(counted, stored, value["by_rule"], datetime.fromisoformat(value["since"]))


def findings(database: Database) -> pd.DataFrame:
    """What the provider sends otherwise than its contract says: first, last, what, times; the newest kinds first."""
    with database.read() as connection:
        fact = get_fact(connection, FactKey.FINDINGS)
    rows = [
        (datetime.fromisoformat(entry["first"]), datetime.fromisoformat(entry["last"]), what, entry["times"])
        for what, entry in (fact.value if fact else {}).items()
    ]
    return pd.DataFrame(sorted(rows, reverse=True), columns=["first", "last", "what", "times"])


def batches(database: Database, limit: int = 50) -> pd.DataFrame:
    """Files that were handed in, newest first."""
    names = ("id", "created_at", "name", "rows", "orders", "actor", "digest")
    return _newest(database, select(*(BATCHES.c[name] for name in names)), BATCHES.c.id, limit=limit)


def filter_options(database: Database) -> dict[str, list[str]]:
    """Options for filters: the states that occur."""
    with database.read() as connection:
        occurring = select(COUNTERS.c.state).where(COUNTERS.c.name == "stock", COUNTERS.c.orders > 0).distinct()
        states = set(connection.execute(occurring).scalars())
    ours = [state.value for state in STATES]
    return {"states": ours + sorted(states - set(ours))}


def events(
    database: Database,
    since: datetime | None = None,
    limit: int = 100,
    *,
    span: Span | None = None,
    kinds: Sequence[str] = (),
    offset: int = 0,
) -> list[dict[str, Any]]:
    """The event log, newest first: at, learned_at, witness, kind, text, po_number, seq; times are datetimes."""
    query = select(EVENTS, ORDERS.c.po_number).join(ORDERS, ORDERS.c.id == EVENTS.c.order_id)
    conditions = [] if since is None else [EVENTS.c.learned_at >= since]
    conditions += [] if span is None else [within(EVENTS.c.learned_at, *span)]
    if kinds:
        chosen = newest_ids(EVENTS.c.id, EVENTS.c.kind, EVENTS.c.learned_at, kinds, offset + limit, *conditions)
        query = query.where(EVENTS.c.id.in_(select(chosen.subquery().c.id)))
    else:
        query = query.where(*conditions)
    newest = query.order_by(EVENTS.c.learned_at.desc(), EVENTS.c.id.desc()).limit(limit).offset(offset)
    with database.read() as connection:
        rows = connection.execute(newest).mappings().all()
    named = ("at", "learned_at", "witness", "kind", "text", "actor", "seq")
    entries = ((row["po_number"], describe_event(row)) for row in rows)
    return [{"po_number": number} | {name: getattr(entry, name) for name in named} for number, entry in entries]


def provider_calls(
    database: Database,
    *,
    failed: bool = False,
    method: str = "",
    span: Span | None = None,
    limit: int = 100,
    offset: int = 0,
) -> pd.DataFrame:
    """Calls of the provider's API, newest first, without bodies. `failed`: only those that did not end well."""
    names = ("id", "at", "method", "path", "status", "milliseconds", "outcome")
    query = select(*(EXCHANGES.c[name] for name in names), ORDERS.c.po_number).outerjoin(
        ORDERS, ORDERS.c.id == EXCHANGES.c.order_id
    )
    if span is not None:
        query = query.where(within(EXCHANGES.c.at, *span))
    if failed:
        query = query.where(EXCHANGES.c.outcome != "ok")
    if method:
        query = query.where(EXCHANGES.c.method == method)
    return _newest(database, query, EXCHANGES.c.at, EXCHANGES.c.id, limit=limit, offset=offset)


def count_differences(before: pd.DataFrame, current: pd.DataFrame) -> int:
    """Count the rows that have come, gone or changed since the same columns were read before."""
    earlier, now = (set(frame.astype(str).itertuples(index=False, name=None)) for frame in (before, current))
    return max(len(now - earlier), len(earlier - now))
