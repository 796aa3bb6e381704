"""A clock that is set back or forward while orders are under way: nothing stalls, nothing is sent twice."""

import asyncio
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from desk import Desk, Outcome, request
from virtual import VirtualLoop, run

from tracking.app.embedded_sandbox import InProcessTransport

ORDERS = 4
SETTLED_WITHIN = timedelta(minutes=25)


async def health(desk: Desk) -> tuple[int, list[str]]:
    async with httpx.AsyncClient(transport=InProcessTransport(desk.backend.asgi(lifespan=False))) as client:
        answer = await client.get("http://console.internal/healthz")
        return answer.status_code, answer.json()["silent"]


async def work_through(desk: Desk, loop: VirtualLoop, changes: list[timedelta]) -> Outcome:
    """Orders are handed in before each change of the clock and after the last; each change finds some on their way."""
    number = 0
    for change in [*changes, timedelta()]:
        await desk.submit([request(number + each, desk.rng) for each in range(ORDERS)])
        number += ORDERS
        await asyncio.sleep(3)
        loop.set_by += change
        await asyncio.sleep(8)
        assert await health(desk) == (200, [])
    return await desk.settle(SETTLED_WITHIN)


@pytest.mark.parametrize("hours", [(-1,), (25, -24)], ids=["back", "forward and back"])
def test_a_clock_that_is_set_anew_stalls_nothing_and_sends_nothing_twice(
    tmp_path: Path, hours: tuple[int, ...]
) -> None:
    async def main(loop: VirtualLoop) -> tuple[Outcome, int]:
        desk = Desk(tmp_path, "slow-fulfillment", loop)
        # Callbacks and looks at the list would hide that an order is not asked for any more.
        alone = {"discover_every": 0, "public_url": None}
        desk.backend.settings = desk.backend.settings.model_copy(update=alone)
        async with desk.open():
            outcome = await work_through(desk, loop, [timedelta(hours=each) for each in hours])
            return outcome, max(order["posts"] for order in desk.sandbox.truth())

    outcome, posts = run(main)
    assert outcome.problems == []
    assert outcome.virtual_seconds < SETTLED_WITHIN.total_seconds()
    assert outcome.calls < 30 * ORDERS * (len(hours) + 1), "no herd"
    assert posts == 1
