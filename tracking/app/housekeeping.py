"""Housekeeping: keep the catalog, the balance and the client's state in the store, where the pages read them."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from tracking.app.loops import _write, forever
from tracking.provider.client import Client
from tracking.storage import facts
from tracking.storage.database import Database

ORDERS_FIRST = 1.0  # second of a process: what a restart left undone needs the budget more than what a form shows


CATALOGUE_EVERY = timedelta(days=1)


CATALOGUE_RETRY = timedelta(minutes=1)


BALANCE_EVERY = timedelta(seconds=60)


class Housekeeping:
    """Keeps the catalogue, the balance and the client's state in the store, where the pages read them."""

    def __init__(self, database: Database, client: Client, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._client = client
        self._clock = clock
        self._catalogue_due: datetime | None = None
        self._balance_due: datetime | None = None
        self._offers_balance = True

    async def run(self) -> None:
        """Keeps house until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(forever("client state", self._client_state, 2.0))
            await asyncio.sleep(ORDERS_FIRST)
            group.create_task(forever("catalogue", self._catalogue, 5.0))
            group.create_task(forever("balance", self._balance, 5.0))

    async def _remember(self, key: str, value: dict[str, Any]) -> None:
        now = self._clock()
        await _write(self._database, lambda connection: facts.set_fact(connection, key, value, now))

    def _known_at(self, key: str) -> datetime | None:
        """When it was last remembered: a process that is started again and again does not ask anew each time."""
        with self._database.read() as connection:
            kept = facts.fact(connection, key)
        return kept[0] if kept else None

    async def _client_state(self) -> None:
        await self._remember("client", self._client.status())

    async def _catalogue(self) -> None:
        if self._catalogue_due is None and (at := await asyncio.to_thread(self._known_at, "catalogue")):
            self._catalogue_due = at + CATALOGUE_RETRY
        if _waits(self._clock(), self._catalogue_due, CATALOGUE_EVERY):
            return
        self._catalogue_due = self._clock() + CATALOGUE_RETRY
        value = {
            "products": await self._client.products(),
            "shipping_methods": await self._client.shipping_methods(),
            "carriers": await self._client.carriers(),
        }
        await self._remember("catalogue", value)
        self._catalogue_due = self._clock() + CATALOGUE_EVERY

    async def _balance(self) -> None:
        if self._balance_due is None and (at := await asyncio.to_thread(self._known_at, "balance")):
            self._balance_due = at + BALANCE_EVERY
        if not self._offers_balance or _waits(self._clock(), self._balance_due, BALANCE_EVERY):
            return
        self._balance_due = self._clock() + BALANCE_EVERY
        balance = await self._client.balance()
        self._offers_balance = balance is not None
        await self._remember("balance", {"offered": self._offers_balance} | (balance or {}))


def _waits(now: datetime, due: datetime | None, longest: timedelta) -> bool:
    """Whether it is not due yet. What lies further ahead than it was ever put off is due: the clock was set back."""
    return due is not None and now < due <= now + longest
