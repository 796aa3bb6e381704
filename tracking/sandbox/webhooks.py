"""Webhook delivery: sends when due and retries with exponential backoff until accepted, across restarts.

Owns the sending and its retries. The only part that speaks to the outside. Addresses hold secrets and are never logged.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from contextvars import ContextVar
from urllib.parse import urlencode

import httpx

from tracking.sandbox.database import WebhookDelivery
from tracking.sandbox.provider import Provider

log = logging.getLogger(__name__)

MAX_TRIES = 20
_MAX_WAIT_SECONDS = 3600.0
_MAX_CONCURRENT = 16
_CHECK_SECONDS = 0.05
_sending: ContextVar[bool] = ContextVar("sending", default=False)


def _outside_sending(_record: logging.LogRecord) -> bool:
    """Filter httpx's log: drops the addresses of the sandbox's webhooks, and passes its other lines."""
    return not _sending.get()


class WebhookSender:
    """Sends the webhooks that are due in the database."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._in_flight: set[int] = set()
        logging.getLogger("httpx").addFilter(_outside_sending)

    async def run(self, client: httpx.AsyncClient) -> None:
        """Send for ever. One slow receiver holds up none of the others."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                now = self._provider.clock()
                for delivery in self._due(now):
                    self._in_flight.add(delivery.id)
                    tasks.create_task(self._send(client, delivery, now))
                await self._provider.sleep(_CHECK_SECONDS)

    async def send_due(self, client: httpx.AsyncClient, now: float) -> int:
        """Send what is due at a time, once each; returns how many."""
        due = self._due(now)
        self._in_flight.update(delivery.id for delivery in due)
        await asyncio.gather(*(self._send(client, delivery, now) for delivery in due))
        return len(due)

    def _due(self, now: float) -> list[WebhookDelivery]:
        if now < self._provider.webhooks_held_until:
            return []
        due = self._provider.database.due_deliveries(now, _MAX_CONCURRENT)
        free = _MAX_CONCURRENT - len(self._in_flight)
        return [delivery for delivery in due if delivery.id not in self._in_flight][:free]

    async def _send(self, client: httpx.AsyncClient, delivery: WebhookDelivery, now: float) -> None:
        _sending.set(True)
        try:
            content, headers = odd_body(delivery) if self._provider.faults.odd_webhooks else _documented_body(delivery)
            accepted = await _post(client, delivery.url, content, headers)
            wait = min(2.0**delivery.tries, _MAX_WAIT_SECONDS) / self._provider.speed
            last_try = delivery.tries + 1 >= MAX_TRIES
            outcome = "taken" if accepted else "given up" if last_try else None
            self._provider.database.record_delivery(delivery.id, outcome=outcome, due_at=now + wait)
            log.debug("webhook_sent delivery=%d tries=%d outcome=%s", delivery.id, delivery.tries + 1, outcome)
        finally:
            self._in_flight.discard(delivery.id)


def _documented_body(delivery: WebhookDelivery) -> tuple[bytes, dict[str, str]]:
    return delivery.body.encode(), {"Content-Type": "application/json"}


def odd_body(delivery: WebhookDelivery) -> tuple[bytes, dict[str, str]]:
    """Encode a webhook as no documentation says, one way after another; the same way in each retry of it."""
    call, headers = json.loads(delivery.body), {"Content-Type": "application/json"}
    odd_types = call | {"Timestamp": {"Seconds": 1764426000}, "Action": [call["Action"]], "OrderId": None}
    ways: tuple[tuple[bytes, dict[str, str]], ...] = (
        (json.dumps(odd_types).encode(), headers),
        (delivery.body.encode("utf-16"), headers),
        (gzip.compress(delivery.body.encode(), mtime=0), headers | {"Content-Encoding": "gzip"}),
        (f"[{delivery.body}]".encode(), headers),
        (urlencode(call).encode(), {"Content-Type": "application/x-www-form-urlencoded"}),
        (b"", {}),
    )
    return ways[delivery.id % len(ways)]


async def _post(client: httpx.AsyncClient, url: str, content: bytes, headers: dict[str, str]) -> bool:
    """Send one request; returns whether the receiver accepted it with any 2xx."""
    try:
        response = await client.post(url, content=content, headers=headers, follow_redirects=False)
    except Exception as problem:  # noqa: BLE001 - whatever the receiver or an in-process application raises is a failed try
        log.debug("webhook_failed error=%s", type(problem).__name__)
        return False
    return response.is_success
