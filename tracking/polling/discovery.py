"""Discovers orders placed elsewhere: walks the provider's order list, and records its pages through `list_pages`.

How far the list was read is a fact of the store (the watermark), so a restart forgets nothing.
"""

import asyncio
import logging
from datetime import datetime, timedelta

from sqlalchemy import Connection

from tracking.errors import ProviderError, UnreadableAnswer
from tracking.forecasting.planner import PlanningContext
from tracking.orders.model import folded_id
from tracking.polling import list_pages
from tracking.polling.list_pages import PAGE_SIZES
from tracking.provider.client import Client, walk_pages
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey

log = logging.getLogger(__name__)

OVERLAP = timedelta(minutes=5)
FIRST_DISCOVERY = timedelta(days=30)
PAGES_AT_MOST = 2000


class Discovery:
    """Walks the order list from a little before the newest order known, and hands what it shows to `ingest`.

    `every` is the time between walks; zero: never, unless somebody calls `walk`.
    """

    def __init__(self, database: Database, client: Client, planner: PlanningContext, *, every: timedelta) -> None:
        self._database, self._client, self._planner, self._every = database, client, planner, every

    async def walk_if_due(self, now: datetime) -> bool:
        """Walks the list when that is due; returns whether it did."""
        if not self._every:
            return False
        progress = await asyncio.to_thread(self._progress)
        if progress and now < datetime.fromisoformat(progress["next_at"]) <= now + self._every:
            return False
        watermark = datetime.fromisoformat(progress["watermark"]) if progress.get("watermark") else None
        await self._database.run(lambda connection: self._store_progress(connection, watermark, now))
        try:
            await self.walk(watermark, now)
        except ProviderError as exc:
            log.info("discovery failed error=%s status=%s", type(exc).__name__, exc.status)
        return True

    async def walk(self, watermark: datetime | None, now: datetime) -> None:
        """Walks the list from a little before the watermark on, and stores how far it came.

        The watermark is when the newest order known was created; None: the list is read for the first time.

        Raises:
            ProviderError: the walk ended early; what it saw is kept, the next walk begins at the same place.
        """
        start = (watermark or now - FIRST_DISCOVERY) - OVERLAP
        for size in PAGE_SIZES:
            try:
                newest = await self._walk_pages(start, size)
            except UnreadableAnswer:
                if size == PAGE_SIZES[-1]:
                    raise
                log.warning("list page unreadable size=%d, trying smaller pages", size)
            else:
                await self._advance(watermark, newest, now)
                return

    def _progress(self) -> dict[str, str]:
        """Until when the list was read and when to go on; empty before the first walk."""
        with self._database.read() as connection:
            fact = facts.get_fact(connection, FactKey.DISCOVERY)
        return fact[1] if fact else {}

    def _store_progress(self, connection: Connection, watermark: datetime | None, now: datetime) -> None:
        value = {"watermark": watermark.isoformat() if watermark else None, "next_at": (now + self._every).isoformat()}
        facts.set_fact(connection, FactKey.DISCOVERY, value, now)

    async def _advance(self, watermark: datetime | None, newest: datetime | None, now: datetime) -> None:
        """A creation time that lies ahead of our clock would hide what is placed until then, so now is the limit."""
        furthest = max((min(moment, now) for moment in (watermark, newest) if moment), default=None)
        await self._database.run(lambda connection: self._store_progress(connection, furthest, now))

    async def _walk_pages(self, start: datetime, size: int) -> datetime | None:
        """The newest creation time. A page of nothing new or nothing readable may well be followed by another."""
        times: list[datetime] = []
        listed: set[str] = set()
        pages = walk_pages(lambda number: self._client.orders(page=number, size=size, start=start), PAGES_AT_MOST)
        async for page in pages:
            fresh = [order for order in page.orders if folded_id(order.snapshot.provider_id) not in listed]
            await list_pages.record_list_page(self._database, self._planner, fresh, page.started_at, page.finished_at)
            listed |= {folded_id(order.snapshot.provider_id) for order in fresh}
            times += [order.snapshot.created_at for order in fresh if order.snapshot.created_at]
        return max(times, default=None)
