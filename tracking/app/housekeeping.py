"""Housekeeping: read catalog and balance from the provider, store them for pages; index what is searched."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from tracking.app.drafts import delete_old_drafts
from tracking.app.loops import run_loop
from tracking.app.telemetry.client_states import with_state
from tracking.errors import ProviderError
from tracking.orders.policy.balance_threshold import BalanceThreshold
from tracking.provider.client import Client
from tracking.storage import counters, facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.search import indexing

log = logging.getLogger(__name__)
STARTUP_DELAY = 1.0  # second of a process: what a restart left undone needs the budget more than what a form shows
CATALOGUE_EVERY = timedelta(days=1)
INCOMPLETE_EVERY = timedelta(minutes=10)  # while one of its lists is lacking
BALANCE_EVERY = timedelta(seconds=60)
NOT_OFFERED_EVERY = timedelta(hours=1)  # whoever answered may have been something else than the provider
DRAFTS_EVERY = timedelta(hours=1)
RETRY = timedelta(minutes=1)
SEARCH_EVERY = 2.0  # seconds
SEARCH_PAUSE = 0.02  # seconds between two steps, at the least
SEARCH_SHARE = 4  # times as long as the step took, until the next one: what else is written goes on meanwhile


class Housekeeping:
    """Fetches the catalogue daily and the balance every minute, stores them and the client's state; ends drafts.

    Brings the search's texts and index up to the orders, step by step. Below `balance_below` the balance is little;
    that is stored with it, for whoever shows it. `owner` names this process.
    """

    def __init__(
        self,
        database: Database,
        client: Client,
        clock: Callable[[], datetime],
        balance_below: BalanceThreshold | None = None,
        *,
        owner: str = "",
    ) -> None:
        self._database = database
        self._client = client
        self._clock = clock
        self._balance_below, self._owner = balance_below, owner
        self._due: dict[str, datetime] = {}
        self._offers_balance, self._lacking = True, False
        self._asked_at = clock()

    async def run(self) -> None:
        """Run the loops until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(run_loop("client state", self._client_state, 2.0))
            await asyncio.sleep(STARTUP_DELAY)
            group.create_task(run_loop("catalogue", self._catalogue, 5.0))
            group.create_task(run_loop("balance", self._balance, 5.0))
            group.create_task(run_loop("drafts", self._drafts, DRAFTS_EVERY.total_seconds()))
            group.create_task(run_loop("search index", self._search_index, SEARCH_EVERY))

    async def _store(self, key: str, value: dict[str, Any]) -> None:
        now = self._clock()
        await self._database.run(lambda connection: facts.set_fact(connection, key, value, now))

    def _stored_at(self, key: str) -> datetime | None:
        """Read when it was last stored: a process that is started again and again does not fetch anew each time."""
        stored = self._stored(key)
        return stored[0] if stored else None

    def _stored(self, key: str) -> facts.Fact | None:
        with self._database.read() as connection:
            return facts.get_fact(connection, key)

    async def _store_balance(self, key: str, value: dict[str, Any]) -> None:
        """Store the balance and its sample of this hour. A process that read it earlier and stores it later is late."""
        now, asked_at = self._clock(), self._asked_at

        def job(connection: Connection) -> None:
            before = connection.execute(facts.SELECT_BALANCE_FOR_UPDATE).one_or_none()
            if before is not None and asked_at < before.at <= now:
                return
            available = value.get("available_minor")
            if available is not None:
                counters.record_balance(connection, available, before and before.value.get("available_minor"), now)
            facts.set_fact(connection, key, value, now)

        await self._database.run(job)

    async def _refresh(
        self,
        key: str,
        every: timedelta,
        fetch: Callable[[], Awaitable[dict[str, Any]]],
        store: Callable[[str, dict[str, Any]], Awaitable[None]] | None = None,
    ) -> None:
        """Fetch and store what is due. A time further ahead than `every` is due: the clock was set back."""
        if key not in self._due and (at := await asyncio.to_thread(self._stored_at, key)):
            self._due[key] = at + RETRY
        now = self._clock()
        if key in self._due and now < self._due[key] <= now + every:
            return
        self._due[key] = now + RETRY
        await (store or self._store)(key, await fetch())
        self._due[key] = now + every

    async def _client_state(self) -> None:
        """Store the state of this process's client, and what the states of all of them come to."""
        status, now = self._client.status(), self._clock()

        def job(connection: Connection) -> None:
            stored = facts.value_for_update(connection, FactKey.API_CLIENT)
            facts.set_fact(connection, FactKey.API_CLIENT, with_state(stored, self._owner, status, now), now)

        await self._database.run(job)

    async def _catalogue(self) -> None:
        self._lacking = False
        await self._refresh(FactKey.CATALOG, CATALOGUE_EVERY, self._fetch_catalogue, self._store_catalogue)
        if self._lacking:
            self._due[FactKey.CATALOG] = self._clock() + INCOMPLETE_EVERY

    async def _store_catalogue(self, key: str, value: dict[str, Any]) -> None:
        """Store the catalogue; one without a product takes the place of no other, as it may be an answer cut short."""
        stored = await asyncio.to_thread(self._stored, key)
        if stored is not None and not value["products"]:
            log.warning("the catalogue came without a product, and stays as it was")
            self._lacking = True
            return
        before = stored[1] if stored else {}
        await self._store(key, {name: before.get(name, []) if rows is None else rows for name, rows in value.items()})

    async def _fetch_catalogue(self) -> dict[str, Any]:
        """Fetch its three lists; of the two that most orders do without, None for one that there is no answer for."""
        lists: dict[str, Any] = {"products": await self._client.products()}
        others = {"shipping_methods": self._client.shipping_methods, "carriers": self._client.carriers}
        for name, fetch in others.items():
            try:
                lists[name] = await fetch()
            except ProviderError as exc:
                log.warning("the catalogue is without its %s: %s", name.replace("_", " "), exc)
                lists[name], self._lacking = None, True
        return lists

    async def _drafts(self) -> None:
        now = self._clock()
        await self._database.run(lambda connection: delete_old_drafts(connection, now))

    async def _search_index(self) -> None:
        loop, now = asyncio.get_running_loop(), self._clock()
        while await asyncio.to_thread(self._has_search_step):
            began = loop.time()
            await self._database.run(lambda connection: indexing.step(connection, now))
            await asyncio.sleep(max(SEARCH_PAUSE, SEARCH_SHARE * (loop.time() - began)))

    def _has_search_step(self) -> bool:
        with self._database.read() as connection:
            return indexing.has_step(connection)

    async def _balance(self) -> None:
        offered, every = self._offers_balance, BALANCE_EVERY if self._offers_balance else NOT_OFFERED_EVERY
        await self._refresh(FactKey.BALANCE, every, self._fetch_balance, self._store_balance)
        if offered != self._offers_balance:  # the answer itself says how soon to ask again
            self._due[FactKey.BALANCE] = self._clock() + (NOT_OFFERED_EVERY if offered else BALANCE_EVERY)

    async def _fetch_balance(self) -> dict[str, Any]:
        self._asked_at = self._clock()
        balance = await self._client.balance()
        self._offers_balance = balance is not None
        below = self._balance_below
        threshold = {"below_minor": below.minor, "below_currency": below.currency} if below else {}
        return {"offered": self._offers_balance} | (balance or {}) | threshold
