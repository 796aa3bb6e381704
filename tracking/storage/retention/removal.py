"""Removes the log of a finished order, with its lines, claim data, calls and documents. Steps of a job.

An order leaves once it is terminal, asks for no decision, is followed and snoozed no more, the lines of a completed one
are at their end, and its newest event is old enough. What does not agree with its log stays, as the log is what would
prove that. The checkpoint and the row change in one transaction; what is left to be deleted then follows in bounded
steps, also by another process. Its row stays: facts, head, PONumber, provider ID, the digest of the last answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, null, select, update

from tracking.orders.model import FINAL_LINE, FULFILLED_LINE, State
from tracking.storage.retention.checkpoints import digest_of, facts_of, movements_of
from tracking.storage.retention.order_audit import OrderAudit, StoredLog, read_log
from tracking.storage.retention.tables import CHECKPOINTS
from tracking.storage.search import texts
from tracking.storage.tables import (
    CALLBACKS,
    CLAIMS,
    EVENTS,
    EXCHANGES,
    FINISHED,
    LINES,
    ORDERS,
    OUTBOX,
    PREDICTIONS,
    insert_for,
)

ROWS_AT_ONCE = 60  # about three orders; other writes wait while they are removed
ORDERS_AT_ONCE = 20
_AT_MOST: Any = bindparam("at_most")
_ORDER: Any = bindparam("of_order")
_BEFORE: Any = bindparam("before")
_OLDEST = select(ORDERS.c.id).where(FINISHED, ORDERS.c.quiet_since < _BEFORE)
OLDEST_FINISHED = _OLDEST.order_by(ORDERS.c.quiet_since, ORDERS.c.id).limit(_AT_MOST)
_IS_FINISHED = select(ORDERS.c.id).where(FINISHED, ORDERS.c.id == _ORDER)
_LOCK_FINISHED = _IS_FINISHED.with_for_update()
_UNFINISHED = select(CHECKPOINTS.c.order_id, CHECKPOINTS.c.seq, CHECKPOINTS.c.removed_at)
UNFINISHED = _UNFINISHED.where(CHECKPOINTS.c.done.is_(False)).limit(_AT_MOST)
_PUT_OFF = update(ORDERS).where(ORDERS.c.id == _ORDER).values(quiet_since=bindparam("until"))
_NEWEST_EVENT = select(func.max(EVENTS.c.id))
_NEWEST_CALL = select(func.max(EXCHANGES.c.at)).where(EXCHANGES.c.order_id == _ORDER)
AT_THEIR_END = FULFILLED_LINE | FINAL_LINE


def delete_first_rows(key: Any, own: Any, *by: Any) -> Any:
    """Build the statement that deletes the first `at_most` by their key of the rows that are `own`."""
    first = select(key).where(own, *by).order_by(key).limit(_AT_MOST)
    return delete(key.table).where(own, key.in_(first))


_LEAVING = (
    delete_first_rows(EVENTS.c.seq, EVENTS.c.order_id == _ORDER, EVENTS.c.seq <= bindparam("seq")),
    delete_first_rows(LINES.c.number, LINES.c.order_id == _ORDER),
    delete_first_rows(CLAIMS.c.number, CLAIMS.c.order_id == _ORDER),
    # What came since the log began to leave is no part of it.
    delete_first_rows(EXCHANGES.c.id, EXCHANGES.c.order_id == _ORDER, EXCHANGES.c.at <= bindparam("began")),
    delete_first_rows(CALLBACKS.c.id, CALLBACKS.c.order_id == _ORDER, CALLBACKS.c.received_at <= bindparam("began")),
    delete_first_rows(PREDICTIONS.c.step, PREDICTIONS.c.order_id == _ORDER),
    delete(OUTBOX).where(OUTBOX.c.order_id == _ORDER),
)


@dataclass(slots=True)
class Removed:
    """What a step removed: orders, their events, rows; `unsound` orders do not agree with their log and stay.

    `calls_until` is when the newest API call that left was made.
    """

    orders: int = 0
    events: int = 0
    rows: int = 0
    unsound: int = 0
    calls_until: datetime | None = None

    @property
    def anything(self) -> bool:
        """Whether there was anything to do."""
        return any((self.orders, self.rows, self.unsound))


@dataclass(frozen=True, slots=True)
class ArchivedLog:
    """What an archive holds of an order: `seq` events, `head` the hash of the last."""

    order_id: int
    seq: int
    head: str
    archive_id: int | None = None


def remove_old(connection: Connection, before: datetime, now: datetime) -> Removed:
    """Finish removals that were begun, then remove the oldest logs; about ROWS_AT_ONCE rows in all."""
    removed = Removed()
    finish_removals(connection, removed)
    for order_id in oldest_finished(connection, before, ORDERS_AT_ONCE):
        if removed.rows >= ROWS_AT_ONCE:
            break
        remove_log(connection, order_id, before, now, removed)
    return removed


def remove_archived(
    connection: Connection, logs: Sequence[ArchivedLog], before: datetime, now: datetime
) -> tuple[Removed, int]:
    """Remove the first of these logs that were archived; returns how many of them are dealt with.

    An order with which something happened since it was archived stays, and comes again in a later archive.
    """
    removed = Removed()
    finish_removals(connection, removed)
    for number, log in enumerate(logs):
        if removed.rows >= ROWS_AT_ONCE:
            return removed, number
        remove_log(connection, log.order_id, before, now, removed, log)
    return removed, len(logs)


def oldest_finished(connection: Connection, before: datetime, at_most: int) -> list[int]:
    """Find finished orders that may have been quiet since before then, the oldest first."""
    return list(connection.execute(OLDEST_FINISHED, {"before": before, "at_most": at_most}).scalars())


def finish_removals(connection: Connection, removed: Removed) -> None:
    """Delete what is left of logs that began to leave."""
    for order_id, seq, began in connection.execute(UNFINISHED, {"at_most": ORDERS_AT_ONCE}).all():
        if removed.rows < ROWS_AT_ONCE:
            _delete_rows(connection, order_id, seq, began, removed)


@dataclass(frozen=True, slots=True)
class Judged:
    """Whether an order's log may be removed; with `until` it stays, and is judged again then. `audit` checked it."""

    log: StoredLog
    audit: OrderAudit
    until: datetime | None = None
    unsound: bool = False

    @property
    def quiet_since(self) -> datetime:
        """When its newest event was learned."""
        return datetime.fromisoformat(self.log.events[-1][1].learned_at).replace(tzinfo=UTC)


