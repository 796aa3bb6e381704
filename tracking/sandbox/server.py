"""The sandbox as a whole: the parts put together, the ASGI application, the background work.

Owns the choice of the real parts and their life; holds no rule of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from tracking.sandbox.database import Ledger
from tracking.sandbox.provider import Clock, Sleep, World
from tracking.sandbox.request_checks import Gate, Tokens
from tracking.sandbox.routes import Controls, Routes
from tracking.sandbox.traffic import Neighbours
from tracking.sandbox.webhooks import Courier

log = logging.getLogger(__name__)

_TRAFFIC_EVERY = 0.25


class Sandbox:
    """A simulated provider over one SQLite file.

    `speed` divides every delay of fulfillment and of webhooks; `traffic` is orders a minute from other systems;
    `history_days` fills an empty file with a past. A restart on the same file forgets nothing. `app` answers with or
    without `running()`, which sends the webhooks and makes the traffic. Not to be used by two processes at once.
    """

    def __init__(  # noqa: PLR0913 - each is a knob of its own, all but the path by name
        self,
        path: Path,
        *,
        scenario: str = "normal",
        traffic: float = 0.0,
        history_days: int = 0,
        speed: float = 1.0,
        seed: int = 0,
        email: str = "sandbox@example.com",
        access_token: str = "sandbox",  # noqa: S107 - the made-up credential of a simulator
        webhook_client: httpx.AsyncClient | None = None,
        clock: Clock = time.time,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if speed <= 0:
            raise ValueError("speed must be above zero")
        self._ledger = Ledger(path)
        self._world = World(self._ledger, clock=clock, sleep=sleep, seed=seed, speed=speed, scenario=scenario)
        self._neighbours = Neighbours(self._world, per_minute=traffic)
        self._neighbours.write_history(history_days, clock())
        tokens = Tokens(self._world.key, email, access_token)
        self._controls = Controls(self._world, self._neighbours)
        routes = Routes(self._world, tokens, self._neighbours).all(Gate(self._world, tokens))
        self._courier = Courier(self._world)
        self._client = webhook_client
        self.app = Starlette(routes=[*routes, *self._controls.all()])

    def truth(self) -> list[dict[str, Any]]:
        """Every order placed, as it really stands. For checks, never for a client."""
        return self._controls.truth()

    def place_elsewhere(self, count: int) -> list[str]:
        """Place orders as another system would; their PONumbers."""
        return self._neighbours.place(count, self._world.clock())

    def set_balance(self, cents: int) -> None:
        """Put the account at an amount."""
        self._ledger.set_balance(cents)

    def switch_to(self, scenario: str) -> None:
        """Change the scenario; ValueError for an unknown name."""
        self._world.switch_to(scenario)

    def close(self) -> None:
        """Close the file."""
        self._ledger.close()

    async def step(self) -> int:
        """Do once what `running` does all the time; how many webhooks were sent. For those who own the clock."""
        now = self._world.clock()
        self._neighbours.traffic(now)
        async with AsyncExitStack() as stack:
            return await self._courier.send_due(await self._hooks(stack), now)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send webhooks and make traffic while the block lasts."""
        async with AsyncExitStack() as stack:
            client = await self._hooks(stack)
            work = [asyncio.create_task(self._deliver(client)), asyncio.create_task(self._make_traffic())]
            try:
                yield
            finally:
                for task in work:
                    task.cancel()
                for task in work:
                    with suppress(asyncio.CancelledError):
                        await task

    async def _hooks(self, stack: AsyncExitStack) -> httpx.AsyncClient:
        """The caller's client, or one of our own for as long as the stack is open."""
        if self._client is not None:
            return self._client
        return await stack.enter_async_context(httpx.AsyncClient(timeout=5, trust_env=False))

    async def _deliver(self, client: httpx.AsyncClient) -> None:
        while True:
            try:
                await self._courier.run(client)
            except Exception:
                log.exception("webhooks_stumbled")
            await self._world.sleep(1)

    async def _make_traffic(self) -> None:
        while True:
            try:
                self._neighbours.traffic(self._world.clock())
            except Exception:
                log.exception("traffic_stumbled")
            await self._world.sleep(_TRAFFIC_EVERY)
