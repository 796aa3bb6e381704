"""Cleanup: removes what is older than TRACKING_KEEP_DAYS, in small steps, in one process of the store at a time.

Each step is a transaction of its own with a pause after it, so that other writes wait a few milliseconds at most. How
much was removed so far is stored as a fact, for the pages and the metrics.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from tracking.errors import StoreUnusable
from tracking.storage.database import Database
from tracking.storage.retention.archiving import Archiver
from tracking.storage.retention.jobs import remove_old_jobs
from tracking.storage.retention.lease import count_removed, release_lease, set_trouble, take_lease
from tracking.storage.retention.removal import ROWS_AT_ONCE, Removed, remove_old

TURN_EVERY = 60.0
STEP_PAUSE = 0.05


class Cleanup:
    """Removes what has been quiet for longer than `keep`; with a folder `archive`, orders are archived there first."""

    def __init__(
        self,
        database: Database,
        keep: timedelta,
        *,
        owner: str,
        clock: Callable[[], datetime],
        archive: Path | None = None,
    ) -> None:
        self._database, self._keep, self._owner, self._clock = database, keep, owner, clock
        self._archive = archive

    async def turn(self) -> None:
        """Remove all that is old enough by now, step by step; do nothing while another process does."""
        before = self._clock() - self._keep
        if self._archive is not None:
            if not await self._database.run(self._has_lease):
                return
            who: dict[str, Any] = {"owner": self._owner, "by": "console", "clock": self._clock}
            try:
                await asyncio.to_thread(Archiver(self._database, self._archive, **who).run, before)
            except StoreUnusable as exc:
                await self._database.run(partial(set_trouble, trouble=str(exc), now=self._clock()))
                raise
            await self._database.run(partial(set_trouble, trouble=None, now=self._clock()))
        while True:
            if not await self._database.run(lambda connection: self._step(connection, before)):
                break
            await asyncio.sleep(STEP_PAUSE)
        await self._database.run(lambda connection: release_lease(connection, self._owner, self._clock()))

    def _has_lease(self, connection: Connection) -> bool:
        return take_lease(connection, self._owner, self._clock()) is not None

    def _step(self, connection: Connection, before: datetime) -> bool:
        now = self._clock()
        so_far = take_lease(connection, self._owner, now)
        if so_far is None:
            return False
        removed = remove_old(connection, before, now) if self._archive is None else Removed()
        jobs = remove_old_jobs(connection, before, ROWS_AT_ONCE - min(removed.rows, ROWS_AT_ONCE))
        count_removed(connection, so_far, removed, now)
        return bool(removed.anything or jobs)
