"""Skipping: an operator gives up deliveries that wait, so that later ones of the same orders can leave."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy.engine import RowMapping

from tracking.access import Person
from tracking.delivery.subscribing import REMOVED_MARK
from tracking.errors import NotAllowed
from tracking.storage.database import Database
from tracking.storage.integration import deliveries
from tracking.storage.team import audit_log
from tracking.storage.team.audit_log import AuditKind
from tracking.submissions.actions import readable_note

AT_MOST = 100


def skip(database: Database, delivery_ids: Sequence[int], reason: str, *, by: Person, now: datetime) -> int:
    """Have these deliveries, which wait, never be sent; returns how many were skipped now, those before not counted.

    All of them or none. The reason stays with the delivery; the audit log holds no word of it, as it may name somebody.

    Raises:
        NotPermitted: the person may not.
        InvalidNote: the reason is missing or too long.
        NotAllowed: one is not there, does not wait any more, or is being sent just now.
    """
    by.must_operate()
    why, numbers = readable_note(reason), sorted(set(delivery_ids))
    if len(numbers) > AT_MOST:
        raise NotAllowed(f"at most {AT_MOST} messages are skipped at once")

    def job(connection: Connection) -> int:
        rows = deliveries.locked(connection, numbers)
        waiting = [rows[number] for number in numbers if _waits(number, rows.get(number), now)]
        deliveries.skip(connection, [row["id"] for row in waiting], now, by.name, why)
        for row in waiting:
            name = (row["subscription"] or "").partition(REMOVED_MARK)[0]
            detail = {"webhook": name, "event": row["event_type"], "delivery": row["id"]}
            audit_log.record_act(connection, by, AuditKind.HOOK_SKIPPED, now, order_id=row["order_id"], detail=detail)
        return len(waiting)

    return database.write(job)


def _waits(number: int, row: RowMapping | None, now: datetime) -> bool:
    """Whether it is to be skipped; False where it was. Raises NotAllowed."""
    if row is None:
        raise NotAllowed(f"there is no message with the number {number}")
    if row["state"] not in {"waiting", "skipped"}:
        raise NotAllowed(f"message {number} does not wait: it was {row['state']}")
    if row["lease_owner"] is not None and row["lease_until"] > now:
        raise NotAllowed(f"message {number} is being sent just now: see in a minute what came of it")
    return bool(row["state"] == "waiting")
