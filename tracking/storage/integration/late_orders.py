"""Notifications of late orders, once for each lateness, as no event of the log tells of it. Steps of a job.

An order is late once its `late_at` is over, so nothing happens at that moment: who delivers looks which orders it came
to since the last time. Where `late_at` is set to a time that is over already, its own transaction writes them.
What became late while no poller of ours ran may be complete, and counts for late once a poll has found it open.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, func, or_, select, true
from sqlalchemy.engine import RowMapping

from tracking.storage import facts
from tracking.storage.facts import FactKey
from tracking.storage.integration.event_types import EventType
from tracking.storage.integration.notifications import Subscriber, lateness_digest, rows_of, subscribers
from tracking.storage.integration.tables import DELIVERIES
from tracking.storage.tables import OPEN, ORDERS, insert_for

KEEP = timedelta(days=30)
"""For how long deliveries are stored, and so for how long it is known who was notified of what."""
OVERLAP = timedelta(minutes=1)
"""Looked at once more: what set a `late_at` that was near may have been committed after the last look."""
FURTHEST_BACK = KEEP - timedelta(days=1)
AT_ONCE = 500
CAUGHT_UP_AFTER = timedelta(minutes=10)
"""So long after its start a poller has asked for all that was due before it, as far as the provider answers."""
_IDS: Any = bindparam("ids", expanding=True)
_COLUMNS = [ORDERS.c[name] for name in ("id", "po_number", "type", "source", "created_at", "late_at", "event_count")]
_LATE = select(*_COLUMNS).where(OPEN, ORDERS.c.late_at <= bindparam("now"))
_LATE_OF_THESE = _LATE.where(ORDERS.c.id.in_(_IDS)).order_by(ORDERS.c.id).with_for_update()
_NOTIFIED = (
    select(DELIVERIES.c.order_id, DELIVERIES.c.subscription_id, func.max(DELIVERIES.c.created_at))
    .where(DELIVERIES.c.order_id.in_(_IDS), DELIVERIES.c.event_type == EventType.ORDER_LATE.value)
    .group_by(DELIVERIES.c.order_id, DELIVERIES.c.subscription_id)
)
_SINCE: Any = bindparam("since")
_BECAME_LATE = _LATE.where(ORDERS.c.late_at > _SINCE).order_by(ORDERS.c.late_at).limit(AT_ONCE)
_BECAME_LATE_AT = _LATE.where(ORDERS.c.late_at == _SINCE)
_FIRST_LATE = select(func.min(ORDERS.c.late_at)).where(OPEN, ORDERS.c.late_at <= bindparam("now"))


def is_judged(connection: Connection, now: datetime) -> ColumnElement[bool]:
    """Match the orders whose `late_at` may be judged by: a poller ran at that time, or a poll found them open since.

    All of them, once the poller that runs has caught up.
    """
    beat = facts.get_fact(connection, facts.heartbeat_key("poller"))
    since = beat and beat.value.get("since")
    if beat is None or since is None:
        return true()
    begin = datetime.fromisoformat(since)
    if facts.is_running(beat, now) and not timedelta() <= now - begin < CAUGHT_UP_AFTER:
        return true()
    ran = ORDERS.c.late_at.between(begin, beat.at + facts.LOOP_SILENT_AFTER)
    return or_(ran, ORDERS.c.last_open_at >= ORDERS.c.late_at)


def notify(connection: Connection, order_ids: Sequence[int], now: datetime) -> int:
    """Write the notifications of those of these orders that are late by now; returns how many were not written before.

    One that was notified of since the order's `late_at` counts for it, though that was another time then: the order has
    been late all along. What was late before a subscription was made is no news for it.
    """
    if not wanting(connection):
        return 0
    late = connection.execute(_LATE_OF_THESE, {"ids": list(order_ids), "now": now}).mappings().all()
    if rows := missing(connection, late, now):
        adding = insert_for(connection.dialect.name, DELIVERIES)
        connection.execute(adding.on_conflict_do_nothing(index_elements=["subscription_id", "message_id"]), rows)
    return len(rows)


def wanting(connection: Connection) -> list[Subscriber]:
    """The subscriptions that are notified of late orders."""
    return [one for one in subscribers(connection) if not one.event_types or EventType.ORDER_LATE in one.event_types]


def missing(connection: Connection, late: Sequence[RowMapping], now: datetime) -> list[dict[str, Any]]:
    """Make the rows that are not there yet of these late orders."""
    ids = [order["id"] for order in late]
    notified = {row[:2]: row[2] for row in connection.execute(_NOTIFIED, {"ids": ids})} if ids else {}
    rows: list[dict[str, Any]] = []
    for order in late:
        late_at, key = order["late_at"], (order["id"], order["po_number"], order["type"], order["source"])
        # What seems to have been made later than now was made before the clock was set back.
        fresh = [one for one in wanting(connection) if one.created_at <= late_at or one.created_at > now]
        due = [one for one in fresh if (at := notified.get((order["id"], one.id))) is None or at < late_at]
        digest = lateness_digest(order["po_number"], order["created_at"], late_at)
        rows += rows_of(due, key, [EventType.ORDER_LATE], order["event_count"], digest, now)
    return rows


def looked_until(connection: Connection, now: datetime) -> datetime:
    """Until when it was looked for late orders; long ago where it was not, or the clock was set back."""
    stored = facts.get_fact(connection, FactKey.LATE_NOTIFICATIONS)
    until = datetime.fromisoformat(stored.value["until"]) if stored else None
    return until if until is not None and until <= now else now - FURTHEST_BACK


def became_late(connection: Connection, since: datetime, now: datetime) -> Sequence[RowMapping]:
    """Read the open orders that became late after this time, the first ones first.

    AT_ONCE of them at the most, unless more became late at one moment: all of a moment are read together.
    """
    judged = is_judged(connection, now)
    rows = connection.execute(_BECAME_LATE.where(judged), {"since": since, "now": now}).mappings().all()
    if len(rows) < AT_ONCE:
        return rows
    last = rows[-1]["late_at"]
    whole = [row for row in rows if row["late_at"] < last]
    return whole or connection.execute(_BECAME_LATE_AT.where(judged), {"since": last, "now": now}).mappings().all()


def note_look(connection: Connection, now: datetime) -> None:
    """Note that all who became late until now were looked for, or until the first of which nobody knows yet."""
    unjudged = connection.execute(_FIRST_LATE.where(~is_judged(connection, now)), {"now": now}).scalar()
    until = now if unjudged is None else max(unjudged, now - FURTHEST_BACK)
    value = {"until": until.isoformat()}
    stored = facts.get_fact(connection, FactKey.LATE_NOTIFICATIONS)
    if stored is None or stored.value != value:
        facts.set_fact(connection, FactKey.LATE_NOTIFICATIONS, value, now)


def look_again(connection: Connection, now: datetime) -> None:
    """Make the next search for late orders begin anew, as the limits have changed."""
    facts.set_fact(connection, FactKey.LATE_NOTIFICATIONS, {"until": (now - FURTHEST_BACK).isoformat()}, now)
