"""One order as of a moment: its log folded up to then, its timeline, and what is known today. Bounded reads.

Its log is taken up to the first event that was learned later, so that it is what was stored at that moment. Bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.engine import RowMapping

from tracking.errors import NotComputed
from tracking.orders import model, wording
from tracking.orders.model import ORDER_FIELDS, Event, Order, State, Witness
from tracking.orders.wording import TimelineEntry
from tracking.reports.evidence.proof import FACT_LABELS, facts, verdict
from tracking.reports.order_page.rows import order_row, removal_text
from tracking.reports.order_page.runs import merge_repeats
from tracking.reports.order_page.story import as_happened
from tracking.storage.database import Database
from tracking.storage.retention.checkpoints import checkpoint_of, facts_by_then
from tracking.storage.tables import EVENTS, LINES

EVENTS_AT_MOST = 20_000


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact that is another one today; None where it was, or is, not set."""

    fact: str
    then: str | None
    today: str | None


@dataclass(frozen=True, slots=True)
class OrderAsOf:
    """An order as it was known at `moment`, beside what is known of it today.

    `then` is None where nothing was known of it yet, up to `first_at`. `rows` is its timeline up to then, runs of equal
    events as one row. Lines are counted by status. Times in the texts are in the reader's zone.
    """

    moment: datetime
    first_at: datetime
    then: Order | None
    today: Order
    verdicts: tuple[str | None, str]
    events: int
    events_today: int
    rows: tuple[TimelineEntry, ...]
    lines: Mapping[str, int]
    lines_today: Mapping[str, int]
    differences: tuple[Difference, ...]


def order_as_of(database: Database, order_id: int, moment: datetime) -> OrderAsOf:
    """Read the order as it was known at the moment.

    Raises:
        UnknownOrder: no order has this id.
        NotComputed: its log up to then is too long to be folded for a page, or left the store.
    """
    with database.snapshot() as connection:
        row = order_row(connection, order_id)
        checkpoint = checkpoint_of(connection, order_id) if row["events_removed"] else None
        if checkpoint is not None and moment < checkpoint["last_at"]:
            until = f"What was known before {wording.clock(checkpoint['last_at'])} is not stored any more"
            raise NotComputed(f"{until}: {removal_text(checkpoint)}")
        events = _events_until(connection, row, moment)
        lines = connection.execute(select(LINES.c.number, LINES.c.status).where(LINES.c.order_id == order_id)).all()
        oldest = select(EVENTS.c.learned_at).where(EVENTS.c.order_id == order_id).order_by(EVENTS.c.seq).limit(1)
        first_at = connection.execute(oldest).scalar() or row["created_at"]
    today = Order(**{name: row[name] for name in ORDER_FIELDS})
    then = fold(events, facts_by_then(checkpoint, row) if checkpoint else {})
    return OrderAsOf(
        moment=moment,
        first_at=first_at,
        then=then,
        today=today,
        verdicts=(verdict(then) if then else None, verdict(today)),
        events=row["events_removed"] + len(events),
        events_today=row["event_count"],
        rows=tuple(merge_repeats(as_happened(map(wording.describe_event, events)))),
        lines=_lines_then([number for number, _ in lines], events) if then else {},
        lines_today=Counter(status for _, status in lines),
        differences=_differences(then, today) if then else (),
    )


def _events_until(connection: Connection, row: RowMapping, moment: datetime) -> Sequence[RowMapping]:
    """The order's events before the first that was learned after the moment."""
    own = EVENTS.c.order_id == row["id"]
    later = connection.execute(select(func.min(EVENTS.c.seq)).where(own, EVENTS.c.learned_at > moment)).scalar()
    until = own if later is None else own & (EVENTS.c.seq < later)
    query = select(EVENTS).where(until).order_by(EVENTS.c.seq).limit(EVENTS_AT_MOST + 1)
    events = connection.execute(query).mappings().all()
    if len(events) > EVENTS_AT_MOST:
        much = f"more than {EVENTS_AT_MOST:,} events by then"
        raise NotComputed(f"{row['po_number']} had {much}; its evidence file holds them all")
    return events


def fold(events: Sequence[Mapping[Any, Any]], before: Mapping[str, Any]) -> Order | None:
    """Fold rows of the log into the order, without lines; None without any. To merge what they set is to apply each.

    `before` are the facts at the checkpoint after which the log begins.
    """
    if not events and not before:
        return None
    changes: dict[str, Any] = dict(before)
    for event in events:
        changes |= model.complete_changes(event["changes"])
    moment = datetime.fromtimestamp(0, UTC)
    return model.first_order(Event("", Witness.US, moment, moment, changes))


def _lines_then(numbers: Sequence[int], events: Sequence[Mapping[Any, Any]]) -> Mapping[str, int]:
    statuses = dict.fromkeys(numbers, State.PENDING.value)
    for event in events:
        for change in event["line_changes"]:
            if "status" in change:
                statuses |= dict.fromkeys(model.expand_numbers(change["numbers"]), change["status"])
    return Counter(statuses.values())


def _differences(then: Order, today: Order) -> tuple[Difference, ...]:
    before, after = (facts(order, wording.clock) for order in (then, today))
    changed = (name for name in FACT_LABELS if getattr(then, name) != getattr(today, name))
    return tuple(Difference(FACT_LABELS[name], before.get(name), after.get(name)) for name in changed)
