"""Payloads: the JSON body of a delivery: the event, the order as it was then, the lines that changed.

Made from the log, so it is the same whenever it is made. No recipient, token, claim data or note of a person is in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from tracking.orders import wording
from tracking.orders.model import ORDER_FIELDS, Event
from tracking.reports import amounts
from tracking.reports.as_of.order import fold
from tracking.reports.order import order_summary
from tracking.reports.order_page.rows import order_row
from tracking.storage.database import Database
from tracking.storage.integration.event_types import EventType, changed_lines
from tracking.storage.retention.checkpoints import checkpoint_of, facts_by_then
from tracking.storage.tables import EVENTS

NOT_OF_THE_EVENT = frozenset({"next_look_at"})
"""Of an order's JSON: what changes without an event, so that nobody can say what it was at one."""
LATE = "Late: it took longer than orders like it, or longer than was promised"
_CHANGES = select(EVENTS.c.seq, EVENTS.c.changes).order_by(EVENTS.c.seq)


def render(database: Database, delivery: Mapping[Any, Any]) -> str:
    """Render what the delivery (id, message_id, event_type, order_id, seq, created_at) tells.

    Raises:
        UnknownOrder: its order is not stored any more.
    """
    with database.snapshot() as connection:
        row = order_row(connection, delivery["order_id"])
        seq = delivery["seq"]
        own = EVENTS.c.order_id == row["id"]
        event = None
        if delivery["event_type"] != EventType.ORDER_LATE and seq > row["events_removed"]:
            event = connection.execute(select(EVENTS).where(own, EVENTS.c.seq == seq)).mappings().one_or_none()
        then = dict(row) | _facts_at(connection, row, seq)
        values = amounts.order_values(connection, [then])[row["id"]]
    order = {name: value for name, value in order_summary(then, values).items() if name not in NOT_OF_THE_EVENT}
    data: dict[str, Any] = {"event": _event(delivery, event), "order": order | {"attention": then["attention_reason"]}}
    if delivery["event_type"] == EventType.LINE_CHANGED:
        data["lines"] = _lines(event)
    at = event["learned_at"] if event else delivery["created_at"]
    document = {"type": delivery["event_type"], "timestamp": _iso(at), "data": data}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def render_test(name: str, now: datetime) -> str:
    """Render what a person sends to see whether a receiver takes it."""
    document = {"type": "test", "timestamp": _iso(now), "data": {"subscription": name}}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _facts_at(connection: Connection, row: Mapping[Any, Any], seq: int) -> dict[str, Any]:
    """The order's facts after this event; where it left the store, those at the checkpoint that stayed."""
    if row["event_count"] == seq:
        return {}
    checkpoint = checkpoint_of(connection, row["id"]) if row["events_removed"] else None
    before = facts_by_then(checkpoint, row) if checkpoint else {}
    query = _CHANGES.where(EVENTS.c.order_id == row["id"], EVENTS.c.seq <= seq)
    order = fold(connection.execute(query).mappings().all(), before)
    return {name: getattr(order, name) for name in ORDER_FIELDS} if order else {}


def _event(delivery: Mapping[Any, Any], event: Mapping[Any, Any] | None) -> dict[str, Any]:
    """What happened, in words and as the log has it; without words once it left the log."""
    if event is None:
        late = delivery["event_type"] == EventType.ORDER_LATE
        texts = {"text": LATE if late else None, "happened_at": None, "learned_at": _iso(delivery["created_at"])}
        return {"id": delivery["message_id"], "seq": None if late else delivery["seq"], "witness": None, **texts}
    entry = wording.describe_event(event)
    return {
        "id": delivery["message_id"],
        "seq": entry.seq,
        "witness": entry.witness,
        "text": entry.text,
        "happened_at": _iso(entry.at),
        "learned_at": _iso(entry.learned_at),
    }


def _lines(row: Mapping[Any, Any] | None) -> list[dict[str, Any]]:
    """The lines whose status changed, by status: [{"status": "Completed", "numbers": [1, 2]}]."""
    numbers: dict[str, list[int]] = {}
    for number, status in _changed(row) if row is not None else ():
        numbers.setdefault(status, []).append(number)
    return [{"status": status, "numbers": each} for status, each in sorted(numbers.items())]


def _changed(row: Mapping[Any, Any]) -> Iterable[tuple[int, str]]:
    event = Event(row["kind"], row["witness"], row["happened_at"], row["learned_at"], line_changes=row["line_changes"])
    return changed_lines(event)


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
