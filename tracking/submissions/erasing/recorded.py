"""Writes an erasure's removals together with its entry in the audit log, which does not name the person."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from tracking.access import Person
from tracking.storage.database import Database
from tracking.storage.team.audit_log import AuditKind, record_act

T = TypeVar("T")


class RecordedWrites:
    """Runs the removals of one erasure; the first of them is committed together with the entry of the audit log."""

    def __init__(self, database: Database, by: Person, now: datetime) -> None:
        self._database, self._by, self._now = database, by, now
        self._is_recorded = False

    def write(self, removal: Callable[[Connection], T], *, where: str) -> T:
        """Run a removal; `where` is what the entry names if this is the first one."""
        if self._is_recorded:
            return self._database.write(removal)
        return self._recorded(removal, {"from": where})

    def write_orders(self, removal: Callable[[Connection], T], *, orders: int) -> T:
        """Run the first removal from orders: with an entry of its own that says how many orders name the person."""
        return self._recorded(removal, {"orders": orders})

    def _recorded(self, removal: Callable[[Connection], T], detail: dict[str, object]) -> T:
        result = self._database.write(partial(self._step, removal=removal, detail=detail))
        self._is_recorded = True
        return result

    def _step(self, connection: Connection, removal: Callable[[Connection], T], detail: dict[str, object]) -> T:
        result = removal(connection)
        record_act(connection, self._by, AuditKind.ERASED, self._now, detail=detail)
        return result
