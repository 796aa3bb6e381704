"""Records polls whose answer was the same as before, many in one transaction."""

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy import Connection

from tracking import ingest
from tracking.errors import UnknownOrder
from tracking.forecasting.planner import PlanningContext
from tracking.orders.observations import Observation
from tracking.storage import orders
from tracking.storage.database import Database
from tracking.storage.writing.batching import Batcher, together_or_alone

# Between two commits: nobody waits for polls without news, and a commit costs the same for one as for many.
PAUSE_SECONDS = 0.02


class UnchangedAnswers:
    """Gathers observations while earlier ones are being committed, and stores each batch as one job."""

    def __init__(self, database: Database, planner: PlanningContext) -> None:
        self._database, self._planner = database, planner
        self._batches = Batcher(self._record_batch, pause=PAUSE_SECONDS)

    async def record(self, order_id: int, observation: Observation) -> None:
        """Records what was seen of one order; returns once it is committed. Raises UnknownOrder and StoreError."""
        if failed := await self._batches.submit((order_id, observation)):
            raise failed

    async def _record_batch(self, batch: Sequence[tuple[int, Observation]]) -> list[Exception | None]:
        """Returns what failed of each, None for what did not."""
        return await together_or_alone(batch, self._record)

    async def _record(self, batch: Sequence[tuple[int, Observation]]) -> list[Exception | None]:
        observations = dict(batch)
        job = partial(_observe_each, gathered=observations, planner=self._planner)
        missing = await self._database.run(job, orders=observations)
        return [missing.get(order_id) for order_id, _ in batch]


def _observe_each(
    connection: Connection, gathered: Mapping[int, Observation], planner: PlanningContext
) -> dict[int, Exception]:
    missing: dict[int, Exception] = {order_id: UnknownOrder(str(order_id)) for order_id in gathered}
    read = orders.find_orders(connection, list(gathered))
    # A single one is written at once: it may read what it wrote, as for an order that webhooks have waited for.
    with orders.deferred_writes(connection) if len(gathered) > 1 else contextlib.nullcontext():
        for stored in read:
            ingest.observe(connection, stored.id, gathered[stored.id], planner, stored=stored)
            del missing[stored.id]
    return missing
