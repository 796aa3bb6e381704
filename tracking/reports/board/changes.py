"""Latest changes: the last change of each order's state, or webhook's claim, newest first. Bounded reads.

Orders that were already old when they were first seen are history: thousands of them may be found within a minute, and
none of them changed. They are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

from tracking.orders.model import Submission
from tracking.orders.vocabulary import EventKind
from tracking.orders.wording import TimelineEntry, describe_event
from tracking.storage.database import Database
from tracking.storage.tables import EVENTS, ORDERS

CHANGES_LISTED = 12
EVENTS_READ, MOST_EVENTS_READ = 300, 3_000
HISTORY_AFTER = timedelta(hours=1)
FIRST_SIGHT = 2  # the events of an order that a list showed: that it was there, and what it was like


@dataclass(frozen=True, slots=True)
class Change:
    """The last change of an order's state, or the webhook that claims one.

    `state` is the one it came to then, None with a claim: `entry` says which.
    """

    po_number: str
    state: str | None
    entry: TimelineEntry

    @property
    def key(self) -> tuple[str, int]:
        """What tells this change from a later one of the same order."""
        return self.po_number, self.entry.seq


def latest_changes(database: Database) -> tuple[Change, ...]:
    """The latest CHANGES_LISTED changes, each order once; fewer where history is being read in right now."""
    with database.read() as connection:
        changes = _changes(connection, EVENTS_READ)
        if len(changes) < CHANGES_LISTED:
            changes = _changes(connection, MOST_EVENTS_READ)
    return changes


def _changes(connection: Connection, limit: int) -> tuple[Change, ...]:
    entries: dict[str, Change] = {}
    for row in _newest_events(connection, limit):
        if row["po_number"] not in entries and not _is_dull(row):
            entries[row["po_number"]] = Change(row["po_number"], row["changes"].get("state"), describe_event(row))
        if len(entries) == CHANGES_LISTED:
            break
    return tuple(entries.values())


def _newest_events(connection: Connection, limit: int) -> Iterator[RowMapping]:
    newest = select(EVENTS).order_by(EVENTS.c.learned_at.desc(), EVENTS.c.id.desc()).limit(limit).subquery()
    of_order = (ORDERS.c.po_number, ORDERS.c.created_at, ORDERS.c.submission)
    latest = select(newest, *of_order).join(ORDERS, ORDERS.c.id == newest.c.order_id)
    # A page of the provider's list is learned at one moment, and its newest order stands at its head.
    latest = latest.order_by(newest.c.learned_at.desc(), ORDERS.c.created_at.desc(), newest.c.id.desc())
    yield from connection.execute(latest).mappings()


def _is_dull(row: RowMapping) -> bool:
    """Whether the event is no change of the state, such as a note, or an old order seen for the first time."""
    if row["kind"] != EventKind.WEBHOOK_CLAIMED and "state" not in row["changes"]:
        return True
    age: timedelta = row["learned_at"] - row["created_at"]
    return row["submission"] == Submission.ELSEWHERE and row["seq"] <= FIRST_SIGHT and age > HISTORY_AFTER
