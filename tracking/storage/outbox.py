"""Outbox: orders that wait to be sent, leased by the sender, with their attempts. Steps of a job."""

import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, insert, select, update
from sqlalchemy.engine import RowMapping

from tracking.storage import orders
from tracking.storage.leases import LIMIT, RESCHEDULE_SPREAD, RESCHEDULED_AT_ONCE, lease_rows, unleased
from tracking.storage.tables import ORDERS, OUTBOX

_WAITING = OUTBOX.c.done.is_(False)
SENDABLE = and_(_WAITING, OUTBOX.c.held.is_(False))
_SEND_DUE = and_(SENDABLE, OUTBOX.c.next_attempt_at <= bindparam("now"), unleased(OUTBOX))
ANY_SEND_DUE = select(OUTBOX.c.order_id).where(_SEND_DUE).limit(1)
_BY = (OUTBOX.c.next_attempt_at, OUTBOX.c.order_id)
LEASE_SENDS = lease_rows(OUTBOX.c.order_id, _SEND_DUE, _BY, (OUTBOX.c.order_id, OUTBOX.c.request, OUTBOX.c.attempts))
INSERT_OUTBOX = insert(OUTBOX)
UPDATE_OUTBOX = update(OUTBOX).where(OUTBOX.c.order_id == bindparam("changed_id"))
COUNT_ATTEMPTS = (
    update(OUTBOX)
    .where(OUTBOX.c.order_id.in_(bindparam("sent", expanding=True)))
    .values(attempts=OUTBOX.c.attempts + 1)
    .returning(OUTBOX.c.order_id, OUTBOX.c.attempts)
)
_SENDING = select(ORDERS.c.id).join(OUTBOX, OUTBOX.c.order_id == ORDERS.c.id).where(ORDERS.c.submission == "sending")
INTERRUPTED = _SENDING.where(_WAITING, unleased(OUTBOX))
FURTHEST_SEND = timedelta(minutes=15)
_SENDS_TOO_FAR = select(OUTBOX.c.order_id).where(SENDABLE, OUTBOX.c.next_attempt_at > LIMIT).limit(RESCHEDULED_AT_ONCE)
_SHORTEN_LEASES = update(OUTBOX).where(_WAITING, OUTBOX.c.lease_until > LIMIT).values(lease_until=LIMIT)


def enqueue(
    connection: Connection, order_id: int, request: Mapping[str, Any], now: datetime, *, held: bool = False
) -> None:
    """Queue an order: commit the intent to send; `sender` does the rest, of what is `held` once that was approved."""
    row = {"order_id": order_id, "request": dict(request), "next_attempt_at": now, "held": held}
    connection.execute(INSERT_OUTBOX, row)


def release_held(connection: Connection, order_id: int, now: datetime, *, approved: bool) -> None:
    """Let go of an order that waited for a second person: due now, or where that person declined done with and held."""
    released = {"changed_id": order_id, "held": not approved, "done": not approved, "next_attempt_at": now}
    connection.execute(UPDATE_OUTBOX, released)


def request_of(connection: Connection, order_id: int) -> dict[str, Any] | None:
    """Read the document that is sent for the order; None where it was not placed here."""
    document = connection.execute(select(OUTBOX.c.request).where(OUTBOX.c.order_id == order_id)).scalar()
    return None if document is None else dict(document)


def requeue(connection: Connection, order_id: int, now: datetime) -> bool:
    """Make the order's outbox row due now; False where there is none."""
    due = {"changed_id": order_id, "done": False, "next_attempt_at": now}
    return connection.execute(UPDATE_OUTBOX, due).rowcount > 0


def requeue_unleased(connection: Connection, order_id: int, *, again_at: datetime | None, error: str | None) -> None:
    """Make the order's outbox row due at `again_at` where nobody is sending it; who is settles it anyway."""
    free = UPDATE_OUTBOX.where(OUTBOX.c.lease_owner.is_(None))
    values = {"changed_id": order_id, "done": False, "next_attempt_at": again_at, "last_error": error}
    connection.execute(free, values)


def attempts_of(connection: Connection, order_id: int) -> int:
    """Read how many attempts to send the order were committed."""
    return int(connection.execute(select(OUTBOX.c.attempts).where(OUTBOX.c.order_id == order_id)).scalar() or 0)


def lease_outbox(
    connection: Connection, now: datetime, *, owner: str, lease: timedelta, limit: int
) -> list[RowMapping]:
    """Lease due outbox rows, oldest first; rows that another worker holds are passed over."""
    values = {"now": now, "owner": owner, "until": now + lease, "at_most": limit}
    rows = connection.execute(LEASE_SENDS, values).mappings()
    return sorted(rows, key=lambda row: row["order_id"])


def record_attempts(connection: Connection, order_ids: Sequence[int]) -> dict[int, int]:
    """Count the attempts that are about to leave; returns the number of each order's, from 1."""
    rows = connection.execute(COUNT_ATTEMPTS, {"sent": list(order_ids)}) if order_ids else ()
    return {row.order_id: row.attempts for row in rows}


def finish_outbox(
    connection: Connection, order_id: int, *, again_at: datetime | None, error: str | None = None
) -> None:
    """End the lease: done, or due again at `again_at`."""
    values: dict[str, Any] = {"lease_owner": None, "lease_until": None, "last_error": error}
    values |= {"done": True} if again_at is None else {"next_attempt_at": again_at}
    orders.write(connection, UPDATE_OUTBOX, [{"changed_id": order_id, **values}])


def interrupted_sends(connection: Connection, now: datetime) -> list[int]:
    """Find orders whose attempt was recorded and whose worker is gone: the POST may have been carried out."""
    return list(connection.execute(INTERRUPTED, {"now": now}).scalars())


def any_send_due(connection: Connection, now: datetime) -> bool:
    """Tell whether an outbox row that nobody holds is due."""
    return connection.execute(ANY_SEND_DUE, {"now": now}).first() is not None


def reschedule_sends(connection: Connection, now: datetime, rng: random.Random) -> int:
    """Make orders due within a minute whose due time lies further ahead than any that is planned; returns how many.

    A POST may be under way, so leases are not ended; but none lasts longer than any ever does, lest that of a worker
    that died before the clock was set back hold its order until the clock comes there again.
    """
    limit = {"limit": now + FURTHEST_SEND}
    connection.execute(_SHORTEN_LEASES, limit)
    due = [
        {"order": order_id, "due": now + rng.random() * RESCHEDULE_SPREAD}
        for order_id in connection.execute(_SENDS_TOO_FAR, limit).scalars()
    ]
    if due:
        same = OUTBOX.c.order_id == bindparam("order")
        connection.execute(update(OUTBOX).where(same).values(next_attempt_at=bindparam("due")), due)
    return len(due)