def judge(
    connection: Connection, order_id: int, before: datetime, now: datetime, *, locked: bool = True
) -> Judged | None:
    """Judge whether the order's log may leave; its row is locked. None for one that is not, or no longer, finished."""
    if connection.execute(_LOCK_FINISHED if locked else _IS_FINISHED, {"of_order": order_id}).first() is None:
        return None
    log = read_log(connection, order_id)
    if log is None or not log.events:
        return None
    judged = Judged(log, OrderAudit(log.events[-1][0], ()))
    if judged.quiet_since >= before:
        return replace(judged, until=judged.quiet_since)
    if log.row["state"] == State.COMPLETED and any(line.status not in AT_THEIR_END for line in log.lines):
        return replace(judged, until=now)
    if log.events[-1][0] == connection.execute(_NEWEST_EVENT).scalar():
        return replace(judged, until=now)  # SQLite would give its id away again
    return replace(judged, until=now, unsound=True) if list(judged.audit.check(log)) else judged


def put_off(connection: Connection, order_id: int, until: datetime) -> None:
    """Look at the order again once that is old enough."""
    connection.execute(_PUT_OFF, {"of_order": order_id, "until": until})


def remove_log(
    connection: Connection,
    order_id: int,
    before: datetime,
    now: datetime,
    removed: Removed,
    archived: ArchivedLog | None = None,
) -> None:
    """Remove the order's log, or put the order off."""
    judged = judge(connection, order_id, before, now)
    if judged is None:
        return
    removed.unsound += judged.unsound
    if judged.until is not None:
        put_off(connection, order_id, judged.until)
        return
    row = judged.log.row
    if archived is not None and (row["event_count"], row["head"]) != (archived.seq, archived.head):
        return
    _set_checkpoint(connection, judged, now, archived.archive_id if archived else None)
    removed.orders += 1
    removed.events += len(judged.log.events)
    if (newest := connection.execute(_NEWEST_CALL, {"of_order": order_id}).scalar()) is not None:
        removed.calls_until = max(newest, removed.calls_until or newest)
    _delete_rows(connection, order_id, row["event_count"], now, removed)


def _set_checkpoint(connection: Connection, judged: Judged, now: datetime, archive_id: int | None) -> None:
    log, row = judged.log, judged.log.row
    checkpoint: dict[str, Any] = {
        "order_id": row["id"],
        "seq": row["event_count"],
        "first_event": log.checkpoint["first_event"] if log.checkpoint else log.events[0][0],
        "last_event": log.events[-1][0],
        "last_at": judged.quiet_since,
        "movements": movements_of(judged.audit.recomputed),
        "facts": null(),
        "removed_at": now,
        "archive_id": archive_id,
        "done": False,
    }
    checkpoint["digest"] = digest_of(checkpoint, row["po_number"], row["head"], facts_of(row))
    adding = insert_for(connection.dialect.name, CHECKPOINTS).values(checkpoint)
    again = {name: adding.excluded[name] for name in checkpoint if name not in {"order_id", "first_event"}}
    connection.execute(adding.on_conflict_do_update(index_elements=["order_id"], set_=again))
    changes = {"events_removed": row["event_count"], "document": null()}
    connection.execute(update(ORDERS).where(ORDERS.c.id == row["id"]).values(changes))


def _delete_rows(connection: Connection, order_id: int, seq: int, began: datetime, removed: Removed) -> None:
    """Delete rows of the order until the step has done enough; marks the checkpoint once none is left."""
    for statement in _LEAVING:
        room = ROWS_AT_ONCE - removed.rows
        if room <= 0:
            return
        values = {"of_order": order_id, "seq": seq, "began": began, "at_most": room}
        removed.rows += connection.execute(statement, values).rowcount
    if removed.rows < ROWS_AT_ONCE:
        texts.replace_texts(connection, order_id)
        own = CHECKPOINTS.c.order_id == order_id
        removed.rows += connection.execute(update(CHECKPOINTS).where(own).values(done=True)).rowcount
