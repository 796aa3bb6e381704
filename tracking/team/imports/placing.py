"""Places the orders of an import, group by group: each order and its row's outcome in one transaction.

So each order is placed once, whoever asks for the next group and whatever is killed: the job's row is locked first, and
only rows that wait are placed. Steps of a job of the writer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam, func, select

from tracking.errors import InvalidSubmission
from tracking.orders.model import OrderRequest
from tracking.storage.team.import_rows import REJECTED, WAITING
from tracking.storage.team.tables import IMPORT_ROWS, JOBS
from tracking.submissions.catalog import Catalog, check_request, stored_catalog
from tracking.submissions.requests import read_request
from tracking.submissions.submit import GROUP_LINES, GROUP_ORDERS, Receipt, place_group
from tracking.team.jobs import RUNNING, Group, Job, after_group
from tracking.team.plans import Act

_SETTLE = (
    sa.update(IMPORT_ROWS)
    .where(IMPORT_ROWS.c.batch_id == bindparam("batch"), IMPORT_ROWS.c.number == bindparam("row"))
    .values(outcome=bindparam("became"), message=bindparam("why"), order_id=bindparam("order"), request=sa.null())
)


@dataclass(frozen=True, slots=True)
class Import:
    """The facts of an import that placing needs: its file, its source, and in whose name orders are placed."""

    batch_id: int
    source: str
    actor: str


def place_next_rows(connection: Connection, of: Import, now: datetime, at_most: int = GROUP_ORDERS) -> Counter[str]:
    """Place the next orders of the import that wait; counts their outcomes, none where none waits.

    The caller holds the lock of the job's row, and adds the counts to it in the same transaction.
    """
    rows = _next_rows(connection, of.batch_id, at_most)
    receipts = _place_rows(connection, rows, of, now)
    settled = [
        {
            "batch": of.batch_id,
            "row": row["number"],
            "became": receipt.outcome,
            "why": receipt.message or None,
            "order": receipt.order_id,
        }
        for row, receipt in zip(rows, receipts, strict=True)
    ]
    if settled:
        connection.execute(_SETTLE, settled)
    return Counter(receipt.outcome for receipt in receipts)


def step(connection: Connection, job: Job, now: datetime, at_most: int, _calls: int) -> Group:
    """Do the job's next group: see `jobs.Step`."""
    outcomes = place_next_rows(connection, _import_of(job.parameters, job.person), now, min(at_most, GROUP_ORDERS))
    rejected = outcomes.pop(REJECTED, 0)
    return Group(outcomes.total(), {REJECTED: rejected} if rejected else {})


def _import_of(parameters: Mapping[str, Any], person: str) -> Import:
    return Import(int(parameters["batch_id"]), parameters["source"], person)


def place_here(connection: Connection, job_id: int, now: datetime) -> int:
    """Place the next orders without waiting for the backend's turn; nothing of a job that does not run.

    Returns how many rows it settled, 0 once none waits. A whole transaction, with the counts of the job.
    """
    job = connection.execute(select(JOBS).where(JOBS.c.id == job_id).with_for_update()).mappings().one_or_none()
    if job is None or job["state"] != RUNNING:
        return 0
    group = step(connection, Job(job_id, Act.IMPORT, job["parameters"], job["person"]), now, GROUP_ORDERS, 0)
    connection.execute(sa.update(JOBS).where(JOBS.c.id == job_id).values(after_group(job, group, now)))
    return group.touched


def _next_rows(connection: Connection, batch_id: int, at_most: int) -> Sequence[Mapping[Any, Any]]:
    """The next rows that wait: few enough orders and lines that the writer is never held up for long."""
    waiting = IMPORT_ROWS.c.batch_id == batch_id, IMPORT_ROWS.c.outcome == WAITING
    sizes = select(IMPORT_ROWS.c.number, func.json_array_length(IMPORT_ROWS.c.lines).label("size")).where(*waiting)
    numbers: list[int] = []
    lines = 0
    for row in connection.execute(sizes.order_by(IMPORT_ROWS.c.number).limit(at_most)):
        if numbers and lines + row.size > GROUP_LINES:
            break
        numbers.append(row.number)
        lines += row.size
    columns = IMPORT_ROWS.c.number, IMPORT_ROWS.c.po_number, IMPORT_ROWS.c.request
    group = select(*columns).where(IMPORT_ROWS.c.batch_id == batch_id, IMPORT_ROWS.c.number.in_(numbers))
    return connection.execute(group.order_by(IMPORT_ROWS.c.number)).mappings().all() if numbers else []


def _place_rows(connection: Connection, rows: Sequence[Mapping[Any, Any]], of: Import, now: datetime) -> list[Receipt]:
    """Place what is still an order as the catalogue is now; the result of each row, in their order."""
    catalogue = stored_catalog(connection) if rows else None
    requests: dict[int, OrderRequest] = {}
    receipts: dict[int, Receipt] = {}
    for row in rows:
        request, problem = _read(row, catalogue)
        if request is None:
            receipts[row["number"]] = Receipt(row["po_number"], None, REJECTED, problem)
        else:
            requests[row["number"]] = request
    placed = place_group(
        connection,
        group=list(requests.values()),
        source=of.source,
        actor=of.actor,
        now=now,
        catalog=catalogue,
        batch_id=of.batch_id,
    )
    receipts |= dict(zip(requests, placed, strict=True))
    return [receipts[row["number"]] for row in rows]


def _read(row: Mapping[Any, Any], catalogue: Catalog | None) -> tuple[OrderRequest | None, str]:
    """The request of a row; None with what is wrong where it cannot be placed any more."""
    if row["request"] is None:
        return None, "its request is not stored any more; submit the file again"
    try:
        request = read_request(dict(row["request"]))
    except InvalidSubmission as exc:
        return None, "; ".join(map(str, exc.problems))
    problems = check_request(request, catalogue)
    return (None, "; ".join(map(str, problems))) if problems else (request, "")
