"""Removes finished jobs, with their lists of orders and the rows of their imports. Steps of a job of the writer.

What an import brought stays: its file's digest and name, and each order under its PONumber.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select

from tracking.storage.retention.removal import delete_first_rows
from tracking.storage.team.tables import IMPORT_ROWS, JOB_ORDERS, JOBS

JOBS_AT_ONCE = 50
_IMPORT = "import "
_KEY: Any = bindparam("wanted")
FINISHED_JOBS = select(JOBS.c.id, JOBS.c.key, JOBS.c.finished_at).where(JOBS.c.state == "finished").order_by(JOBS.c.id)


_DELETE_ORDERS = delete_first_rows(JOB_ORDERS.c.order_id, JOB_ORDERS.c.job_id == _KEY)
_DELETE_ROWS = delete_first_rows(IMPORT_ROWS.c.number, IMPORT_ROWS.c.batch_id == _KEY)


def remove_old_jobs(connection: Connection, before: datetime, at_most: int) -> int:
    """Delete up to so many rows of jobs that finished before then; returns how many."""
    rows = 0
    for job in connection.execute(FINISHED_JOBS.where(JOBS.c.finished_at < before).limit(JOBS_AT_ONCE)).all():
        if rows >= at_most:
            break
        rows += connection.execute(_DELETE_ORDERS, {"wanted": job.id, "at_most": at_most - rows}).rowcount
        batch = job.key.removeprefix(_IMPORT)
        if rows < at_most and batch != job.key and batch.isdigit():
            rows += connection.execute(_DELETE_ROWS, {"wanted": int(batch), "at_most": at_most - rows}).rowcount
        if rows < at_most:
            rows += connection.execute(delete(JOBS).where(JOBS.c.id == job.id)).rowcount
    return rows
