"""What a clock that was set back leaves lying in the future: due times further ahead than any that is ever planned.

They are brought near again, spread over a minute. What lies within the bound is left as it is, so a clock that is set
back delays nothing by more than that.
"""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, or_, select, update

from tracking.orders.model import CLOSED
from tracking.storage.tables import ORDERS, OUTBOX

FURTHEST = timedelta(minutes=15)
SPREAD = timedelta(minutes=1)
AT_ONCE = 500
_LIMIT: Any = bindparam("limit")
_LOOKS_TOO_FAR = select(ORDERS.c.id).where(
    ORDERS.c.state.not_in(sorted(CLOSED)),
    ORDERS.c.next_look_at.is_not(None),
    or_(ORDERS.c.next_look_at > _LIMIT, ORDERS.c.lease_until > _LIMIT),
)
_ATTEMPTS_TOO_FAR = (
    select(OUTBOX.c.order_id).where(OUTBOX.c.done.is_(False), OUTBOX.c.next_attempt_at > _LIMIT).limit(AT_ONCE)
)
_SHORTEN_LEASES = (
    update(OUTBOX).where(OUTBOX.c.done.is_(False), OUTBOX.c.lease_until > _LIMIT).values(lease_until=_LIMIT)
)


def looks_too_far(connection: Connection, now: datetime, furthest: timedelta) -> list[int]:
    """Open orders whose look, or the lease on it, lies further ahead than it can have been planned."""
    return list(connection.execute(_LOOKS_TOO_FAR, {"limit": now + furthest}).scalars())


def pull_in_looks(connection: Connection, order_ids: Sequence[int], now: datetime, rng: random.Random) -> None:
    """Makes the orders due within a minute, held by nobody: a look too many does no harm."""
    due = [{"order": order_id, "due": now + rng.random() * SPREAD} for order_id in order_ids]
    values: dict[str, Any] = {"next_look_at": bindparam("due"), "lease_owner": None, "lease_until": None}
    connection.execute(update(ORDERS).where(ORDERS.c.id == bindparam("order")).values(values), due)


def pull_in_attempts(connection: Connection, now: datetime, rng: random.Random) -> int:
    """Makes what waits to be sent due within a minute; returns how many.

    A POST may be under way, so leases are not ended; but none lasts longer than any ever does, lest that of a worker
    that died before the clock was set back hold its order until the clock comes there again.
    """
    limit = {"limit": now + FURTHEST}
    connection.execute(_SHORTEN_LEASES, limit)
    due = [
        {"order": order_id, "due": now + rng.random() * SPREAD}
        for order_id in connection.execute(_ATTEMPTS_TOO_FAR, limit).scalars()
    ]
    if due:
        same = OUTBOX.c.order_id == bindparam("order")
        connection.execute(update(OUTBOX).where(same).values(next_attempt_at=bindparam("due")), due)
    return len(due)
