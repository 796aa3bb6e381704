"""Long outages and lost webhooks: work goes on by itself once they are over, and few calls were wasted meanwhile."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from desk import Desk, Outcome, request
from virtual import VirtualLoop, run

from tracking.sandbox.faults import Faults
from tracking.sandbox.scenarios import SCENARIOS, Scenario

ORDERS = 8
ONCE = 1e9
TICK = 15.0  # of the loops, in virtual seconds: half an hour of them is what costs time here


@pytest.fixture(autouse=True)
def scenarios(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenarios that nobody would want to watch."""
    for name, switches in {
        "no-token-for-10-minutes": {"token_outage_seconds": 600, "outage_every": ONCE},
        "503-for-30-minutes": {"outage_seconds": 1800, "outage_every": ONCE},
        "no-webhook": {"webhook": "never", "share": 1.0},
    }.items():
        made = Scenario(name, name, Faults(**switches))  # type: ignore[arg-type]  # of several types
        monkeypatch.setitem(cast("dict[str, Scenario]", SCENARIOS), name, made)


@pytest.mark.parametrize(
    ("scenario", "minutes", "under_way"),
    [("no-token-for-10-minutes", 10, False), ("503-for-30-minutes", 30, True)],
)
def test_after_a_long_outage_everything_is_placed_once_and_finished(
    scenario: str, minutes: int, under_way: bool, tmp_path: Path
) -> None:
    async def main(loop: VirtualLoop) -> tuple[Outcome, int]:
        desk = Desk(tmp_path, "slow-fulfillment" if under_way else scenario, loop, tick=TICK)
        async with desk.open():
            await desk.submit([request(number, desk.rng) for number in range(ORDERS)])
            if under_way:
                await asyncio.sleep(20)
                desk.sandbox.switch_to(scenario)
            before = desk.backend.calls
            await asyncio.sleep(60 * minutes - 5)
            wasted = desk.backend.calls - before
            assert len(desk.sandbox.truth()) == (ORDERS if under_way else 0)
            return await desk.settle(timedelta(hours=3)), wasted

    outcome, wasted = run(main)
    assert outcome.problems == []
    assert outcome.states == {"Completed": ORDERS}
    assert wasted < 40 * minutes / 10, "an outage must not be hammered"


def test_without_any_webhook_everything_is_finished_all_the_same(tmp_path: Path) -> None:
    async def main(loop: VirtualLoop) -> Outcome:
        desk = Desk(tmp_path, "no-webhook", loop, tick=TICK)
        async with desk.open():
            await desk.submit([request(number, desk.rng) for number in range(ORDERS)])
            return await desk.settle(timedelta(hours=3))

    outcome = run(main)
    assert outcome.problems == []
    assert outcome.states == {"Completed": ORDERS}
