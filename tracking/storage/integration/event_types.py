"""Types of events for subscriptions, and which of them an entry of an order's log is. Pure.

An entry says it by itself, so that live events and those of a span that is replayed are judged alike.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum

from tracking.orders.model import Event, State, expand_numbers
from tracking.orders.vocabulary import EventKind

HISTORY_AFTER = timedelta(days=1)
"""What had been at the provider for longer when it was first seen here is history, and nobody is notified of it."""


class EventType(StrEnum):
    """What a subscription is notified of. A contract: a word once sent is never renamed."""

    ORDER_ACCEPTED = "order.accepted"
    ORDER_COMPLETED = "order.completed"
    ORDER_CANCELLED = "order.cancelled"
    ORDER_REFUSED = "order.refused"
    ORDER_LATE = "order.late"
    ORDER_ATTENTION = "order.attention"
    LINE_CHANGED = "line.changed"


_BY_STATE = {
    State.COMPLETED.value: EventType.ORDER_COMPLETED,
    State.CANCELLED.value: EventType.ORDER_CANCELLED,
    State.REFUSED.value: EventType.ORDER_REFUSED,
}


def types_of(event: Event) -> list[EventType]:
    """The types of a log's entry, in the order in which they are delivered; none of most entries.

    An order is completed once a poll has proven it; what a webhook claims sets no state. A lateness is no entry.
    """
    return list(_types_of(event)) if event.changes or event.line_changes else []


def _types_of(event: Event) -> Iterator[EventType]:
    changes = event.changes
    lines, state = bool(event.line_changes) and bool(changed_lines(event)), _BY_STATE.get(changes.get("state", ""))
    accepted, asks = changes.get("provider_id") is not None, changes.get("attention") is not None
    asks = asks or event.kind == EventKind.REOPENED
    if not (lines or state or accepted or asks) or _is_history(event):
        return
    if accepted:
        yield EventType.ORDER_ACCEPTED
    if lines:
        yield EventType.LINE_CHANGED
    if state:
        yield state
    if asks:
        yield EventType.ORDER_ATTENTION


def changed_lines(event: Event) -> list[tuple[int, str]]:
    """The lines whose status the entry changed: (number, status), by number."""
    statuses = ((each["numbers"], each["status"]) for each in event.line_changes if "status" in each)
    return sorted((number, status) for numbers, status in statuses for number in expand_numbers(numbers))


def _is_history(event: Event) -> bool:
    if event.kind == EventKind.DISCOVERED:
        return event.learned_at - event.happened_at > HISTORY_AFTER
    if event.detail.get("first_sight"):
        placed = event.changes.get("completed_after")
        return placed is not None and event.learned_at - datetime.fromisoformat(str(placed)) > HISTORY_AFTER
    return False
