"""Jobs: progress of each, its projected end, and what it did to which orders. Bounded reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

from sqlalchemy import Connection, func, select
from sqlalchemy.engine import RowMapping

from tracking.errors import UnknownJob
from tracking.reports.exports.columns import Kind, columns, names_of
from tracking.reports.exports.forms import write_rows
from tracking.storage.database import Database
from tracking.storage.tables import BATCHES, ORDERS
from tracking.storage.team.tables import JOB_ORDERS, JOBS

PAGE_SIZE = 25
RECENT = 500
EXPORT_CHUNK = 1000
OUTCOMES = ("waiting", "done", "skipped")
TOUCHED_COLUMNS = columns(
    po_number=Kind.IDENTIFIER,
    provider_id=Kind.IDENTIFIER,
    outcome=Kind.TEXT,
    why=Kind.TEXT,
    at=Kind.TIME,
    state=Kind.TEXT,
)
_FACTS = (
    "id", "act", "parameters", "filter", "person", "signed_in", "created_at", "state", "total", "done", "skipped",
    "skipped_why", "changed_at", "changed_by", "finished_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One job. `state` is running, stopped or finished; `skipped_why` counts the skipped by reason, in words.

    `parameters` and `filter` are as stored, see `storage.team.tables.Jobs`, the latter with the "file" of an import.
    Stopped or resumed last at `changed_at`, by `changed_by`. `ends_at` is when it ends at its present pace; None where
    it does not run, or too little is done yet.
    """

    id: int
    act: str
    parameters: Mapping[str, Any]
    filter: Mapping[str, Any]
    person: str
    signed_in: bool
    created_at: datetime
    state: str
    total: int
    done: int
    skipped: int
    skipped_why: Mapping[str, int]
    changed_at: datetime | None
    changed_by: str | None
    finished_at: datetime | None
    ends_at: datetime | None = None

    @property
    def waiting(self) -> int:
        """How many still wait for their turn."""
        return max(self.total - self.done - self.skipped, 0)

    @property
    def state_label(self) -> str:
        """The word for its state that people read."""
        return "complete" if self.state == "finished" else self.state


@dataclass(frozen=True, slots=True)
class JobsPage:
    """One page of jobs, newest first, and how many there are in all and running."""

    jobs: tuple[JobStatus, ...]
    total: int
    running: int


@dataclass(frozen=True, slots=True)
class TouchedOrder:
    """One order of a job: `outcome` is waiting, done or skipped, and `why` it was skipped; `state` is that of now."""

    order_id: int
    po_number: str
    provider_id: str | None
    outcome: str
    why: str | None
    at: datetime | None
    state: str


@dataclass(frozen=True, slots=True)
class JobView:
    """A job and a page of its orders as they were at one moment, so that no count contradicts another."""

    job: JobStatus
    orders: tuple[TouchedOrder, ...]
    page: int
    pages: int


def job(database: Database, job_id: int, now: datetime) -> JobStatus:
    """One job as it is now. Raises UnknownJob."""
    with database.snapshot() as connection:
        return _job(connection, job_id, now)


