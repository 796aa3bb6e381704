"""Approval of orders above the limit: a second operator, proven by a sign-in, approves or declines.

Which orders wait is decided where an order is placed (`ingest.place`), and nothing leaves before. Each judgment is one
transaction: the order's event, its row of the outbox, an entry of the audit log; of two at once the later is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection

from tracking import ingest
from tracking.access import Person
from tracking.errors import NotPermitted
from tracking.orders.model import OrderRequest
from tracking.orders.observations import Judged
from tracking.storage.database import Database
from tracking.storage.team import approval_rule
from tracking.storage.team.audit_log import AuditKind, record_act
from tracking.submissions.actions import find, optional_note, readable_note
from tracking.submissions.catalog import certain_values, load_catalog


def approve(database: Database, order: str, *, by: Person, now: datetime, why: str | None = None) -> None:
    """Let the order, of this PONumber or provider's id, be sent.

    Raises:
        NotPermitted: the person may not: a viewer, or somebody whose name no sign-in proves.
        UnknownOrder: nothing has this id.
        NotAllowed: it waits for no approval (any more), or the person submitted it.
        InvalidNote: the reason is too long.
    """
    by.must_operate()
    _judge(database, order, Judged(True, optional_note(why)), by, now)


def decline(database: Database, order: str, *, by: Person, now: datetime, why: str) -> None:
    """Have the order never be sent; a reason is required. Raises as `approve`."""
    by.must_operate()
    _judge(database, order, Judged(False, readable_note(why)), by, now)


def expected_waits(database: Database, requests: Iterable[OrderRequest]) -> dict[str, str]:
    """Say which of these requests would wait for a second operator, by PONumber, and why. Writes nothing."""
    with database.read() as connection:
        limit = approval_rule.limit_in_force(connection)
    if limit is None:
        return {}
    catalogue = load_catalog(database)
    waits: dict[str, str] = {}
    for request in requests:
        if why := limit.why_waits(certain_values(request, catalogue) or {"": request.value_minor}):
            waits[request.po_number] = why
    return waits


def _judge(database: Database, order: str, judged: Judged, by: Person, now: datetime) -> None:
    if not by.signed_in:
        raise NotPermitted(f"{by.name} is a name that no sign-in proves; approve and decline on the pages, signed in")
    kind = AuditKind.APPROVED if judged.approved else AuditKind.DECLINED

    def job(connection: Connection) -> None:
        order_id = find(connection, order)
        ingest.record_work(connection, order_id, judged, actor=by.name, now=now)
        record_act(connection, by, kind, now, order_id=order_id)

    database.write(job)
