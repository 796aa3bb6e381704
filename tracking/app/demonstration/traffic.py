"""Live traffic of the demonstration: orders of ours through the real submission, orders from elsewhere, forged calls.

Rates are those with which the week before ended. What goes wrong with an order of ours says its note.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import datetime

import httpx
from starlette.types import ASGIApp

from tracking.access import Person
from tracking.app.demonstration.requests import NOTES, draw_sizes, make_document, order_type
from tracking.app.demonstration.team.acts import TEAM
from tracking.errors import TrackingError
from tracking.sandbox.server import Sandbox
from tracking.settings.addresses import WEBHOOK_PATH
from tracking.storage.database import Database
from tracking.submissions.requests import read_request
from tracking.submissions.submit import new_po_number, submit

log = logging.getLogger(__name__)

FORGED_EVERY = 7 * 3600.0
_STRANGER = ("203.0.113.7", 41_207)
_WORDS = (
    (80, ""),
    (7, "duplicate-webhook"),
    (5, "lost-webhook"),
    (3, "timeout"),
    (3, "late-webhook"),
    (0.5, "insufficient-funds"),
    (0.5, "cancelled"),
)


class Traffic:
    """Places `per_minute` orders from elsewhere and as many of ours; `receiver` is what takes our webhooks."""

    def __init__(
        self,
        database: Database,
        sandbox: Sandbox,
        receiver: ASGIApp,
        *,
        per_minute: float,
        clock: Callable[[], datetime],
        rng: random.Random,
    ) -> None:
        self._database, self._sandbox, self._receiver = database, sandbox, receiver
        self._wait, self._clock, self._rng = 60 / per_minute, clock, rng

    async def run(self) -> None:
        """Go on until cancelled; the first of each kind comes within half a minute."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self._place_ours, 4.0, self._wait, "duplicate-webhook"))
            group.create_task(self._repeat(self._place_elsewhere, 9.0, self._wait))
            group.create_task(self._repeat(self._forge, 15.0, FORGED_EVERY))

    async def _repeat(self, act: Callable[..., object], first: float, mean: float, *arguments: str) -> None:
        """Do it soon, with these arguments, and then again and again, at random intervals of this mean in seconds."""
        await asyncio.sleep(min(first, mean))
        while True:
            try:
                result = act(*arguments)
                if asyncio.iscoroutine(result):
                    await result
            except TrackingError as exc:
                log.info("an order of the demonstration was not placed: %s", exc)
            except Exception:  # what is made up goes on
                log.exception("the demonstration failed")
            arguments = ()
            await asyncio.sleep(self._rng.expovariate(1 / mean))

    async def _place_ours(self, word: str | None = None) -> None:
        rng, now = self._rng, self._clock()
        if word is None:
            word = rng.choices([word for _, word in _WORDS], [share for share, _ in _WORDS])[0]
        note = rng.choice(NOTES) + (f" [{word}]" if word else "")
        kind = order_type(rng)
        document = make_document(rng, kind, new_po_number(now, rng), draw_sizes(rng, kind), note)
        request, source, by = read_request(document), rng.choice(("form", "api")), Person(rng.choice(TEAM))
        await asyncio.to_thread(submit, self._database, [request], source=source, by=by, now=now)

    def _place_elsewhere(self) -> None:
        self._sandbox.place_elsewhere(1)

    async def _forge(self) -> None:
        """A stranger guesses a webhook address."""
        transport = httpx.ASGITransport(self._receiver, client=_STRANGER)
        async with httpx.AsyncClient(transport=transport, base_url="http://console.internal") as stranger:
            guess = "".join(self._rng.choices("abcdefghijkmnopqrstuvwxyz23456789", k=43))
            call = {"Action": "FulfillmentComplete", "OrderId": "BLK-000000001", "PONumber": "FT-20260101-GUESSED"}
            await stranger.post(WEBHOOK_PATH + guess, json=call)
