"""Leases: take due rows for one worker, and release those of workers that are gone. Steps of a job."""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, or_, select, true, union, update

from tracking.storage.tables import ORDERS, OUTBOX
from tracking.storage.team.tables import JOBS

RESCHEDULE_SPREAD = timedelta(minutes=1)
RESCHEDULED_AT_ONCE = 500
LIMIT: Any = bindparam("limit")
# Only rows that can hold a lease: finished ones are far more, and are not read.
_LEASED = ((ORDERS, ORDERS.c.next_look_at.is_not(None)), (OUTBOX, OUTBOX.c.done.is_(False)), (JOBS, true()))
_OWNERS = union(
    *(select(table.c.lease_owner).where(and_(table.c.lease_owner.is_not(None), due)) for table, due in _LEASED)
)
RELEASE = [
    update(table)
    .where(table.c.lease_owner.in_(bindparam("gone", expanding=True)), due)
    .values(lease_owner=None, lease_until=None)
    for table, due in _LEASED
]


def release_leases(connection: Connection, owners: Sequence[str]) -> None:
    """Release the leases of these owners, whose processes are gone."""
    for statement in RELEASE:
        connection.execute(statement, {"gone": list(owners)})


def lease_owners(connection: Connection) -> list[str]:
    """List the owners of leases."""
    return sorted(connection.execute(_OWNERS).scalars())


def unleased(table: Any) -> Any:
    """Make the condition that nobody holds a lease on the row at `now`."""
    return or_(table.c.lease_until.is_(None), table.c.lease_until <= bindparam("now"))


def lease_rows(key: Any, due: Any, by: Sequence[Any], columns: Sequence[Any]) -> Any:
    """Build the statement that leases due rows; rows that another worker holds are passed over."""
    first = select(key).where(due).order_by(*by).limit(bindparam("at_most"))
    # A common table expression is run once; as a plain subquery PostgreSQL may run it for each row, past its limit.
    chosen = first.with_for_update(skip_locked=True).cte("due")
    leased: dict[str, Any] = {"lease_owner": bindparam("owner"), "lease_until": bindparam("until")}
    return update(key.table).where(key.in_(select(chosen.c[key.name]))).values(leased).returning(*columns)


def is_gone(owner: str, us: str) -> bool:
    """Tell whether the owner of a lease ran on this host and does not run any more."""
    host, pid, _ = owner.split("/")
    our_host, our_pid, _ = us.split("/")
    if host != our_host or owner == us:
        return False
    if pid == our_pid:
        return True
    try:
        os.kill(int(pid), 0)
    except OSError as exc:  # a process of another user may not be asked, and so it lives
        return isinstance(exc, ProcessLookupError)
    return False
