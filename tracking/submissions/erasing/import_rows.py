"""Erases a recipient from rows of imports: an order that waits is not placed any more, and its row says why.

Whoever was erased must not come back by a file that goes on later. A reference that names them goes from the rows, too,
as no log vouches for it there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.provider import people
from tracking.provider.masking import mask_recipient
from tracking.provider.recipients import copies_name, line_documents, recipients_of
from tracking.storage.database import Database
from tracking.storage.team.import_rows import unplaced_counts
from tracking.storage.team.tables import IMPORT_ROWS, JOBS, import_key
from tracking.submissions.erasing.recorded import RecordedWrites

ROWS_AT_ONCE = 200
WHY = "its recipient was erased before it was placed"
REFERENCE = 4
_KEY = IMPORT_ROWS.c.batch_id, IMPORT_ROWS.c.number


@dataclass(slots=True)
class RowTraces:
    """The rows that name a person: PONumbers of orders that will not be placed, how many others named them.

    `possible` are PONumber, masked recipient and why of those who may be the same.
    """

    po_numbers: list[str] = field(default_factory=list)
    references: int = 0
    possible: list[tuple[str, str, str]] = field(default_factory=list)


def erase_from_imports(database: Database, person: str, writes: RecordedWrites | None) -> RowTraces:
    """Erase the person from all rows of imports, a few rows a transaction; without `writes` it only finds them."""
    done = RowTraces()
    for rows in _pages(database):
        waiting = [row for row in rows if row["request"] is not None and _is_for(row, person, done)]
        named = [row for row in rows if copies_name(_references(row), person)]
        done.references += len(named)
        if writes is None:
            done.po_numbers += [row["po_number"] for row in waiting]
        elif waiting or named:
            job = partial(_erase, waiting=waiting, named=named, person=person)
            done.po_numbers += writes.write(job, where="imports")
    return done


def _pages(database: Database) -> Iterator[Sequence[Mapping[Any, Any]]]:
    columns = (IMPORT_ROWS.c[name] for name in ("batch_id", "number", "po_number", "lines", "request"))
    query = select(*columns).order_by(*_KEY).limit(ROWS_AT_ONCE)
    last: tuple[int, int] | None = None
    while True:
        with database.read() as connection:
            after = query if last is None else query.where(sa.tuple_(*_KEY) > sa.tuple_(*last))
            rows = connection.execute(after).mappings().all()
        if not rows:
            return
        last = rows[-1]["batch_id"], rows[-1]["number"]
        yield rows


def _is_for(row: Mapping[Any, Any], person: str, done: RowTraces) -> bool:
    """Whether an order that waits goes to the person; notes who may be the same."""
    names = {name for line in line_documents(row["request"]) for name in recipients_of(line)}
    if any(people.is_same(name, person) for name in names):
        return True
    likely = ((name, people.may_be_same(name, person)) for name in sorted(names))
    done.possible += [(row["po_number"], mask_recipient(name), why) for name, why in likely if why]
    return False


def _references(row: Mapping[Any, Any]) -> list[str]:
    return [line[REFERENCE] for line in row["lines"] if line[REFERENCE]]


def _erase(
    connection: Connection, waiting: Sequence[Mapping[Any, Any]], named: Sequence[Mapping[Any, Any]], person: str
) -> list[str]:
    """Reject what still waits and clear references; returns the PONumbers of what was rejected."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    for row in named:
        lines = [[*line[:REFERENCE], None if copies_name([line[REFERENCE]], person) else line[REFERENCE]]
                 for line in row["lines"]]  # fmt: skip
        connection.execute(_this(row).values(lines=lines))
    rejected: list[str] = []
    for batch_id in sorted({row["batch_id"] for row in waiting}):
        rejected += _reject(connection, batch_id, [row for row in waiting if row["batch_id"] == batch_id])
    return rejected


def _reject(connection: Connection, batch_id: int, rows: Sequence[Mapping[Any, Any]]) -> list[str]:
    """With the job's row locked first, as whoever places the rows does it."""
    job = select(JOBS.c.id).where(JOBS.c.key == import_key(batch_id)).with_for_update()
    job_id = connection.execute(job).scalar()
    values = {"outcome": "rejected", "message": WHY, "request": sa.null()}
    done = [
        row["po_number"]
        for row in rows
        if connection.execute(_this(row).where(IMPORT_ROWS.c.outcome == "waiting").values(values)).rowcount
    ]
    if job_id is not None and done:
        connection.execute(sa.update(JOBS).where(JOBS.c.id == job_id).values(unplaced_counts(connection, batch_id)))
    return done


def _this(row: Mapping[Any, Any]) -> Any:
    return sa.update(IMPORT_ROWS).where(
        IMPORT_ROWS.c.batch_id == row["batch_id"], IMPORT_ROWS.c.number == row["number"]
    )
