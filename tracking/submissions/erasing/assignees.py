"""Finds assignments to somebody of the erased person's name: they stay in the log, and are listed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, select

from tracking.provider.recipients import copies_name
from tracking.storage.tables import ORDERS
from tracking.storage.team.audit_log import AuditKind
from tracking.storage.team.tables import AUDIT_LOG

ENTRIES_AT_ONCE = 1000


def assigned_to(connection: Connection, person: str) -> tuple[list[str], list[int]]:
    """The PONumbers of orders that are or were assigned by the person's name, and the numbers of jobs that did so."""
    by_name = select(ORDERS.c.assignee).where(ORDERS.c.assignee.is_not(None)).distinct()
    names = [name for name in connection.execute(by_name).scalars() if copies_name([name], person)]
    now = select(ORDERS.c.po_number).where(ORDERS.c.assignee.in_(names)).order_by(ORDERS.c.id)
    po_numbers = list(connection.execute(now).scalars()) if names else []
    entries = [row for row in _entries(connection) if copies_name([row.detail.get("assignee")], person)]
    before = select(ORDERS.c.po_number).where(ORDERS.c.id.in_({row.order_id for row in entries if row.order_id}))
    po_numbers += connection.execute(before.order_by(ORDERS.c.id)).scalars() if entries else []
    return list(dict.fromkeys(po_numbers)), [row.job_id for row in entries if row.job_id]


def _entries(connection: Connection) -> Iterator[Any]:
    kinds = AuditKind.ASSIGNED.value, AuditKind.JOB_STARTED.value
    columns = AUDIT_LOG.c.order_id, AUDIT_LOG.c.job_id, AUDIT_LOG.c.detail
    query = select(*columns).where(AUDIT_LOG.c.kind.in_(kinds)).order_by(AUDIT_LOG.c.seq)
    yield from connection.execute(query, execution_options={"yield_per": ENTRIES_AT_ONCE})
