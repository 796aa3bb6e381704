"""Subscriptions and deliveries as pages and the command line list them. Bounded reads.

No secret is read here, and of a URL no path and no query, which may hold one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

from tracking.errors import UnknownSubscription
from tracking.orders import wording
from tracking.storage.database import Database
from tracking.storage.integration import deliveries, subscriptions
from tracking.storage.integration.tables import DELIVERIES, DELIVERY_ATTEMPTS, SUBSCRIPTIONS, WAITING
from tracking.storage.tables import ORDERS

PAGE_SIZE = 50
COUNTED = 10_000
STATES = ("waiting", "delivered", "skipped", "dropped")
_TIMES = ("created_at", "state_at", "failing_since", "retry_at", "succeeded_at", "receives_from")
_LISTED = (
    "id", "message_id", "event_type", "order_id", "seq", "created_at", "state", "attempts", "next_attempt_at",
    "settled_at", "settled_by", "settled_why", "last_status", "last_error", "asked_by", "subscription_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hook:
    """A subscription, and how it fares.

    `waiting` counts up to COUNTED; `secrets` are the times until which each of its secrets signs, None for the newest.
    """

    id: int
    name: str
    url: str
    host: str
    state: str
    state_at: datetime
    state_by: str
    state_why: str | None
    event_types: tuple[str, ...]
    filters: Mapping[str, str]
    waiting: int
    oldest_at: datetime | None
    failing_since: datetime | None
    failures: int
    retry_at: datetime | None
    succeeded_at: datetime | None
    created_at: datetime
    created_by: str
    receives_from: datetime | None
    secrets: tuple[datetime | None, ...]

    @property
    def waiting_text(self) -> str:
        """How many wait, as it is known."""
        return f"{self.waiting:,}" if self.waiting <= COUNTED else f"more than {COUNTED:,}"


def hooks(database: Database) -> list[Hook]:
    """List all subscriptions but the removed ones, by name."""
    with database.read() as connection:
        return [_hook(connection, row) for row in subscriptions.listed(connection)]


def hook(database: Database, name: str) -> Hook:
    """Read one subscription. Raises UnknownSubscription."""
    with database.read() as connection:
        row = next((row for row in subscriptions.listed(connection) if row["name"] == name), None)
        if row is None:
            raise UnknownSubscription(f"there is no subscription named {name!r}")
        return _hook(connection, row)


def _hook(connection: Connection, row: RowMapping) -> Hook:
    named = ("id", "name", "state", "state_by", "state_why", "created_by", "failures", *_TIMES)
    own = DELIVERIES.c.subscription_id == row["id"]
    first = select(DELIVERIES.c.created_at).where(own, WAITING)
    oldest = first.order_by(DELIVERIES.c.next_attempt_at, DELIVERIES.c.id).limit(1)
    untils = [each["until"] and datetime.fromisoformat(each["until"]) for each in row["secrets"]]
    return Hook(
        **{name: row[name] for name in named},
        url=shortened(row["url"]),
        host=urlsplit(row["url"]).netloc,
        event_types=tuple(row["event_types"]),
        filters={name: row[name] for name in ("po_prefix", "order_type", "source") if row[name]},
        waiting=deliveries.count_waiting(connection, row["id"], COUNTED + 1),
        oldest_at=connection.execute(oldest).scalar(),
        secrets=tuple(untils),
    )


def shortened(url: str) -> str:
    """The URL up to its host: the rest may hold a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/..."


def hook_record(each: Hook) -> dict[str, Any]:
    """The subscription as `--json` prints it."""
    texts = {name: getattr(each, name) for name in ("name", "url", "state", "state_by", "state_why", "created_by")}
    times = {name: _iso(getattr(each, name)) for name in (*_TIMES, "oldest_at")}
    counts = {"waiting": min(each.waiting, COUNTED), "waiting_at_least": each.waiting > COUNTED}
    filters = {"event_types": list(each.event_types), **dict.fromkeys(("po_prefix", "order_type", "source"))}
    return texts | filters | dict(each.filters) | counts | {"failures": each.failures} | times


