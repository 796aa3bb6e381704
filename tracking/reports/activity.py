"""Activity: list webhook calls received, calls made, events and files, newest first. Bounded reads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import select

from tracking.orders import wording as _sentences
from tracking.orders.wording import TimelineEntry, describe_event
from tracking.reports.trends import STATES
from tracking.startup import pd
from tracking.storage.database import Database
from tracking.storage.facts import FactKey, get_fact
from tracking.storage.tables import BATCHES, CALLBACKS, COUNTERS, EVENTS, EXCHANGES, ORDERS


def webhook_calls(database: Database, *, outcome: str = "", limit: int = 100, offset: int = 0) -> pd.DataFrame:
    """Callbacks as received, newest first. `outcome`: accepted, repeated, waiting, refused, or "" for all."""
    names = ("received_at", "last_at", "outcome", "repeats", "reason", "action", "provider_id", "stated_at", "size")
    po_number = sa.func.coalesce(ORDERS.c.po_number, CALLBACKS.c.po_number).label("po_number")
    query = select(*(CALLBACKS.c[name] for name in names), po_number).outerjoin(
        ORDERS, ORDERS.c.id == CALLBACKS.c.order_id
    )
    if outcome == "repeated":
        query = query.where(CALLBACKS.c.repeats > 0)
    elif outcome:
        query = query.where(CALLBACKS.c.outcome == outcome)
    newest = query.order_by(CALLBACKS.c.received_at.desc(), CALLBACKS.c.id.desc()).limit(limit).offset(offset)
    with database.read() as connection:
        return pd.DataFrame(connection.execute(newest).all(), columns=[*names, "po_number"])


def refusal_count(database: Database) -> int | None:
    """Count all refused webhook calls, also those no longer stored; None before the first one."""
    with database.read() as connection:
        stored = get_fact(connection, FactKey.REFUSALS)
    return int(stored.value.get("counted", 0)) if stored else None


def batches(database: Database, limit: int = 50) -> pd.DataFrame:
    """Files that were handed in, newest first."""
    names = ("created_at", "name", "rows", "orders", "actor", "digest")
    newest = select(*(BATCHES.c[name] for name in names)).order_by(BATCHES.c.id.desc()).limit(limit)
    with database.read() as connection:
        return pd.DataFrame(connection.execute(newest).all(), columns=list(names))


def filter_options(database: Database) -> dict[str, list[str]]:
    """What there is to filter by: the states that occur, the kinds of events."""
    with database.read() as connection:
        occurring = select(COUNTERS.c.state).where(COUNTERS.c.name == "stock", COUNTERS.c.orders > 0).distinct()
        states = set(connection.execute(occurring).scalars())
    ours = [state.value for state in STATES]
    return {"states": ours + sorted(states - set(ours)), "kinds": list(_sentences.KINDS)}


def events(
    database: Database, since: datetime | None = None, limit: int = 100, *, kinds: Sequence[str] = (), offset: int = 0
) -> list[dict[str, Any]]:
    """The event log, newest first: at, learned_at, witness, kind, text, po_number, seq; times are datetimes."""
    query = select(EVENTS, ORDERS.c.po_number).join(ORDERS, ORDERS.c.id == EVENTS.c.order_id)
    if since is not None:
        query = query.where(EVENTS.c.learned_at >= since)
    if kinds:
        query = query.where(EVENTS.c.kind.in_(kinds))
    newest = query.order_by(EVENTS.c.learned_at.desc(), EVENTS.c.id.desc()).limit(limit).offset(offset)
    with database.read() as connection:
        rows = connection.execute(newest).mappings().all()
    return [_log_record(row["po_number"], describe_event(row)) for row in rows]


def _log_record(po_number: str, entry: TimelineEntry) -> dict[str, Any]:
    named = ("at", "learned_at", "witness", "kind", "text", "actor", "seq")
    return {"po_number": po_number, **{name: getattr(entry, name) for name in named}}


def provider_calls(
    database: Database, *, failed: bool = False, method: str = "", limit: int = 100, offset: int = 0
) -> pd.DataFrame:
    """Calls of the provider's API, newest first, without bodies. `failed`: only those without a 2xx."""
    names = ("at", "method", "path", "status", "milliseconds", "outcome")
    query = select(*(EXCHANGES.c[name] for name in names), ORDERS.c.po_number).outerjoin(
        ORDERS, ORDERS.c.id == EXCHANGES.c.order_id
    )
    if failed:
        query = query.where(sa.or_(EXCHANGES.c.status.is_(None), EXCHANGES.c.status >= 300))
    if method:
        query = query.where(EXCHANGES.c.method == method)
    newest = query.order_by(EXCHANGES.c.at.desc(), EXCHANGES.c.id.desc()).limit(limit).offset(offset)
    with database.read() as connection:
        return pd.DataFrame(connection.execute(newest).all(), columns=[*names, "po_number"])
