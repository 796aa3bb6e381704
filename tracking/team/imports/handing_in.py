"""Commits all orders of a file as the rows of one import, in bounded groups, then starts a job to place them.

The file's digest is the import: handed in twice, from two windows or after a crash, it is the same one and goes on
where it was. Rows that were rejected or discarded are tried again, as the file holds them once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, func, select

from tracking.access import Person
from tracking.errors import InvalidSubmission, Problem
from tracking.orders.model import OrderRequest, folded_id
from tracking.storage.database import Database
from tracking.storage.tables import BATCHES, ORDERS, insert_for
from tracking.storage.team.audit_log import AuditKind, record_act
from tracking.storage.team.import_rows import TRIED_AGAIN, WAITING, unplaced_counts
from tracking.storage.team.tables import IMPORT_ROWS, JOBS, import_key
from tracking.submissions.catalog import load_catalog
from tracking.submissions.files import CheckedFile
from tracking.submissions.submit import Receipt, check_requests, groups
from tracking.team.imports.placing import place_here
from tracking.team.jobs import RUNNING, add, in_the_name_of
from tracking.team.plans import Act

HANDING_IN_LOCK = 20261130
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class HandedIn:
    """The import of a file, its job, and the numbers of its rows that were settled before."""

    batch_id: int
    job_id: int
    settled: frozenset[int] = frozenset()


def hand_in(
    database: Database,
    checked: CheckedFile,
    *,
    source: str,
    by: Person,
    now: datetime,
    progress: Progress | None = None,
) -> HandedIn:
    """Commit all orders of the file as rows of its import, and start its job. `progress` gets (rows, of how many).

    Raises:
        NotPermitted: the person may not; nothing was read or written.
        InvalidSubmission: something is wrong with the file; nothing was written.
        StoreError: rows committed before stay; call again.
    """
    by.must_operate()
    check_requests(database, checked.requests, checked, load_catalog(database))
    batch_id, settled = database.write(partial(_add_batch, checked=checked, by=by, now=now))
    done = 0
    for group in groups(checked.requests):
        rows = [_row(batch_id, done + at, request, checked) for at, request in enumerate(group, 1)]
        database.write(partial(_add_rows, rows=rows))
        done += len(group)
        if progress is not None:
            progress(done, len(checked.requests))
    job_id = database.write(partial(_start, batch_id=batch_id, checked=checked, source=source, by=by, now=now))
    return HandedIn(batch_id, job_id, settled)


def submit_file(
    database: Database,
    checked: CheckedFile,
    *,
    source: str,
    by: Person,
    now: datetime,
    progress: Progress | None = None,
) -> list[Receipt]:
    """Hand the file in and place its orders here and now, beside any backend that does the same. Raises as `hand_in`.

    What was an order before this call is reported as there already; what it found stopped goes on.
    """
    by.must_operate()
    handed_in = hand_in(database, checked, source=source, by=by, now=now)
    done = len(handed_in.settled)
    while rows := database.write(partial(place_here, job_id=handed_in.job_id, now=now)):
        done += rows
        if progress is not None:
            progress(done, len(checked.requests))
    return _receipts(database, handed_in)


def _add_batch(connection: Connection, checked: CheckedFile, by: Person, now: datetime) -> tuple[int, frozenset[int]]:
    """The row id of the file, which is stored once, and which of its rows are settled."""
    if connection.dialect.name == "postgresql":  # on SQLite there is one writer anyway
        connection.execute(select(func.pg_advisory_xact_lock(HANDING_IN_LOCK)))
    query = select(BATCHES.c.id).where(BATCHES.c.digest == checked.digest).order_by(BATCHES.c.id)
    if (existing := connection.execute(query).scalar()) is not None:
        of_batch = select(IMPORT_ROWS.c.number).where(IMPORT_ROWS.c.batch_id == existing)
        settled = of_batch.where(IMPORT_ROWS.c.outcome.in_(("queued", "exists")))
        return int(existing), frozenset(connection.execute(settled).scalars())
    values = {"digest": checked.digest, "name": checked.name[:200], "rows": checked.rows}
    values |= {"orders": len(checked.requests), "created_at": now, "actor": by.name}
    return int(connection.execute(sa.insert(BATCHES).values(values).returning(BATCHES.c.id)).scalar_one()), frozenset()


def _row(batch_id: int, number: int, request: OrderRequest, checked: CheckedFile) -> dict[str, Any]:
    rows = checked.rows_of.get(request.po_number) or range(1, len(request.lines) + 1)
    lines = [
        [row, line.product_id, line.value_minor, line.quantity, line.external_id]
        for row, line in zip(rows, request.lines, strict=True)
    ]
    return {
        "batch_id": batch_id,
        "number": number,
        "first_row": min(rows),
        "last_row": max(rows),
        "po_number": request.po_number,
        "po_folded": folded_id(request.po_number),
        "outcome": WAITING,
        "message": None,
        "lines": lines,
        "request": dict(request.document),
    }


def _add_rows(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store a group of rows; those that are there stay, but what was rejected or discarded waits again."""
    first, last = rows[0], rows[-1]
    columns = IMPORT_ROWS.c.number, IMPORT_ROWS.c.po_number, IMPORT_ROWS.c.lines
    group = select(*columns).where(
        IMPORT_ROWS.c.batch_id == first["batch_id"], IMPORT_ROWS.c.number.between(first["number"], last["number"])
    )
    existing = {row["number"]: _contents(row) for row in connection.execute(group).mappings()}
    if any(existing.get(row["number"], contents) != contents for row in rows if (contents := _contents(row))):
        message = "was uploaded before and split into other orders: set TRACKING_ORDER_LINES as it was then"
        raise InvalidSubmission([Problem("This file", message)])
    adding = insert_for(connection.dialect.name, IMPORT_ROWS)
    again = {name: adding.excluded[name] for name in ("outcome", "message", "order_id", "request")}
    upsert = adding.on_conflict_do_update(
        index_elements=["batch_id", "number"],
        set_=again,
        where=sa.or_(*(IMPORT_ROWS.c.outcome == each for each in TRIED_AGAIN)),
    )
    connection.execute(upsert, [{"order_id": None, **row} for row in rows])


