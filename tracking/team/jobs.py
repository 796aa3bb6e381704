"""Jobs: an act on many orders, started, stopped and resumed by people. `job_runner` does it, group by group.

Which orders a job has is fixed when it is started. Starting it twice with the same key gives the same job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, func, literal, select, update

from tracking.access import Person
from tracking.errors import InvalidJob, NotAllowed, Problem, UnknownJob
from tracking.reports.order_list.conditions import conditions
from tracking.reports.order_list.filters import Filters
from tracking.storage import counters
from tracking.storage.database import Database
from tracking.storage.tables import insert_for
from tracking.storage.team.audit_log import AuditKind, record_act
from tracking.storage.team.tables import JOB_ORDERS, JOBS
from tracking.team.disclosures import filter_detail
from tracking.team.plans import (
    MOST_ORDERS,
    Act,
    Parameters,
    check_parameters,
    matching_orders,
    must_be_on_orders,
)
from tracking.team.work import check_job_assignee

_SORTED_BY = frozenset({"sort", "asc"})
RUNNING, STOPPED, FINISHED = "running", "stopped", "finished"
WAITING, DONE, SKIPPED = "waiting", "done", "skipped"


@dataclass(frozen=True, slots=True)
class Job:
    """A job whose turn it is: what is done, and in whose name."""

    id: int
    act: Act
    parameters: Mapping[str, Any]
    person: str


@dataclass(frozen=True, slots=True)
class Group:
    """What one step did: how many it acted on, and how many it skipped by reason. Without any, the job is finished."""

    done: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def touched(self) -> int:
        """How many are no longer waiting."""
        return self.done + sum(self.skipped.values())


def after_group(row: Mapping[Any, Any], group: Group, now: datetime) -> dict[str, Any]:
    """The columns of the job's row after a group of it; a group that touched nothing finishes the job."""
    if not group.touched:
        return {"state": FINISHED, "finished_at": now, "lease_owner": None, "lease_until": None}
    return {
        "done": row["done"] + group.done,
        "skipped": row["skipped"] + sum(group.skipped.values()),
        "skipped_why": dict(Counter(row["skipped_why"]) + Counter(group.skipped)),
    }


Step = Callable[[Connection, Job, datetime, int, int], Group]
"""Does a job's next group: (connection, job, now, how many at the most, how many calls they may cost at the most).

It is one transaction with the job's row, so that each order or row is done once, whatever is killed. It must read what
is still waiting from the store, and may be run again after an error.
"""


def start(
    database: Database,
    filters: Filters,
    act: Act,
    parameters: Parameters,
    *,
    key: str,
    by: Person,
    now: datetime,
    secret: str,
) -> int:
    """Start an act on all orders that match now; returns the job's number. The same key gives the same job.

    `secret` is what the texts of the filter are hashed with.

    Raises:
        NotPermitted: the person may not.
        InvalidNote: the act's reason, name or time is missing or cannot be, or the name is a recipient's address.
        InvalidJob: no order matches, or more than a job may have.
    """
    by.must_operate()
    must_be_on_orders(act)
    parameters = check_parameters(act, parameters, now)
    chosen = chosen_detail(filters, secret)

    def job(connection: Connection) -> int:
        job_id, new = add(connection, act, parameters.to_document(), chosen, key=key, by=by, now=now)
        if not new:
            return job_id
        counters.write_sums(connection)  # of what came before in this transaction: the conditions go by them
        matching = matching_orders(conditions(connection, filters, now), literal(job_id), literal(WAITING))
        connection.execute(sa.insert(JOB_ORDERS).from_select(["order_id", "job_id", "outcome"], matching))
        total = connection.execute(select(func.count()).where(JOB_ORDERS.c.job_id == job_id)).scalar_one()
        _check_total(total)
        check_job_assignee(connection, job_id, parameters.assignee)
        connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(total=total))
        detail = start_detail(act, parameters, chosen, total)
        record_act(connection, by, AuditKind.JOB_STARTED, now, job_id=job_id, detail=detail)
        return job_id

    return database.write(job)


