"""Marks changes of the provider's contract as read, so that banners no longer tell of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection

from tracking.access import Person
from tracking.provider.http.contract_changes import mark_read
from tracking.reports.logs.contract import ContractChange
from tracking.storage.database import Database
from tracking.storage.team.audit_log import AuditKind, record_act


def mark_changes_read(database: Database, changes: Iterable[ContractChange], *, by: Person, now: datetime) -> int:
    """Mark these changes as read; returns how many rows of the contract log that were. What is read already stays so.

    Raises NotPermitted where the person may not.
    """
    by.must_operate()
    ids = dict[str, list[int]]()
    for each in changes:
        ids.setdefault(each.change, []).extend(each.ids)

    def job(connection: Connection) -> int:
        counts = mark_read(connection, ids, now)
        if any(counts.values()):
            record_act(connection, by, AuditKind.CONTRACT_READ, now, detail=counts)
        return sum(counts.values())

    return database.write(job)