def _contents(row: Mapping[Any, Any]) -> tuple[str, list[Any]]:
    """The contents by which orders of a file are compared, without references, which an erasure may have removed."""
    return row["po_number"], [line[:4] for line in row["lines"]]


def _start(connection: Connection, batch_id: int, checked: CheckedFile, source: str, by: Person, now: datetime) -> int:
    """Start the import's job, or have it go on where orders wait; returns its id."""
    connection.execute(select(BATCHES.c.id).where(BATCHES.c.id == batch_id).with_for_update())
    orders = len(checked.requests)
    parameters, chosen = {"batch_id": batch_id, "source": source}, {"import": batch_id}
    key = import_key(batch_id)
    job_id, new = add(connection, Act.IMPORT, parameters, chosen, key=key, by=by, now=now, total=orders)
    if new or _go_on(connection, job_id, batch_id, by, now):
        # Without the file's name, which may name somebody: nothing can be taken out of the chain again.
        record_act(
            connection, by, AuditKind.IMPORTED, now, job_id=job_id, detail={"import": batch_id, "orders": orders}
        )
    return job_id


def _go_on(connection: Connection, job_id: int, batch_id: int, by: Person, now: datetime) -> bool:
    """Resume the existing job in this person's name; returns whether it was not running while orders wait."""
    state = connection.execute(select(JOBS.c.state).where(JOBS.c.id == job_id).with_for_update()).scalar_one()
    waiting = select(IMPORT_ROWS.c.number).where(IMPORT_ROWS.c.batch_id == batch_id, IMPORT_ROWS.c.outcome == WAITING)
    changes = unplaced_counts(connection, batch_id)
    goes_on = state != RUNNING and connection.execute(waiting.limit(1)).first() is not None
    if goes_on:
        changes |= {"state": RUNNING, "finished_at": None, "changed_at": now, "changed_by": by.name}
        changes |= {"next_turn_at": now, **in_the_name_of(by)}
    connection.execute(sa.update(JOBS).where(JOBS.c.id == job_id).values(changes))
    return goes_on


def _receipts(database: Database, handed_in: HandedIn) -> list[Receipt]:
    names = ("number", "po_number", "outcome", "message", "order_id")
    query = select(*(IMPORT_ROWS.c[name] for name in names), ORDERS.c.state).outerjoin(
        ORDERS, ORDERS.c.id == IMPORT_ROWS.c.order_id
    )
    of_import = query.where(IMPORT_ROWS.c.batch_id == handed_in.batch_id).order_by(IMPORT_ROWS.c.number)
    with database.read() as connection:
        return [_receipt(row, handed_in.settled) for row in connection.execute(of_import).mappings()]


def _receipt(row: Mapping[Any, Any], settled: frozenset[int]) -> Receipt:
    if row["number"] in settled:
        return Receipt(row["po_number"], row["order_id"], "exists", f"already here ({row['state']})")
    message = "the import was stopped; resume it, or submit the file again" if row["outcome"] == WAITING else ""
    return Receipt(row["po_number"], row["order_id"], row["outcome"], row["message"] or message)
