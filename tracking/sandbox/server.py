"""ASGI application of the sandbox: assembles the parts and runs the background work.

Owns the choice of the real parts and their life; has no rule of its own.
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

from tracking.sandbox.database import SandboxDatabase
from tracking.sandbox.provider import Clock, Provider, Sleep
from tracking.sandbox.request_checks import BearerTokens, RequestChecks
from tracking.sandbox.routes import AdminRoutes, ApiRoutes
from tracking.sandbox.traffic import Traffic
from tracking.sandbox.webhooks import WebhookSender

log = logging.getLogger(__name__)

_TRAFFIC_SECONDS = 0.25


class Sandbox:
    """A simulated provider over one SQLite file.

    `speed` divides every delay of fulfillment and of webhooks; `lifelike`: cards by post take half a day, and no
    order is complete within its POST. `traffic` is orders a minute from other systems; `history_days` fills an empty
    file with a past. A restart on the same file forgets nothing. `app` answers with or without `running()`, which sends
    the webhooks and places the traffic. Not to be used by two processes at once.
    """

    def __init__(  # noqa: PLR0913 - each is a knob of its own, all but the path by name
        self,
        path: Path,
        *,
        scenario: str = "normal",
        traffic: float = 0.0,
        history_days: int = 0,
        speed: float = 1.0,
        lifelike: bool = False,
        seed: int = 0,
        email: str = "sandbox@example.com",
        access_token: str = "sandbox",  # noqa: S107 - the made-up credential of a simulator
        webhook_client: httpx.AsyncClient | None = None,
        clock: Clock = time.time,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if speed <= 0:
            raise ValueError("speed must be above zero")
        self._database = SandboxDatabase(path)
        self._provider = Provider(
            self._database,
            clock=clock,
            sleep=sleep,
            seed=seed,
            speed=speed,
            scenario=scenario,
            lifelike=lifelike,
        )
        self._traffic = Traffic(self._provider, per_minute=traffic)
        self._traffic.write_history(history_days, clock())
        tokens = BearerTokens(self._provider.key, email, access_token)
        self._admin = AdminRoutes(self._provider, self._traffic)
        routes = ApiRoutes(self._provider, tokens, self._traffic).table(RequestChecks(self._provider, tokens))
        self._sender = WebhookSender(self._provider)
        self._client = webhook_client
        self.app = Starlette(routes=[*routes, *self._admin.table()])

    def truth(self) -> list[dict[str, Any]]:
        """List the true state of every order. For checks, never for a client."""
        return self._admin.truth()

    def place_elsewhere(self, count: int) -> list[str]:
        """Place orders as another system would; returns their PONumbers."""
        return self._traffic.place(count, self._provider.clock())

    @property
    def provider(self) -> Provider:
        """The provider behind the HTTP, for whoever writes its past or switches its faults."""
        return self._provider

    def set_balance(self, cents: int) -> None:
        """Set the account's balance."""
        self._database.set_balance(cents)

    def switch_to(self, scenario: str) -> None:
        """Change the scenario; ValueError for an unknown name."""
        self._provider.switch_to(scenario)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    async def step(self) -> int:
        """Do once what `running` does all the time, for callers with their own clock; returns the webhooks sent."""
        now = self._provider.clock()
        self._traffic.place_due(now)
        async with AsyncExitStack() as stack:
            return await self._sender.send_due(await self._webhook_client(stack), now)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send webhooks and place traffic while the block lasts."""
        async with AsyncExitStack() as stack:
            client = await self._webhook_client(stack)
            work = [asyncio.create_task(self._send_webhooks(client)), asyncio.create_task(self._place_traffic())]
            try:
                yield
            finally:
                for task in work:
                    task.cancel()
                for task in work:
                    with suppress(asyncio.CancelledError):
                        await task

    async def _webhook_client(self, stack: AsyncExitStack) -> httpx.AsyncClient:
        """Return the caller's client, or open one for as long as the stack is open."""
        if self._client is not None:
            return self._client
        return await stack.enter_async_context(httpx.AsyncClient(timeout=5, trust_env=False))

    async def _send_webhooks(self, client: httpx.AsyncClient) -> None:
        while True:
            try:
                await self._sender.run(client)
            except Exception:
                log.exception("webhooks_stumbled")
            await self._provider.sleep(1)

    async def _place_traffic(self) -> None:
        while True:
            try:
                self._traffic.place_due(self._provider.clock())
            except Exception:
                log.exception("traffic_stumbled")
            await self._provider.sleep(_TRAFFIC_SECONDS)
