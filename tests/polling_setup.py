"""A poller and discovery with their store and a provider, for tests of what they ask and record."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from fakes import NOW, Clock, FakeProvider, order_json
from sqlalchemy.engine import RowMapping

from tracking import ingest
from tracking.forecasting.planner import PlanningContext
from tracking.polling.discovery import Discovery
from tracking.polling.poller import CALLS_AT_ONCE, LeasedCall, Poller
from tracking.provider.responses import read_order
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.tables import EVENTS, ORDERS


async def lease_best(poller: Poller, now: datetime, at_most: int = CALLS_AT_ONCE) -> list[LeasedCall]:
    """Chooses the best calls and leases their orders."""
    await poller.survey(now, at_most)
    return await poller.lease(now, at_most)


async def poll_once(poller: Poller, now: datetime) -> int:
    """Polls what is worth it; returns how many orders were leased."""
    calls = await lease_best(poller, now)
    await asyncio.gather(*(poller.poll(call) for call in calls))
    return sum(len(call.rows) for call in calls)


class PollingSetup:
    """A poller with its store and its provider."""

    def __init__(self, store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock) -> None:
        self.store, self.provider, self.planner, self.clock = store, provider, planner, clock
        self.discovery = self.walker()
        self.poller = self.worker("here/1/a")

    def walker(self, every: float = 30) -> Discovery:
        return Discovery(self.store, self.provider, self.planner, every=timedelta(seconds=every))

    def worker(self, owner: str) -> Poller:
        return Poller(
            self.store,
            self.provider,
            self.planner,
            owner=owner,
            lease=timedelta(seconds=30),
            clock=self.clock,
        )

    def know(self, *orders: dict[str, Any]) -> None:
        """The store and the provider know these orders; all are due now."""
        self.provider.show(*orders)
        now = self.clock.now

        def job(connection: sa.Connection) -> None:
            for raw in orders:
                ingest.discover(connection, read_order(raw), now, now, self.planner)
            connection.execute(sa.update(ORDERS).values(next_look_at=now))

        self.store.write(job)

    def poll(self, **later: float) -> int:
        return asyncio.run(poll_once(self.poller, self.clock.pass_by(**later)))

    def discover(self, **later: float) -> bool:
        return asyncio.run(self.discovery.walk_if_due(self.clock.pass_by(**later)))

    def rows(self) -> Sequence[RowMapping]:
        with self.store.read() as connection:
            return connection.execute(sa.select(ORDERS).order_by(ORDERS.c.id)).mappings().all()

    def row(self) -> RowMapping:
        [row] = self.rows()
        return row

    def states(self) -> set[str]:
        return {row["state"] for row in self.rows()}

    def waits(self) -> float | None:
        at = self.row()["next_look_at"]
        return None if at is None else (at - self.clock.now).total_seconds()

    def kinds(self) -> list[str]:
        with self.store.read() as connection:
            return list(connection.execute(sa.select(EVENTS.c.kind).order_by(EVENTS.c.id)).scalars())

    def watermark(self) -> str | None:
        fact = self.store.write(lambda connection: facts.get_fact(connection, "discover"))
        return fact[1]["watermark"] if fact else None


def several(count: int, status: str = "Pending", apart: float = 1) -> list[dict[str, Any]]:
    return [
        order_json(f"BLK-{number}", f"po-{number:04}", status, created_at=NOW - timedelta(seconds=apart * number))
        for number in range(count)
    ]
