"""The story of one order: its events in sentences, runs of equal ones as one, and the next step. Bounded."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

from tracking.orders import wording
from tracking.orders.model import Submission, Witness
from tracking.orders.wording import TimelineEntry
from tracking.reports.order_page.rows import order_row
from tracking.storage.database import Database
from tracking.storage.tables import EVENTS, OUTBOX

EVENTS_READ = 5000
_TO_SEND = frozenset({Submission.QUEUED, Submission.SENDING, Submission.UNKNOWN})


def newest_events(
    connection: Connection, order_id: int, limit: int = EVENTS_READ, offset: int = 0
) -> list[TimelineEntry]:
    """The newest first."""
    newest = select(EVENTS).where(EVENTS.c.order_id == order_id).order_by(EVENTS.c.seq.desc())
    return [wording.describe_event(row) for row in connection.execute(newest.limit(limit).offset(offset)).mappings()]


def as_happened(events: Iterable[TimelineEntry]) -> list[TimelineEntry]:
    """In the order in which they happened, which is not the one in which we learned of them."""
    return sorted(events, key=lambda event: (event.at, event.seq))


def timeline(database: Database, order_id: int, now: datetime) -> list[TimelineEntry]:
    """The order's events as they happened, runs of equal looks as one row, the next scheduled step last."""
    with database.read() as connection:
        row = order_row(connection, order_id)
        rows = wording.merge_repeats(as_happened(newest_events(connection, order_id)))
        waiting = OUTBOX.c.order_id == order_id, OUTBOX.c.done.is_(False)
        send_at = connection.execute(select(OUTBOX.c.next_attempt_at).where(*waiting)).scalar()
    return [*rows, ahead] if (ahead := _next_step(row, send_at, now)) is not None else rows


def _next_step(row: RowMapping, send_at: datetime | None, now: datetime) -> TimelineEntry | None:
    if send_at is not None and row["submission"] in _TO_SEND:
        text = "Resend under the same PO number" if row["submission"] == Submission.UNKNOWN else "Send to provider"
        at, witness = max(send_at, now), Witness.US
    elif row["next_look_at"] is not None:
        # A list page that shows the order may come sooner.
        reason = wording.poll_reason(row["next_look_why"])
        text = f"Next poll at the latest: {reason}" if reason else "Next poll at the latest"
        at, witness = max(row["next_look_at"], now), Witness.POLL
    else:
        return None
    return TimelineEntry(at=at, until=at, learned_at=at, witness=witness.value, kind="ahead", text=text, ahead=True)


def all_events(database: Database, order_id: int, page: int = 1, size: int = 100) -> list[TimelineEntry]:
    """One page of the order's events, newest first."""
    with database.read() as connection:
        return newest_events(connection, order_id, size, (page - 1) * size)
