"""Records polls whose answer was the same as before, many in one transaction."""

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy import Connection

from tracking import ingest
from tracking.errors import StoreBusy, UnknownOrder
from tracking.forecasting.planner import PlanningContext
from tracking.orders.observations import Observation
from tracking.storage import orders
from tracking.storage.database import Database
from tracking.storage.writing.batching import Batcher

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
        observations = dict(batch)
        failed = await self._record(observations)
        if len(observations) > 1 and not any(isinstance(each, StoreBusy) for each in failed.values()):
            for order_id in list(failed):  # one bad order must harm no other
                del failed[order_id]
                failed |= await self._record({order_id: observations[order_id]})
        return [failed.get(order_id) for order_id, _ in batch]

    async def _record(self, observations: Mapping[int, Observation]) -> dict[int, Exception]:
        try:
            job = partial(_observe_each, gathered=observations, planner=self._planner)
            return await self._database.run(job, orders=observations)
        except Exception as exc:  # noqa: BLE001 - it goes to whoever waits
            return dict.fromkeys(observations, exc)


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
