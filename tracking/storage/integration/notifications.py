"""Notifications: rows of deliveries, added in the transaction of the event they tell of. Steps of a job.

What is known of the subscriptions is read once a transaction, and only where something happened that one may want.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from tracking.orders.model import Event, Order, folded_id
from tracking.storage.integration.event_types import EventType, types_of
from tracking.storage.integration.tables import DELIVERIES, SUBSCRIPTIONS

INSERT_DELIVERIES = insert(DELIVERIES)
_REMOVED = "removed"
_COLUMNS = ("id", "event_types", "po_prefix", "order_type", "source", "created_at")
_SUBSCRIBERS = select(*(SUBSCRIPTIONS.c[name] for name in _COLUMNS)).where(SUBSCRIPTIONS.c.state != _REMOVED)
_READ = "subscribers"  # in a connection's `info`, with the transaction that they were read in
_ID_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Subscriber:
    """What a subscription wants: which types of events, none for all, of which orders, and since when."""

    id: int
    event_types: tuple[str, ...]
    po_prefix: str | None
    order_type: str | None
    source: str | None
    created_at: datetime

    def wants(self, event_type: str, po_number: str, order_type: str, source: str) -> bool:
        """Whether the subscription is notified of an event of this type of such an order."""
        return (
            (not self.event_types or event_type in self.event_types)
            and (not self.po_prefix or folded_id(po_number).startswith(folded_id(self.po_prefix)))
            and self.order_type in {None, order_type}
            and self.source in {None, source}
        )


def subscribers(connection: Connection) -> tuple[Subscriber, ...]:
    """All subscriptions, as they were when this transaction first asked; the paused ones too, for which rows wait."""
    transaction, info = connection.get_transaction(), connection.info
    read = info.get(_READ)
    if read is None or transaction is None or read[0] is not transaction:
        rows = connection.execute(_SUBSCRIBERS.order_by(SUBSCRIPTIONS.c.id)).all()
        read = transaction, tuple(Subscriber(row.id, tuple(row.event_types), *row[2:]) for row in rows)
        info[_READ] = read
    wanting: tuple[Subscriber, ...] = read[1]
    return wanting


@contextlib.contextmanager
def nobody_notified(connection: Connection) -> Iterator[None]:
    """Write what is past in the block, of which nobody is notified."""
    connection.info[_READ] = connection.get_transaction(), ()
    try:
        yield
    finally:
        forget_subscribers(connection)


def forget_subscribers(connection: Connection) -> None:
    """Have the subscriptions read anew, as this transaction changes them."""
    connection.info.pop(_READ, None)


OrderKey = tuple[int, str, str, str]
"""An order as subscriptions choose it: row id, PONumber, type, source."""


def deliveries_of(
    connection: Connection,
    order_id: int,
    order: Order,
    events: Sequence[Event],
    log: Sequence[Mapping[str, Any]],
    head: str,
) -> list[dict[str, Any]]:
    """The rows that these events of the order add, mostly none; `log` are their rows, `head` the hash of the last."""
    rows: list[dict[str, Any]] = []
    for place, event in enumerate(events):
        if types := types_of(event):
            digest = log[place + 1]["previous"] if place + 1 < len(log) else head
            key = order_id, order.po_number, order.type, order.source
            seq = log[place]["seq"]
            rows += rows_of(subscribers(connection), key, types, seq, digest, event.learned_at)
    return rows


def rows_of(
    wanting: Iterable[Subscriber], order: OrderKey, types: Sequence[EventType], seq: int, digest: str, now: datetime
) -> Iterator[dict[str, Any]]:
    """A row, due at once, for each of the types and each subscription that wants it; `digest` is the event's hash."""
    order_id, *key = order
    for subscriber in wanting:
        for event_type in types:
            if subscriber.wants(event_type, *key):
                yield {
                    "subscription_id": subscriber.id,
                    "message_id": message_id(digest, event_type),
                    "event_type": event_type.value,
                    "order_id": order_id,
                    "seq": seq,
                    "created_at": now,
                    "next_attempt_at": now,
                    "state": "waiting",
                    "attempts": 0,
                }


def message_id(digest: str, event_type: str) -> str:
    """What a receiver knows a notification by: of the event's hash, which no other event of any store has.

    The standard allows no full stop in it.
    """
    return f"msg_{digest[:_ID_LENGTH]}_{event_type.replace('.', '_')}"


def lateness_digest(po_number: str, created_at: datetime, late_at: datetime) -> str:
    """What stands for the hash of a lateness, which is no event: one for each order and time from which it is late."""
    text = f"{po_number} {created_at.isoformat()} late since {late_at.isoformat()}"
    return hashlib.sha256(text.encode()).hexdigest()