@dataclass(frozen=True, slots=True)
class DeliveryFilters:
    """Which deliveries to list; empty leaves nothing out."""

    subscription_id: int | None = None
    state: str = ""
    order_id: int | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as it is listed: of which event of which order to whom, and what came of it so far."""

    id: int
    hook: str
    message_id: str
    event_type: str
    order_id: int
    po_number: str
    seq: int
    created_at: datetime
    state: str
    attempts: int
    next_attempt_at: datetime
    settled_at: datetime | None
    settled_by: str | None
    settled_why: str | None
    last_status: int | None
    last_error: str | None

    @property
    def answer(self) -> str:
        """What the last attempt came to, in words."""
        if not self.attempts:
            return "not sent yet"
        return answer_words(self.last_status, self.last_error)


def answer_words(status: int | None, error: str | None) -> str:
    """What came of one attempt: "answered 200", and what else is known of it."""
    answered = f"answered {status}" if status else ""
    return wording.plain(": ".join(filter(None, (answered, error))) or "no answer")


def delivery_page(
    database: Database, filters: DeliveryFilters, *, below: int | None = None, limit: int = PAGE_SIZE
) -> tuple[list[Delivery], int | None]:
    """List deliveries that match, newest first, from below an id; returns them and where the next page goes on."""
    with database.read() as connection:
        rows = connection.execute(_newest(filters, below, limit + 1)).mappings().all()
        names = {row["id"]: row["name"] for row in connection.execute(_NAMES).mappings()}
    listed = [_delivery(row, names) for row in rows[:limit]]
    return listed, rows[limit - 1]["id"] if len(rows) > limit else None


def delivery(database: Database, delivery_id: int) -> Delivery | None:
    """Read one delivery; None where it has left the store."""
    columns = [DELIVERIES.c[name] for name in _LISTED]
    query = select(*columns, ORDERS.c.po_number).join(ORDERS, ORDERS.c.id == DELIVERIES.c.order_id)
    with database.read() as connection:
        row = connection.execute(query.where(DELIVERIES.c.id == delivery_id)).mappings().one_or_none()
        names = {each["id"]: each["name"] for each in connection.execute(_NAMES).mappings()}
    return None if row is None else _delivery(row, names)


def waits_behind(database: Database, each: Delivery) -> Delivery | None:
    """Read the first waiting delivery of its order and subscription, where that is before this one, which waits too."""
    own = DELIVERIES.alias("own")
    same = select(own.c.subscription_id).where(own.c.id == each.id).scalar_subquery()
    place = sa.tuple_(DELIVERIES.c.seq, DELIVERIES.c.id)
    before = place < sa.tuple_(sa.literal(each.seq), sa.literal(each.id))
    query = select(DELIVERIES.c.id).where(DELIVERIES.c.subscription_id == same, DELIVERIES.c.order_id == each.order_id)
    query = query.where(WAITING, before).order_by(DELIVERIES.c.seq, DELIVERIES.c.id).limit(1)
    with database.read() as connection:
        first = connection.execute(query).scalar()
    return None if first is None else delivery(database, first)


_NAMES = select(SUBSCRIPTIONS.c.id, SUBSCRIPTIONS.c.name)


def _newest(filters: DeliveryFilters, below: int | None, limit: int) -> Any:
    """The newest rows that match: along the index of an order, of a subscription and state, or the key."""
    conditions = [DELIVERIES.c.id < below] if below is not None else []
    key = DELIVERIES.c.id
    if filters.order_id is not None:
        conditions.append(DELIVERIES.c.order_id == filters.order_id)
    if filters.subscription_id is not None:
        conditions.append(DELIVERIES.c.subscription_id == filters.subscription_id)
    if filters.order_id is None and filters.subscription_id is not None:
        # The newest of each state along its index; sorting over all states would read every row.
        states = [filters.state] if filters.state else STATES
        each = [select(key).where(*conditions, DELIVERIES.c.state == state) for state in states]
        parts = [select(one.order_by(key.desc()).limit(limit).subquery()) for one in each]
        ids = select(sa.union_all(*parts).subquery().c.id)
        conditions = [key.in_(ids)]
    elif filters.state:
        conditions.append(DELIVERIES.c.state == filters.state)
    columns = [DELIVERIES.c[name] for name in _LISTED]
    query = select(*columns, ORDERS.c.po_number).join(ORDERS, ORDERS.c.id == DELIVERIES.c.order_id)
    return query.where(*conditions).order_by(key.desc()).limit(limit)


def _delivery(row: RowMapping, names: Mapping[int, str]) -> Delivery:
    hook_name = names.get(row["subscription_id"], "").partition("\n")
    name = f"{hook_name[0]} (removed)" if hook_name[1] else hook_name[0]
    left_out = {"asked_by", "subscription_id"}
    return Delivery(hook=name, **{each: value for each, value in row.items() if each not in left_out})


def delivery_record(each: Delivery) -> dict[str, Any]:
    """The delivery as `--json` prints it."""
    names = ("id", "hook", "message_id", "event_type", "po_number", "seq", "state", "attempts", "last_status")
    times = ("created_at", "next_attempt_at", "settled_at")
    due = each.next_attempt_at if each.state == "waiting" else None
    more = ("last_error", "settled_by", "settled_why")
    values = {name: getattr(each, name) for name in (*names, *more)}
    return values | {name: _iso(getattr(each, name)) for name in times} | {"next_attempt_at": _iso(due)}


def payload(database: Database, delivery_id: int) -> str | None:
    """Read what the delivery sends; None before its first attempt."""
    with database.read() as connection:
        return connection.execute(select(DELIVERIES.c.payload).where(DELIVERIES.c.id == delivery_id)).scalar()


def attempts(database: Database, delivery_id: int, limit: int = PAGE_SIZE) -> Sequence[RowMapping]:
    """List the newest attempts of a delivery, newest first."""
    query = select(DELIVERY_ATTEMPTS).where(DELIVERY_ATTEMPTS.c.delivery_id == delivery_id)
    with database.read() as connection:
        newest = query.order_by(DELIVERY_ATTEMPTS.c.number.desc()).limit(limit)
        return connection.execute(newest).mappings().all()


def _iso(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat() if at else None
