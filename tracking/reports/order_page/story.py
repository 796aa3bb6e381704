"""Timeline of one order: its events in sentences, runs of similar ones merged, and the next step. Bounded reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

from tracking.orders import wording
from tracking.orders.model import Approval, Submission, Witness
from tracking.orders.wording import TimelineEntry
from tracking.reports.order_page.rows import order_row, removal_entry
from tracking.reports.order_page.runs import merge_repeats
from tracking.storage.database import Database
from tracking.storage.retention.checkpoints import checkpoint_of
from tracking.storage.tables import EVENTS, ORDERS, OUTBOX

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


@dataclass(frozen=True, slots=True)
class Story:
    """An order's events as they happened, runs of equal ones as one row, the next scheduled step last.

    `fulfilled` is how many cards were fulfilled from when on, as polls showed it; from 0 where that is known.
    `polled_at` is when the last poll was answered.
    """

    rows: tuple[TimelineEntry, ...]
    fulfilled: tuple[tuple[datetime, int], ...]
    polled_at: datetime | None


def story_version(database: Database, order_id: int, now: datetime) -> tuple[object, ...]:
    """A key that changes whenever the timeline does, so that pages read all events again only then."""
    columns = (
        ORDERS.c[name] for name in ("event_count", "events_removed", "next_look_at", "last_look_at", "submission")
    )
    with database.read() as connection:
        row = connection.execute(select(*columns).where(ORDERS.c.id == order_id)).one()
    # A step that is overdue, or that a sender takes, is said to come now.
    moves = row.submission in _TO_SEND or (row.next_look_at is not None and row.next_look_at <= now)
    return (*row, now if moves else None)


def story(database: Database, order_id: int, now: datetime) -> Story:
    """The order's story; of more than EVENTS_READ events the newest."""
    with database.read() as connection:
        row = order_row(connection, order_id)
        events = as_happened(newest_events(connection, order_id))
        checkpoint = checkpoint_of(connection, order_id) if row["events_removed"] else None
        waiting = OUTBOX.c.order_id == order_id, OUTBOX.c.done.is_(False)
        send_at = connection.execute(select(OUTBOX.c.next_attempt_at).where(*waiting)).scalar()
    ahead = _next_step(row, send_at, now)
    rows = as_happened([*events, *([removal_entry(checkpoint)] if checkpoint else [])])
    return Story((*merge_repeats(rows), *([ahead] if ahead else [])), _fulfilled(row, events), row["last_look_at"])


def timeline(database: Database, order_id: int, now: datetime) -> list[TimelineEntry]:
    """The rows of the order's story."""
    return list(story(database, order_id, now).rows)


def _fulfilled(row: RowMapping, events: Sequence[TimelineEntry]) -> tuple[tuple[datetime, int], ...]:
    counted = [(event.at, int(event.changes["units_fulfilled"])) for event in events if _counts_cards(event)]
    placed_here = row["submission"] != Submission.ELSEWHERE and row["accepted_at"] is not None
    whole = bool(events) and events[0].seq == 1
    return ((row["accepted_at"], 0), *counted) if placed_here and whole and counted else tuple(counted)


def _counts_cards(event: TimelineEntry) -> bool:
    return event.changes.get("units_fulfilled") is not None


def _next_step(row: RowMapping, send_at: datetime | None, now: datetime) -> TimelineEntry | None:
    if send_at is not None and row["submission"] in _TO_SEND:
        text = "Resend under the same PO number" if row["submission"] == Submission.UNKNOWN else "Send to provider"
        text += ", once a second operator approved it" if row["approval"] == Approval.WAITING else ""
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
