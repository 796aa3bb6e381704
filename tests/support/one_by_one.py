"""Made-up orders stored one by one, by the steps of live ingestion: what storing them in bulk is held against."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from tracking.app.demonstration.bulk import rows
from tracking.app.demonstration.bulk.histories import History
from tracking.forecasting.classes import first_late_after
from tracking.orders import model
from tracking.orders.vocabulary import PollReason
from tracking.provider import recipients
from tracking.storage import inbox
from tracking.storage import orders as order_store


def store_one_by_one(connection: Connection, histories: Sequence[History], now: datetime) -> None:
    """Store the histories as `ingest` stores live ones: each event by statements of its own."""
    for history in histories:
        order, polls = history.after[-1], history.polls
        waits = model.is_open(order.state) and order.provider_id is not None
        columns = {
            "looks": len(polls),
            "last_look_at": polls[-1] if polls else None,
            "next_look_at": now + timedelta(minutes=5) if waits else None,
            "next_look_why": PollReason.MAY_HAVE_FINISHED.value if waits else None,
            "late_at": (order.accepted_at or order.created_at) + first_late_after(order.type, order.units),
        }
        keys = [recipients.search_key({}, line.recipient) for line in history.after[0].lines]
        stored = order_store.add_order(connection, history.after[0], history.events[0], columns, keys)
        order_store.save_order(connection, stored, history.after[1:], history.events[1:])
        if history.webhook_at is not None:
            _, digest, *values, _, _ = rows.webhook_call(0, order, history.webhook_at, history.stated_at)
            outcome, action, po_number, provider_id, _, size = values
            call = {"digest": digest, "outcome": outcome, "action": action, "po_number": po_number}
            call |= {"provider_id": provider_id, "stated_at": history.stated_at, "order_id": stored.id, "size": size}
            inbox.record_webhook_call(connection, call, history.webhook_at)
