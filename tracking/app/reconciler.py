"""Reconciler: before a restored database sends anything, ask the provider what was sent after the backup.

The provider has what was sent after the backup. First its list is read from before the backup on, which discovers the
orders that the store lacks or holds for unsent; then every order that waits to be sent is looked up by its PONumber.
Its progress is in the store: cut at any step it goes on, or does the step again, which changes nothing.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, func, select
from sqlalchemy.engine import RowMapping

from tracking.errors import ProviderError, StoreError, Throttled
from tracking.orders.vocabulary import EventKind
from tracking.polling.discovery import Discovery
from tracking.storage.database import Database
from tracking.storage.maintenance import restore_mark
from tracking.storage.maintenance.restore_mark import RestoreMark
from tracking.storage.tables import EVENTS, ORDERS, OUTBOX
from tracking.submissions.sender import Sender

log = logging.getLogger(__name__)
T = TypeVar("T")

# Clocks differ, and an order that was on its way when the copy was made is listed a little later.
RESTORE_OVERLAP = timedelta(hours=1)
LOOKUPS_AT_ONCE = 8
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=5), timedelta(minutes=5)
DETECT_RETRY = 1.0
NOTE_EVERY = timedelta(seconds=10)


class Reconciler:
    """Detects a restored store, reconciles it, and notes the progress by which the next one is detected."""

    def __init__(self, database: Database, discovery: Discovery, sender: Sender, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._discovery = discovery
        self._sender = sender
        self._clock = clock
        self._failures = 0
        self._again_at: datetime | None = None
        self._noted_at: datetime | None = None

    async def detect_restore(self) -> None:
        """Detect whether the store was restored, however long that takes: nothing may be sent before."""
        while True:
            try:
                await asyncio.to_thread(restore_mark.detect, self._database, self._clock())
            except StoreError as exc:
                log.warning("sending waits for the store: %s", exc)
                await asyncio.sleep(DETECT_RETRY)
            else:
                return

    async def reconcile(self) -> None:
        """Reconcile a store that is marked as restored, as far as the provider answers. Raises StoreError."""
        now = self._clock()
        if self._again_at is not None and now < self._again_at <= now + LONGEST_WAIT:
            return
        mark = await self._read(restore_mark.find_mark)
        if mark is None:
            if self._noted_at is None or not timedelta() <= now - self._noted_at < NOTE_EVERY:
                await asyncio.to_thread(restore_mark.note_progress, self._database)
                self._noted_at = now
            return
        try:
            if not mark.walked:
                await self._read_list(mark)
            await self._look_up(mark)
        except ProviderError as exc:
            await self._wait(mark, exc)
            return
        self._failures, self._again_at = 0, None
        await self._database.run(self._finish)

    async def _read(self, query: Callable[[Connection], T]) -> T:
        def read() -> T:
            with self._database.read() as connection:
                return query(connection)

        return await asyncio.to_thread(read)

    async def _update_mark(self, mark: RestoreMark, **values: Any) -> None:
        """Update the mark in the store, unless it is gone or another one by now."""

        def job(connection: Connection) -> None:
            stored = restore_mark.find_mark(connection)
            if stored is not None and stored.taken_at == mark.taken_at:
                restore_mark.set_mark(connection, replace(stored, **values), self._clock())

        await self._database.run(job)

    async def _wait(self, mark: RestoreMark, error: ProviderError) -> None:
        self._failures += 1
        growing = FIRST_WAIT * 2 ** min(self._failures - 1, 10)
        wait = error.retry_after if isinstance(error, Throttled) else growing
        self._again_at = self._clock() + min(wait, LONGEST_WAIT)
        log.warning("reconciling waits for the provider error=%s status=%s", type(error).__name__, error.status)
        await self._update_mark(mark, trouble=str(error))

    async def _read_list(self, mark: RestoreMark) -> None:
        log.warning("the store was restored from a copy of %s: asking for what happened since", mark.taken_at)
        await self._discovery.walk(mark.taken_at - RESTORE_OVERLAP, self._clock())
        await self._update_mark(mark, walked=True, trouble=None)

    async def _look_up(self, mark: RestoreMark) -> None:
        """Look up every order that waits to be sent, those that are handed in meanwhile as well."""
        done = mark.looked_up
        while rows := await self._read(partial(_unsent_rows, after=done, limit=LOOKUPS_AT_ONCE)):
            # All of them are heard out, so that what was found is kept although another failed.
            for outcome in await asyncio.gather(*map(self._sender.find_sent, rows), return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
            done = rows[-1]["order_id"]
            await self._update_mark(mark, looked_up=done, trouble=None)

    def _finish(self, connection: Connection) -> None:
        """Remove the mark, unless an order was handed in since the last was looked up, or it was restored anew."""
        mark = restore_mark.find_mark(connection)
        if mark is None or not mark.walked or _unsent_rows(connection, mark.looked_up, 1):
            return
        kinds = EventKind.DISCOVERED, EventKind.ADOPTED, EventKind.PO_NUMBER_MISMATCH
        discoveries = select(func.count()).where(EVENTS.c.id > mark.newest_event, EVENTS.c.kind.in_(kinds))
        count = connection.execute(discoveries).scalar_one()
        result = {"taken_at": mark.taken_at.isoformat(), "found": count}
        restore_mark.remove_mark(connection, result, self._clock())
        log.warning("the restored store is reconciled: %d orders were found at the provider", count)


def _unsent_rows(connection: Connection, after: int, limit: int) -> list[RowMapping]:
    columns = (OUTBOX.c.order_id, OUTBOX.c.request, OUTBOX.c.attempts, ORDERS.c.po_number, ORDERS.c.provider_id)
    waiting = select(*columns).join(ORDERS, ORDERS.c.id == OUTBOX.c.order_id)
    due = waiting.where(OUTBOX.c.done.is_(False), OUTBOX.c.order_id > after).order_by(OUTBOX.c.order_id)
    return list(connection.execute(due.limit(limit)).mappings())
