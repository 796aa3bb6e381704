"""Removal of finished jobs: their orders and the rows of their imports leave, then they. Steps of a job of the writer.

What an import brought stays: its file's digest and name, and each order under its PONumber.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select

from tracking.storage.team.tables import IMPORT_ROWS, JOB_ORDERS, JOBS

JOBS_AT_ONCE = 50
_IMPORT = "import "
_KEY: Any = bindparam("wanted")
_AT_MOST: Any = bindparam("at_most")
FINISHED_JOBS = select(JOBS.c.id, JOBS.c.key, JOBS.c.finished_at).where(JOBS.c.state == "finished").order_by(JOBS.c.id)


def _first_rows(table: Any, owner: Any, key: Any) -> Any:
    first = select(key).where(owner == _KEY).order_by(key).limit(_AT_MOST)
    return delete(table).where(owner == _KEY, key.in_(first))


_DELETE_ORDERS = _first_rows(JOB_ORDERS, JOB_ORDERS.c.job_id, JOB_ORDERS.c.order_id)
_DELETE_ROWS = _first_rows(IMPORT_ROWS, IMPORT_ROWS.c.batch_id, IMPORT_ROWS.c.number)


def remove_old_jobs(connection: Connection, before: datetime, at_most: int) -> int:
    """Delete up to so many rows of jobs that finished before then; returns how many."""
    rows = 0
    for job in connection.execute(FINISHED_JOBS.limit(JOBS_AT_ONCE)).all():
        if rows >= at_most or job.finished_at is None or job.finished_at >= before:
            continue
        rows += connection.execute(_DELETE_ORDERS, {"wanted": job.id, "at_most": at_most - rows}).rowcount
        batch = job.key.removeprefix(_IMPORT)
        if rows < at_most and batch != job.key and batch.isdigit():
            rows += connection.execute(_DELETE_ROWS, {"wanted": int(batch), "at_most": at_most - rows}).rowcount
        if rows < at_most:
            rows += connection.execute(delete(JOBS).where(JOBS.c.id == job.id)).rowcount
    return rows
