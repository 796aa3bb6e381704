"""Webhooks on their way: sent when due, again under exponential backoff until taken, across restarts.

Owns the sending and its retries. The only part that speaks to the outside. Addresses hold secrets and are never logged.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar

import httpx

from tracking.sandbox.database import Delivery
from tracking.sandbox.provider import World

log = logging.getLogger(__name__)

MAX_TRIES = 20
_CAP_SECONDS = 3600.0
_AT_ONCE = 16
_LOOK_EVERY = 0.05
_sending: ContextVar[bool] = ContextVar("sending", default=False)


def _hide(_record: logging.LogRecord) -> bool:
    """Keep httpx from logging the addresses of the sandbox's webhooks; its other lines pass."""
    return not _sending.get()


class Courier:
    """Sends what the ledger holds as due."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._under_way: set[int] = set()
        logging.getLogger("httpx").addFilter(_hide)

    async def run(self, client: httpx.AsyncClient) -> None:
        """Send for ever. One slow receiver holds up none of the others."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                now = self._world.clock()
                for delivery in self._due(now):
                    self._under_way.add(delivery.id)
                    tasks.create_task(self._send(client, delivery, now))
                await self._world.sleep(_LOOK_EVERY)

    async def send_due(self, client: httpx.AsyncClient, now: float) -> int:
        """Send what is due at a time, once each; how many."""
        due = self._due(now)
        self._under_way.update(delivery.id for delivery in due)
        await asyncio.gather(*(self._send(client, delivery, now) for delivery in due))
        return len(due)

    def _due(self, now: float) -> list[Delivery]:
        due = self._world.ledger.due_deliveries(now, _AT_ONCE)
        free = _AT_ONCE - len(self._under_way)
        return [delivery for delivery in due if delivery.id not in self._under_way][:free]

    async def _send(self, client: httpx.AsyncClient, delivery: Delivery, now: float) -> None:
        _sending.set(True)
        try:
            taken = await _post(client, delivery)
            wait = min(2.0**delivery.tries, _CAP_SECONDS) / self._world.speed
            given_up = delivery.tries + 1 >= MAX_TRIES
            outcome = "taken" if taken else "given up" if given_up else None
            self._world.ledger.note_delivery(delivery.id, outcome=outcome, due_at=now + wait)
            log.debug("webhook_sent delivery=%d tries=%d outcome=%s", delivery.id, delivery.tries + 1, outcome)
        finally:
            self._under_way.discard(delivery.id)


async def _post(client: httpx.AsyncClient, delivery: Delivery) -> bool:
    """Whether the receiver took it: any 2xx."""
    try:
        response = await client.post(
            delivery.url, content=delivery.body, headers={"Content-Type": "application/json"}, follow_redirects=False
        )
    except Exception as problem:  # noqa: BLE001 - whatever the receiver or an in-process application raises is a failed try
        log.debug("webhook_failed delivery=%d error=%s", delivery.id, type(problem).__name__)
        return False
    return response.is_success
