"""Events of all orders by number, up to one below which no other can still appear. Bounded reads.

On SQLite one writes at a time, and numbers are committed in their order. On PostgreSQL a transaction takes its numbers
before it commits, and one that took a later number may commit sooner: whoever has read that would never see the earlier
one. What may still commit an earlier number holds a lock on the table, which the server takes before the number.
"""

import threading
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

from tracking.storage.tables import EVENTS, ORDERS

SINCE_AMONG = 1000
PENDING_AT_MOST = 64
_NEWEST = select(sa.func.max(EVENTS.c.id))
_WRITERS = sa.text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND relation = 'events'::regclass"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND mode = 'RowExclusiveLock' AND granted"
)


class Horizon:
    """The number up to which every event is committed, so that none below it can still appear; one for each process."""

    def __init__(self) -> None:
        self._settled = 0
        self._pending: list[tuple[int, frozenset[str]]] = []  # numbers, and who may still commit earlier ones
        self._lock = threading.Lock()

    def advance(self, connection: Connection) -> tuple[int, int]:
        """Move the horizon on; returns it, and the newest event's number.

        Read before what is delivered is read: first the newest number, then who writes, then the events.
        """
        newest = newest_number(connection)
        writers = frozenset[str]()
        if connection.dialect.name == "postgresql":
            writers = frozenset(connection.execute(_WRITERS).scalars())
        with self._lock:
            self._pending = [(number, before & writers) for number, before in self._pending]
            self._pending.append((newest, writers))
            settled = [number for number, before in self._pending if not before]
            self._settled = max([self._settled, *settled])
            self._pending = [each for each in self._pending if each[0] > self._settled][:PENDING_AT_MOST]
            return min(self._settled, newest), newest


def newest_number(connection: Connection) -> int:
    """The newest number that anybody sees; 0 where there is no event."""
    return int(connection.execute(_NEWEST).scalar() or 0)


def first_since(connection: Connection, since: datetime) -> int | None:
    """The number before the events that were learned from then on; None where there are none."""
    learned = select(EVENTS.c.id).where(EVENTS.c.learned_at >= since).order_by(EVENTS.c.learned_at).limit(SINCE_AMONG)
    first: int | None = connection.execute(select(sa.func.min(learned.subquery().c.id))).scalar()
    return None if first is None else first - 1


def identity(connection: Connection, number: int) -> tuple[int, int] | None:
    """The order and the place in its log of the event with this number; None where there is none (any more)."""
    row = connection.execute(select(EVENTS.c.order_id, EVENTS.c.seq).where(EVENTS.c.id == number)).first()
    return (row.order_id, row.seq) if row else None


def events_after(connection: Connection, number: int, until: int, limit: int) -> Sequence[RowMapping]:
    """The events behind this number, up to another one, with their orders' ids."""
    ids = ORDERS.c.po_number, ORDERS.c.provider_id
    query = select(EVENTS, *ids).join(ORDERS, ORDERS.c.id == EVENTS.c.order_id)
    behind = query.where(EVENTS.c.id > number, EVENTS.c.id <= until).order_by(EVENTS.c.id).limit(limit)
    return connection.execute(behind).mappings().all()
