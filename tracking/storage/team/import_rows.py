"""Rows of imports that are not placed: rejected with a reason, or discarded. Steps of a job."""

from typing import Any

from sqlalchemy import Connection, func, select

from tracking.storage.team.tables import IMPORT_ROWS

WAITING, REJECTED, DISCARDED = "waiting", "rejected", "discarded"
TRIED_AGAIN = (REJECTED, DISCARDED)
"""The outcomes of rows that wait once more when their file is handed in again."""


def unplaced_counts(connection: Connection, batch_id: int) -> dict[str, Any]:
    """Count the import's rows that are not placed, as columns of its job: `skipped`, and by outcome `skipped_why`."""
    of_import = IMPORT_ROWS.c.batch_id == batch_id, IMPORT_ROWS.c.outcome.in_(TRIED_AGAIN)
    counted = select(IMPORT_ROWS.c.outcome, func.count()).where(*of_import).group_by(IMPORT_ROWS.c.outcome)
    counts = {row[0]: row[1] for row in connection.execute(counted)}
    return {"skipped": sum(counts.values()), "skipped_why": counts}
