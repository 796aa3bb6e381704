"""Discards the orders of an import that wait: they are never placed, and their recipients are removed.

For a file whose upload or job was stopped, and that nobody wants any more. Handed in again, its orders wait once more.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.access import Person
from tracking.errors import NotAllowed, UnknownImport
from tracking.storage.database import Database
from tracking.storage.tables import BATCHES
from tracking.storage.team.audit_log import AuditKind, record_act
from tracking.storage.team.import_rows import DISCARDED, WAITING, unplaced_counts
from tracking.storage.team.tables import IMPORT_ROWS, JOBS, import_key
from tracking.team.jobs import FINISHED, RUNNING

WHY = "discarded before it was placed"


def discard(database: Database, batch_id: int, *, by: Person, now: datetime) -> int:
    """Discard all orders of the import that wait; returns how many.

    Raises:
        NotPermitted: the person may not.
        UnknownImport: there is none.
        NotAllowed: its orders are being placed, or none of them waits.
    """
    by.must_operate()
    return database.write(partial(_discard, batch_id=batch_id, by=by, now=now))


def _discard(connection: Connection, batch_id: int, by: Person, now: datetime) -> int:
    # Lock the file's row first, as an upload does, so that its job is not started in between.
    if connection.execute(select(BATCHES.c.id).where(BATCHES.c.id == batch_id).with_for_update()).scalar() is None:
        raise UnknownImport(f"there is no import {batch_id}")
    of_import = select(JOBS.c.id, JOBS.c.state).where(JOBS.c.key == import_key(batch_id))
    job = connection.execute(of_import.with_for_update()).one_or_none()
    if job is not None and job.state == RUNNING:
        raise NotAllowed("its orders are being placed; stop it first")
    waiting = sa.update(IMPORT_ROWS).where(IMPORT_ROWS.c.batch_id == batch_id, IMPORT_ROWS.c.outcome == WAITING)
    orders = connection.execute(waiting.values(outcome=DISCARDED, message=WHY, request=sa.null())).rowcount
    if not orders:
        raise NotAllowed("none of its orders waits")
    if job is not None:
        ended = {"state": FINISHED, "finished_at": now, "changed_at": now, "changed_by": by.name}
        ended |= {"lease_owner": None, "lease_until": None, **unplaced_counts(connection, batch_id)}
        connection.execute(sa.update(JOBS).where(JOBS.c.id == job.id).values(ended))
    detail = {"import": batch_id, "orders": orders}
    record_act(connection, by, AuditKind.IMPORT_DISCARDED, now, job_id=job.id if job else None, detail=detail)
    return orders