def add(
    connection: Connection,
    act: Act,
    parameters: Mapping[str, Any],
    chosen: Mapping[str, Any],
    *,
    key: str,
    by: Person,
    now: datetime,
    total: int = 0,
) -> tuple[int, bool]:
    """Add a job's row, a step of a job of the writer; returns its number, and whether it is new.

    `chosen` says what it is about (a filter, a file), `total` how many it will touch. The caller adds these, and the
    entry of the audit log, in the same transaction. Raises NotPermitted.
    """
    by.must_operate()
    row = {
        "key": key, "act": act.value, "parameters": dict(parameters), "filter": dict(chosen),
        **in_the_name_of(by), "created_at": now, "state": RUNNING, "total": total, "done": 0, "skipped": 0,
        "skipped_why": {}, "next_turn_at": now,
    }  # fmt: skip
    adding = insert_for(connection.dialect.name, JOBS).values(row).on_conflict_do_nothing(index_elements=["key"])
    job_id = connection.execute(adding.returning(JOBS.c.id)).scalar()
    if job_id is not None:
        return int(job_id), True
    return int(connection.execute(select(JOBS.c.id).where(JOBS.c.key == key)).scalar_one()), False


def in_the_name_of(by: Person) -> dict[str, Any]:
    """The columns of a job that say in whose name it acts. Raises NotPermitted."""
    by.must_operate()
    return {"person": by.name, "signed_in": by.signed_in}


def stop(database: Database, job_id: int, *, by: Person, now: datetime) -> None:
    """Stop a job: no further order is touched; those that wait are done once it is resumed.

    Raises:
        NotPermitted: the person may not.
        UnknownJob: there is none.
        NotAllowed: it is finished or stopped already.
    """
    by.must_operate()
    _change(database, job_id, RUNNING, STOPPED, AuditKind.JOB_STOPPED, by=by, now=now)


def resume(database: Database, job_id: int, *, by: Person, now: datetime) -> None:
    """Go on with a stopped job where it stopped; the orders of an import are placed in this person's name from then on.

    Raises as `stop`.
    """
    by.must_operate()
    _change(database, job_id, STOPPED, RUNNING, AuditKind.JOB_RESUMED, by=by, now=now)


def _change(
    database: Database, job_id: int, before: str, after: str, kind: AuditKind, *, by: Person, now: datetime
) -> None:
    changed = {"state": after, "changed_at": now, "changed_by": by.name, "next_turn_at": now}
    changed |= {"lease_owner": None, "lease_until": None}
    if after == RUNNING:  # who resumes an import has submitted its orders, and may not approve them
        is_import = JOBS.c.act == Act.IMPORT.value
        names = in_the_name_of(by).items()
        changed |= {name: sa.case((is_import, value), else_=JOBS.c[name]) for name, value in names}

    def job(connection: Connection) -> None:
        this = JOBS.c.id == job_id
        changing = update(JOBS).where(this, JOBS.c.state == before).values(changed)
        row = connection.execute(
            changing.returning(JOBS.c.act, JOBS.c.total, JOBS.c.done, JOBS.c.skipped)
        ).one_or_none()
        if row is None:
            raise _refusal(connection, job_id)
        detail = {"act": row.act, "orders": row.total, "done": row.done, "skipped": row.skipped}
        record_act(connection, by, kind, now, job_id=job_id, detail=detail)

    database.write(job)


def _refusal(connection: Connection, job_id: int) -> UnknownJob | NotAllowed:
    row = connection.execute(select(JOBS.c.state, JOBS.c.changed_by).where(JOBS.c.id == job_id)).one_or_none()
    if row is None:
        return UnknownJob(f"no job has the number {job_id}")
    if row.state == FINISHED:
        return NotAllowed("the job is complete")
    return NotAllowed(f"the job is {row.state} already" + (f", by {row.changed_by}" if row.changed_by else ""))


def _check_total(total: int) -> None:
    if not total:
        raise InvalidJob([Problem("Orders", "none matches the filter")])
    if total > MOST_ORDERS:
        raise InvalidJob([Problem("Orders", f"more than {MOST_ORDERS:,} match; narrow the filter")])


def start_detail(act: Act, parameters: Parameters, chosen: Mapping[str, Any], orders: int) -> dict[str, Any]:
    """What the audit log holds of a job that was started: no word of the reason, which may name somebody."""
    named = {name: value for name, value in parameters.to_document().items() if name != "reason"}
    return {"act": act.value, "orders": orders, "filter": chosen, **named}


def chosen_detail(filters: Filters, secret: str) -> dict[str, Any]:
    """What chose the orders, as `filter_detail` says it; selected orders are counted."""
    detail = {name: value for name, value in filter_detail(filters, secret).items() if name not in _SORTED_BY}
    return detail | ({"po": f"{len(filters.only)} selected"} if filters.only else {})
