"""Submit orders: check requests once more and commit them in groups to the outbox, for the sender.

A PONumber that is taken is reported and left alone, so the same call after a crash goes on where it stopped. Asks first
whether the person may, whatever their page showed. Sends nothing itself, and reads no file: that is `files`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tracking import ingest
from tracking.access import Person
from tracking.errors import InvalidSubmission, NotAllowed, Problem
from tracking.orders.model import OrderRequest, folded_id
from tracking.storage.database import Database
from tracking.storage.tables import BATCHES
from tracking.submissions import files
from tracking.submissions.catalog import Catalog, check_request, face_values, load_catalog
from tracking.submissions.files import CheckedFile
from tracking.submissions.requests import read_request

GROUP_ORDERS = 50
GROUP_LINES = 2000
_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The result for one request: queued, exists (left as it is) or rejected (the message says why)."""

    po_number: str
    order_id: int | None
    outcome: str
    message: str = ""


def new_po_number(now: datetime, rng: random.Random) -> str:
    """Make a new PONumber: the day and six random characters that cannot be mistaken for each other."""
    return f"FT-{now:%Y%m%d}-{''.join(rng.choices(_ALPHABET, k=6))}"


def submit(
    database: Database,
    requests: CheckedFile | Sequence[OrderRequest],
    *,
    source: str,
    by: Person,
    now: datetime,
    progress: Callable[[int, int], None] | None = None,
) -> list[Receipt]:
    """Commit the requests, which queues them for the sender. Calling it again after a crash continues.

    Raises:
        NotPermitted: the person may not; nothing was read or written.
        InvalidSubmission: something is wrong with the requests or the file; nothing was written.
        StoreError: groups committed before stay; call again.
    """
    by.must_operate()
    batch = requests if isinstance(requests, CheckedFile) else None
    orders = tuple(requests.requests if isinstance(requests, CheckedFile) else requests)
    catalogue = load_catalog(database)
    _check_requests(database, orders, batch, catalogue)
    receipts: list[Receipt] = []
    for group in _groups(orders):
        job = partial(_place_group, group=group, batch=batch, source=source, by=by, now=now, catalog=catalogue)
        receipts += database.write(job)
        if progress is not None:
            progress(len(receipts), len(orders))
    return receipts


def _check_requests(
    database: Database, requests: Sequence[OrderRequest], batch: CheckedFile | None, catalogue: Catalog | None
) -> None:
    problems = list(batch.problems) if batch else []
    if not requests and not problems:
        problems.append(Problem("", "nothing to order"))
    po_numbers: set[str] = set()
    for request in requests:
        place = request.po_number if len(requests) > 1 else ""
        try:
            request_problems = check_request(read_request(dict(request.document)), catalogue)
        except InvalidSubmission as exc:
            request_problems = list(exc.problems)
        if not request.po_number:
            request_problems.append(Problem("PONumber", "is missing: give the order one before it is submitted"))
        elif folded_id(request.po_number) in po_numbers:
            request_problems.append(Problem("PONumber", "is there twice, in whatever case"))
        po_numbers.add(folded_id(request.po_number))
        problems += [files.within(place, problem) for problem in request_problems]
    if batch:
        with database.read() as connection:
            taken = files.find_taken(connection, (request.po_number for request in requests))
        problems += [
            Problem(request.po_number, files.taken_message(request.po_number, request, existing))
            for request in requests
            if (existing := taken.get(request.po_number)) and not files.has_contents(existing, request)
        ]
    if problems:
        raise InvalidSubmission(problems[: files.MAX_PROBLEMS + 1])


def _groups(requests: Iterable[OrderRequest]) -> Iterator[list[OrderRequest]]:
    """Group what commits together: few enough orders and lines that the writer is never held up for long."""
    group: list[OrderRequest] = []
    lines = 0
    for request in requests:
        if group and (len(group) >= GROUP_ORDERS or lines + len(request.lines) > GROUP_LINES):
            yield group
            group, lines = [], 0
        group.append(request)
        lines += len(request.lines)
    if group:
        yield group


def _place_group(
    connection: Connection,
    *,
    group: list[OrderRequest],
    batch: CheckedFile | None,
    source: str,
    by: Person,
    now: datetime,
    catalog: Catalog | None,
) -> list[Receipt]:
    """The job that commits one group."""
    batch_id = None if batch is None else _batch_id(connection, batch, by, now)
    taken = files.find_taken(connection, (request.po_number for request in group))
    receipts = []
    for request in group:
        if existing := taken.get(request.po_number):
            same = files.has_contents(existing, request)
            message = (
                f"already here ({existing.state})"
                if same
                else files.taken_message(request.po_number, request, existing)
            )
            receipt = Receipt(request.po_number, existing.id, "exists" if same else "rejected", message)
        else:
            values = face_values([request], catalog)
            certain = values if all(values) else None
            receipt = _place(connection, request, source=source, by=by, now=now, batch_id=batch_id, values=certain)
        receipts.append(receipt)
    return receipts


def _place(connection: Connection, request: OrderRequest, *, by: Person, **more: Any) -> Receipt:
    try:
        order_id = ingest.place(connection, request, actor=by.name, **more)
    except NotAllowed as exc:
        return Receipt(request.po_number, None, "rejected", str(exc))
    return Receipt(request.po_number, order_id, "queued")


def _batch_id(connection: Connection, batch: CheckedFile, by: Person, now: datetime) -> int:
    """The row id of the file, which is stored once."""
    query = sa.select(BATCHES.c.id).where(BATCHES.c.digest == batch.digest).order_by(BATCHES.c.id)
    if (existing := connection.execute(query).scalar()) is not None:
        return int(existing)
    values = {"digest": batch.digest, "name": batch.name[:200], "rows": batch.rows, "orders": len(batch.requests)}
    add = sa.insert(BATCHES).values(created_at=now, actor=by.name, **values).returning(BATCHES.c.id)
    return int(connection.execute(add).scalar_one())