def job_view(
    database: Database, job_id: int, outcome: str | None, page: int, now: datetime, *, size: int = PAGE_SIZE
) -> JobView:
    """One job with a page of its orders, oldest first: those with this outcome, or all; past the end the last page.

    Raises UnknownJob.
    """
    with database.snapshot() as connection:
        status = _job(connection, job_id, now)
        pages = max(1, -(-(status.total if outcome is None else getattr(status, outcome)) // size))
        page = min(page, pages)
        return JobView(status, _page_of_orders(connection, job_id, outcome, page, size), page, pages)


def _job(connection: Connection, job_id: int, now: datetime) -> JobStatus:
    row = connection.execute(select(*_columns()).where(JOBS.c.id == job_id)).mappings().one_or_none()
    if row is None:
        raise UnknownJob(f"no job has the number {job_id}")
    [facts] = _with_file_names(connection, [row])
    return JobStatus(**facts, ends_at=_ends_at(connection, row, now))


def jobs(database: Database, page: int = 1, *, size: int = PAGE_SIZE) -> JobsPage:
    """A page of the jobs, newest first; without when they end."""
    newest = select(*_columns()).order_by(JOBS.c.id.desc()).limit(size).offset((page - 1) * size)
    with database.snapshot() as connection:
        records = connection.execute(newest).mappings().all()
        rows = tuple(JobStatus(**facts) for facts in _with_file_names(connection, records))
        total = connection.execute(select(func.count()).select_from(JOBS)).scalar_one()
        running = connection.execute(_running()).scalar_one()
    return JobsPage(rows, total, running)


def running(database: Database, limit: int = 3) -> tuple[JobStatus, ...]:
    """The jobs that run now, newest first, so many at the most; without when they end."""
    of_now = select(*_columns()).where(JOBS.c.state == "running").order_by(JOBS.c.id.desc()).limit(limit)
    with database.read() as connection:
        records = connection.execute(of_now).mappings().all()
        return tuple(JobStatus(**facts) for facts in _with_file_names(connection, records))


def _page_of_orders(
    connection: Connection, job_id: int, outcome: str | None, page: int, size: int
) -> tuple[TouchedOrder, ...]:
    orders = _orders_of(job_id, outcome).order_by(JOB_ORDERS.c.order_id).limit(size).offset((page - 1) * size)
    return tuple(TouchedOrder(**dict(row)) for row in connection.execute(orders).mappings())


def write_touched(database: Database, job_id: int, *, form: str, file: IO[bytes], outcome: str | None = None) -> int:
    """Write a job's orders with their outcomes as csv, jsonl or parquet; returns how many. Raises UnknownJob."""
    with database.read() as connection:
        if connection.execute(select(JOBS.c.id).where(JOBS.c.id == job_id)).first() is None:
            raise UnknownJob(f"no job has the number {job_id}")
    return write_rows(_chunks(database, job_id, outcome), TOUCHED_COLUMNS, form=form, file=file)


def _chunks(database: Database, job_id: int, outcome: str | None) -> Iterator[list[dict[str, Any]]]:
    last = 0
    while True:
        after = _orders_of(job_id, outcome).where(JOB_ORDERS.c.order_id > last).order_by(JOB_ORDERS.c.order_id)
        with database.read() as connection:
            rows = [dict(row) for row in connection.execute(after.limit(EXPORT_CHUNK)).mappings()]
        if not rows:
            return
        last = rows[-1]["order_id"]
        yield [{name: row[name] for name in names_of(TOUCHED_COLUMNS)} for row in rows]


def _orders_of(job_id: int, outcome: str | None) -> Any:
    columns = (ORDERS.c.po_number, ORDERS.c.provider_id, ORDERS.c.state)
    ours = (JOB_ORDERS.c.order_id, JOB_ORDERS.c.outcome, JOB_ORDERS.c.why, JOB_ORDERS.c.at)
    query = select(*ours, *columns).join(ORDERS, ORDERS.c.id == JOB_ORDERS.c.order_id)
    query = query.where(JOB_ORDERS.c.job_id == job_id)
    return query if outcome is None else query.where(JOB_ORDERS.c.outcome == outcome)


def _with_file_names(connection: Connection, rows: Sequence[RowMapping]) -> Iterator[dict[str, Any]]:
    """The rows, with the names of the files of imports among what chose their orders."""
    imports = [row["parameters"]["batch_id"] for row in rows if row["act"] == "import"]
    query = select(BATCHES.c.id, BATCHES.c.name).where(BATCHES.c.id.in_(imports))
    names = {row.id: row.name for row in connection.execute(query)} if imports else {}
    for row in rows:
        name = names.get(row["parameters"].get("batch_id")) if row["act"] == "import" else None
        yield dict(row) | ({"filter": {**row["filter"], "file": name}} if name is not None else {})


def _columns() -> list[Any]:
    return [JOBS.c[name] for name in _FACTS]


def _running() -> Any:
    return select(func.count()).select_from(JOBS).where(JOBS.c.state == "running")


def _ends_at(connection: Connection, row: RowMapping, now: datetime) -> datetime | None:
    """When the job ends at the pace of the latest orders since it was started or resumed."""
    left = row["total"] - row["done"] - row["skipped"]
    if row["state"] != "running" or left <= 0:
        return None
    this = JOB_ORDERS.c.job_id == row["id"]
    next_one = select(func.min(JOB_ORDERS.c.order_id)).where(this, JOB_ORDERS.c.outcome == "waiting")
    since = row["changed_at"] or row["created_at"]
    latest = select(JOB_ORDERS.c.at).where(this, JOB_ORDERS.c.order_id < next_one.scalar_subquery())
    recent = latest.order_by(JOB_ORDERS.c.order_id.desc()).limit(RECENT).subquery()
    figures = select(func.count(), func.min(recent.c.at)).where(recent.c.at >= since)
    count, first = connection.execute(figures).one()
    if not count or now <= (began := min(first, now) if count == RECENT else since):
        return None
    ends_at: datetime = now + (now - began) / count * left
    return ends_at
