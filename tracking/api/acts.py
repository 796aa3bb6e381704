"""Acts by the API: submit orders, have one polled now. Each is one transaction, together with its answer.

A submission has an Idempotency-Key: its answer is stored with the orders, so that whoever lost it asks again and gets
the same one. PO numbers that are made here follow from the token, the key and the body, so that even after the day for
which the answer is kept the same request is the same orders.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from tracking.api.callers.tokens import Caller, ended_meanwhile
from tracking.api.problems import Refusal, invalid
from tracking.api.reading import Document, find_order, utc
from tracking.api.service import Service
from tracking.errors import Problem
from tracking.orders.model import OrderRequest
from tracking.reports import amounts
from tracking.reports.order_page.rows import order_row
from tracking.storage.integration import requests, tokens
from tracking.storage.integration.requests import Answered
from tracking.storage.team.audit_log import AuditKind
from tracking.submissions import catalog
from tracking.submissions.actions import request_step
from tracking.submissions.files import CheckedFile, read_json
from tracking.submissions.submit import GROUP_LINES, GROUP_ORDERS, check_requests, place_and_record

SOURCE = "api"
_DIGITS = 16  # of the hash in a PO number: 64 bits


@dataclass(frozen=True, slots=True)
class Submission:
    """What somebody submits: a body in the provider's shape, under a key; by whom."""

    caller: Caller
    key: str
    body: bytes

    @property
    def digest(self) -> str:
        """What tells it from any other one; of people nothing can be found out by it."""
        return hashlib.sha256(f"{self.caller.token_id}\0{self.key}\0".encode() + self.body).hexdigest()


class Acts:
    """Does what operators' tokens ask for."""

    def __init__(self, service: Service) -> None:
        self._service, self._database = service, service.database
        self._under_way: set[tuple[int, str]] = set()

    @contextlib.contextmanager
    def alone(self, submission: Submission) -> Iterator[None]:
        """Answer one request under a key at a time; another process waits for the transaction of this one instead."""
        key = submission.caller.token_id, submission.key
        if key in self._under_way:
            raise Refusal("in-progress", "A request with this Idempotency-Key is being answered.", headers=_SOON)
        self._under_way.add(key)
        try:
            yield
        finally:
            self._under_way.discard(key)

    def check(self, submission: Submission) -> Document:
        """What is in a submission, or its problems, as `submit --dry-run --json` has it. Stores nothing."""
        submission.caller.person.must_operate()
        checked = self._checked(submission)
        values = catalog.face_values(checked.requests, catalog.load_catalog(self._database))
        return {
            "orders": len(checked.requests),
            "units": checked.units,
            "value": amounts.one_amount(values),
            "values": amounts.decimal_texts(values),
            "not_checked": list(checked.unchecked),
        }

    def submit(self, submission: Submission, now: datetime) -> tuple[int, Document]:
        """Queue the orders, all or none; the status and the document to answer with."""
        caller = submission.caller
        caller.person.must_operate()
        with self._database.read() as connection:  # whatever the catalog says by now
            before = requests.find(connection, caller.token_id, submission.key, now)
        if before is not None:
            return _again(submission, before)
        checked, offered = self._checked(submission), catalog.load_catalog(self._database)

        def job(connection: Connection) -> tuple[int, Document]:
            before = requests.claim(connection, caller.token_id, submission.key, submission.digest, now)
            if before is not None:
                return _again(submission, before)
            _count(connection, caller, now)
            status, answer = _place(connection, checked.requests, caller, offered, now)
            requests.answer(connection, caller.token_id, submission.key, status, answer)
            return status, answer

        return self._database.write(job)

    def _checked(self, submission: Submission) -> CheckedFile:
        """The orders of the body. Raises Refusal with all that is wrong with them."""
        offered = catalog.load_catalog(self._database)
        numbered = f"API-{submission.digest[:_DIGITS].upper()}"
        checked = read_json(submission.body, "request", catalog=offered, numbered=numbered)
        if len(checked.requests) > GROUP_ORDERS or sum(len(each.lines) for each in checked.requests) > GROUP_LINES:
            most = f"{GROUP_ORDERS} orders with {GROUP_LINES:,} lines"
            raise Refusal("too-large", f"A request may have {most} at most; a file of more is an import.")
        if checked.problems:
            raise invalid(checked.problems)
        check_requests(self._database, checked.requests, None, offered)
        return checked

    def check_now(self, caller: Caller, po_or_id: str, now: datetime) -> Document:
        """Make the order due for a poll now."""
        person = caller.person
        person.must_operate()
        order_id = find_order(self._database, po_or_id)

        def job(connection: Connection) -> Document:
            _count(connection, caller, now)
            request_step(connection, order_id, "check", AuditKind.POLL_REQUESTED, by=person, now=now)
            row = order_row(connection, order_id)
            due = row["next_look_at"]
            return {"po_number": row["po_number"], "state": row["state"], "next_look_at": utc(due) if due else None}

        return self._database.write(job, orders=[order_id])


_SOON = {"Retry-After": "1"}


def _again(submission: Submission, before: Answered) -> tuple[int, Document]:
    """What was answered before. Raises Refusal where something else had been asked."""
    if before.digest != submission.digest:
        raise Refusal("key-reused", "The body is not the one that this Idempotency-Key was first used for.")
    return before.status, dict(before.answer)


def _count(connection: Connection, caller: Caller, now: datetime) -> None:
    if not tokens.count_act(connection, caller.token_id, now):
        raise ended_meanwhile()


def _place(
    connection: Connection,
    group: Sequence[OrderRequest],
    caller: Caller,
    offered: catalog.Catalog | None,
    now: datetime,
) -> tuple[int, Document]:
    """Place the orders: 201 where one is new, 200 where all were there already. Raises Refusal where one cannot be."""
    more: dict[str, Any] = {"source": SOURCE, "by": caller.person, "now": now, "purpose": "", "catalog": offered}
    receipts = place_and_record(connection, group=group, **more)
    if rejected := [Problem(each.po_number, each.message) for each in receipts if each.outcome == "rejected"]:
        raise Refusal("conflict", "Nothing was placed: see `problems`.", rejected)
    names = ("po_number", "outcome", "message")
    orders = [{name: getattr(receipt, name) for name in names} for receipt in receipts]
    return (201 if any(each.outcome == "queued" for each in receipts) else 200), {"orders": orders}
