"""Keeping: what is older than the setting leaves the store bit by bit, in one process at a time.

Each step is a small transaction of its own, with a pause after it, so that whatever else is written waits a few
milliseconds for it. What was removed so far is a fact, for the pages and the metrics.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.retention.jobs import remove_old_jobs
from tracking.storage.retention.removal import ROWS_AT_ONCE, Removed, remove_old

log = logging.getLogger(__name__)

LEASE = timedelta(minutes=5)
TURN_EVERY = 60.0
STEP_PAUSE = 0.1
Archiving = Callable[[datetime], None]
"""What writes to an archive, and then removes, what is older than a time; it may take long."""


class Keeping:
    """Removes what was quiet for longer than `keep`; with `archiving`, which removes too, orders are archived first."""

    def __init__(
        self,
        database: Database,
        keep: timedelta,
        *,
        owner: str,
        clock: Callable[[], datetime],
        archiving: Archiving | None = None,
    ) -> None:
        self._database, self._keep, self._owner, self._clock = database, keep, owner, clock
        self._archiving = archiving

    async def turn(self) -> None:
        """Remove all that is old enough by now, step by step; nothing while another process does."""
        before = self._clock() - self._keep
        if self._archiving is not None and await self._database.run(self._take_lease):
            await asyncio.to_thread(self._archiving, before)
        while True:
            if not await self._database.run(lambda connection: self._step(connection, before)):
                return
            await asyncio.sleep(STEP_PAUSE)

    def _take_lease(self, connection: Connection) -> bool:
        return take_lease(connection, self._owner, self._clock()) is not None

    def _step(self, connection: Connection, before: datetime) -> bool:
        now = self._clock()
        so_far = take_lease(connection, self._owner, now)
        if so_far is None:
            return False
        removed = remove_old(connection, before, now) if self._archiving is None else Removed()
        jobs = remove_old_jobs(connection, before, ROWS_AT_ONCE - min(removed.rows, ROWS_AT_ONCE))
        count_removed(connection, so_far, removed, now)
        return bool(removed.anything or jobs)


def take_lease(connection: Connection, owner: str, now: datetime) -> Mapping[str, Any] | None:
    """Take, or renew, the right to remove, and return what was removed so far; None while another owner has it."""
    stored: dict[str, Any] = connection.execute(facts.SELECT_FACT_FOR_UPDATE, {"key": FactKey.RETENTION}).scalar() or {}
    until = datetime.fromisoformat(stored["until"]) if "until" in stored else now
    if stored.get("owner") not in {None, owner} and now < until <= now + LEASE:
        return None
    held = {**stored, "owner": owner, "until": (now + LEASE).isoformat()}
    facts.set_fact(connection, FactKey.RETENTION, held, now)
    return held


def count_removed(connection: Connection, so_far: Mapping[str, Any], removed: Removed, now: datetime) -> None:
    """Add what a step removed to what was removed so far; whether what does not agree is left is the latest word."""
    if removed.anything:
        added = {name: so_far.get(name, 0) + number for name, number in asdict(removed).items()}
        facts.set_fact(connection, FactKey.RETENTION, {**so_far, **added, "removed_at": now.isoformat()}, now)
