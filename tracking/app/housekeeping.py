"""Housekeeping: store the catalog, the balance and the client's state, where the pages read them."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from tracking.app.loops import run_loop
from tracking.provider.client import Client
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey

STARTUP_DELAY = 1.0  # second of a process: what a restart left undone needs the budget more than what a form shows
CATALOGUE_EVERY = timedelta(days=1)
CATALOGUE_RETRY = timedelta(minutes=1)
BALANCE_EVERY = timedelta(seconds=60)


class Housekeeping:
    """Fetches the catalogue daily and the balance every minute, and stores both with the client's state."""

    def __init__(self, database: Database, client: Client, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._client = client
        self._clock = clock
        self._catalogue_due: datetime | None = None
        self._balance_due: datetime | None = None
        self._offers_balance = True

    async def run(self) -> None:
        """Run the three loops until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(run_loop("client state", self._client_state, 2.0))
            await asyncio.sleep(STARTUP_DELAY)
            group.create_task(run_loop("catalogue", self._catalogue, 5.0))
            group.create_task(run_loop("balance", self._balance, 5.0))

    async def _store(self, key: str, value: dict[str, Any]) -> None:
        now = self._clock()
        await self._database.run(lambda connection: facts.set_fact(connection, key, value, now))

    def _stored_at(self, key: str) -> datetime | None:
        """Read when it was last stored: a process that is started again and again does not fetch anew each time."""
        with self._database.read() as connection:
            stored = facts.get_fact(connection, key)
        return stored[0] if stored else None

    async def _client_state(self) -> None:
        await self._store(FactKey.API_CLIENT, self._client.status())

    async def _catalogue(self) -> None:
        if self._catalogue_due is None and (at := await asyncio.to_thread(self._stored_at, FactKey.CATALOG)):
            self._catalogue_due = at + CATALOGUE_RETRY
        if _is_waiting(self._clock(), self._catalogue_due, CATALOGUE_EVERY):
            return
        self._catalogue_due = self._clock() + CATALOGUE_RETRY
        value = {
            "products": await self._client.products(),
            "shipping_methods": await self._client.shipping_methods(),
            "carriers": await self._client.carriers(),
        }
        await self._store(FactKey.CATALOG, value)
        self._catalogue_due = self._clock() + CATALOGUE_EVERY

    async def _balance(self) -> None:
        if self._balance_due is None and (at := await asyncio.to_thread(self._stored_at, FactKey.BALANCE)):
            self._balance_due = at + BALANCE_EVERY
        if not self._offers_balance or _is_waiting(self._clock(), self._balance_due, BALANCE_EVERY):
            return
        self._balance_due = self._clock() + BALANCE_EVERY
        balance = await self._client.balance()
        self._offers_balance = balance is not None
        await self._store(FactKey.BALANCE, {"offered": self._offers_balance} | (balance or {}))


def _is_waiting(now: datetime, due: datetime | None, longest: timedelta) -> bool:
    """Tell whether it is not due yet. A time further ahead than `longest` is due: the clock was set back."""
    return due is not None and now < due <= now + longest
