"""Records polls whose answer was the one before: those that come while the store commits are recorded together."""

import asyncio
import contextlib
from collections.abc import Mapping
from contextvars import Context
from functools import partial

from sqlalchemy import Connection

from tracking import ingest
from tracking.errors import StoreBusy, UnknownOrder
from tracking.forecasting.planner import PlanningContext
from tracking.orders.observations import Observation
from tracking.storage import orders
from tracking.storage.database import Database


class UnchangedAnswers:
    """Gathers observations while the ones before are committed, and hands each lot to the store as one job."""

    def __init__(self, database: Database, planner: PlanningContext) -> None:
        self._database, self._planner = database, planner
        self._gathered: dict[int, Observation] = {}
        self._next: asyncio.Task[dict[int, Exception]] | None = None
        self._lock = asyncio.Lock()

    async def record(self, order_id: int, observation: Observation) -> None:
        """Records what was seen of one order; returns once it is committed. Raises UnknownOrder and StoreError."""
        self._gathered[order_id] = observation
        # A context of its own: what it logs is about all of them, not about the order that came first.
        self._next = self._next or asyncio.create_task(self._record_gathered(), context=Context())
        failed = await asyncio.shield(self._next)  # whoever is cancelled leaves the others their commit
        if order_id in failed:
            raise failed[order_id]

    async def _record_gathered(self) -> dict[int, Exception]:
        """Returns what failed, by order."""
        async with self._lock:
            gathered, self._gathered, self._next = self._gathered, {}, None
            failed = await self._record(gathered)
            if len(gathered) == 1 or not failed or any(isinstance(each, StoreBusy) for each in failed.values()):
                return failed
            for order_id in failed:  # one bad order must harm no other
                failed = failed | await self._record({order_id: gathered[order_id]})
            return failed

    async def _record(self, gathered: Mapping[int, Observation]) -> dict[int, Exception]:
        try:
            job = partial(_observe_each, gathered=gathered, planner=self._planner)
            return await self._database.run(job, orders=gathered)
        except Exception as exc:  # noqa: BLE001 - it goes to whoever waits
            return dict.fromkeys(gathered, exc)


def _observe_each(
    connection: Connection, gathered: Mapping[int, Observation], planner: PlanningContext
) -> dict[int, Exception]:
    missing: dict[int, Exception] = {order_id: UnknownOrder(str(order_id)) for order_id in gathered}
    read = orders.find_orders(connection, list(gathered))
    # One alone may be anything, such as an order that callbacks have waited for.
    with orders.together(connection) if len(gathered) > 1 else contextlib.nullcontext():
        for stored in read:
            ingest.observe(connection, stored.id, gathered[stored.id], planner, stored=stored)
            del missing[stored.id]
    return missing
