"""Submit orders: check requests once more and commit them in groups to the outbox, for the sender.

A PONumber that is taken is reported and left alone, so the same call after a crash goes on where it stopped. Asks first
whether the person may, whatever their page showed. Sends nothing itself. A whole file is an import: `team.imports`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
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
from tracking.storage.team.audit_log import AuditKind, record_act
from tracking.submissions import files
from tracking.submissions.catalog import Catalog, certain_values, check_request, load_catalog
from tracking.submissions.files import CheckedFile
from tracking.submissions.requests import read_request

GROUP_ORDERS = 50
GROUP_LINES = 2000
_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The result for one request: queued, exists (left as it is) or rejected (the message says why).

    One of an import that was stopped may still be waiting.
    """

    po_number: str
    order_id: int | None
    outcome: str
    message: str = ""


def new_po_number(now: datetime, rng: random.Random) -> str:
    """Make a new PONumber: the day and six random characters that cannot be mistaken for each other."""
    return f"FT-{now:%Y%m%d}-{''.join(rng.choices(_ALPHABET, k=6))}"


def submit(
    database: Database, requests: Sequence[OrderRequest], *, source: str, by: Person, now: datetime, purpose: str = ""
) -> list[Receipt]:
    """Commit the requests, which queues them for the sender. Calling it again after a crash continues.

    `purpose` says in the audit log what they are for, where that is no customer of ours.

    Raises:
        NotPermitted: the person may not; nothing was read or written.
        InvalidSubmission: something is wrong with the requests; nothing was written.
        StoreError: groups committed before stay; call again.
    """
    by.must_operate()
    catalogue = load_catalog(database)
    check_requests(database, requests, None, catalogue)
    receipts: list[Receipt] = []
    for group in groups(requests):
        more: dict[str, Any] = {"source": source, "by": by, "now": now, "purpose": purpose, "catalog": catalogue}
        receipts += database.write(partial(place_and_record, group=group, **more))
    return receipts


def check_requests(
    database: Database, requests: Sequence[OrderRequest], batch: CheckedFile | None, catalogue: Catalog | None
) -> None:
    """Check the requests, those of a file with its problems. Raises InvalidSubmission; writes nothing."""
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
    numbers = [request.po_number for request in requests]
    with database.read() as connection:
        taken = files.find_taken(connection, numbers) if batch else {}
        waiting = files.find_waiting(connection, numbers, batch.digest if batch else "")
    problems += [Problem(number, files.waiting_message(number, name)) for number, name in waiting.items()]
    if batch:
        problems += [
            Problem(request.po_number, files.taken_message(request.po_number, request, existing))
            for request in requests
            if (existing := taken.get(request.po_number)) and not files.has_contents(existing, request)
        ]
    if problems:
        raise InvalidSubmission(problems[: files.MAX_PROBLEMS + 1])


def groups(requests: Iterable[OrderRequest]) -> Iterator[list[OrderRequest]]:
    """Split the requests into groups that are committed together, small enough not to hold up the writer."""
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


def place_and_record(
    connection: Connection,
    *,
    group: Sequence[OrderRequest],
    source: str,
    by: Person,
    now: datetime,
    purpose: str,
    catalog: Catalog | None,
) -> list[Receipt]:
    """Place one group, and record in the audit log how many orders the person placed: a step of a job.

    Orders that existed before are not counted, so that calling it again after a crash counts each order once.
    """
    by.must_operate()
    receipts = place_group(connection, group=group, source=source, actor=by.name, now=now, catalog=catalog)
    placed = [receipt.order_id for receipt in receipts if receipt.outcome == "queued"]
    if placed:
        order_id = placed[0] if len(placed) == 1 else None
        detail = {"source": source, "orders": len(placed), "purpose": purpose or None}
        record_act(connection, by, AuditKind.SUBMITTED, now, order_id=order_id, detail=detail)
    return receipts


def place_group(
    connection: Connection,
    *,
    group: Sequence[OrderRequest],
    source: str,
    actor: str,
    now: datetime,
    catalog: Catalog | None,
    batch_id: int | None = None,
) -> list[Receipt]:
    """Place one group: a step of a job."""
    taken = files.find_taken(connection, (request.po_number for request in group))
    receipts = []
    for request in group:
        if existing := taken.get(request.po_number):
            receipts.append(_existing(request, existing))
        else:
            values = certain_values(request, catalog)
            more = {"source": source, "actor": actor, "now": now, "batch_id": batch_id, "values": values}
            receipts.append(_place(connection, request, **more))
    return receipts


def _existing(request: OrderRequest, existing: sa.Row[Any]) -> Receipt:
    if files.has_contents(existing, request):
        return Receipt(request.po_number, existing.id, "exists", f"already here ({existing.state})")
    message = files.taken_message(request.po_number, request, existing)
    return Receipt(request.po_number, existing.id, "rejected", message)


def _place(connection: Connection, request: OrderRequest, **more: Any) -> Receipt:
    try:
        order_id = ingest.place(connection, request, **more)
    except NotAllowed as exc:
        return Receipt(request.po_number, None, "rejected", str(exc))
    return Receipt(request.po_number, order_id, "queued")
