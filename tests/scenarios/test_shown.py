"""What the console shows on demand: each scenario is started as the page starts it, on virtual time, and watched."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from desk import Desk, request
from virtual import VirtualLoop, run

from tracking.access import Access, Person
from tracking.app.demonstration import scenarios
from tracking.app.demonstration.scenarios import SCENARIOS, SILENCE, Started
from tracking.errors import NotAllowed, NotPermitted
from tracking.forecasting.incidents import stored_late_orders
from tracking.orders.observations import utc_now
from tracking.reports.team.drills import Step, newest_drills
from tracking.storage import facts
from tracking.storage.maintenance.verify import verify
from tracking.storage.tables import CALLBACKS, ORDERS
from tracking.team import drills
from tracking.webhooks.silence_alarm import latest_alarm

ANN = Person("Ann")
BEFORE = 45  # orders that have completed, by which it is known when one is late


class Shown:
    """Starts scenarios at a desk and waits for what they show."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def start(self, name: str) -> Started:
        now = self.desk.loop.clock()
        return await asyncio.to_thread(scenarios.start, name, self.desk.store, by=ANN, now=now)

    async def until(self, seen: Callable[[], Any], *, within: float) -> Any:
        """What is seen at last, within so many virtual seconds."""
        end = self.desk.loop.now + within
        while not (found := await asyncio.to_thread(seen)):
            assert self.desk.loop.now < end, "it was never seen"
            await asyncio.sleep(2)
        return found

    def read(self, query: Callable[[Any], Any]) -> Any:
        with self.desk.store.read() as connection:
            return query(connection)

    def order(self, po_number: str) -> Mapping[str, Any]:
        row: Mapping[str, Any] = self.desk.rows()[po_number]
        return row


async def one_order(shown: Shown) -> None:
    """Bulk, a lost answer and repeats: each is seen on the page it leads to."""
    bulk = await shown.start("bulk")
    po_number = bulk.params["order"]
    assert bulk.page == "order"
    part = await shown.until(lambda: shown.order(po_number)["units_fulfilled"], within=200)
    assert part < scenarios.BULK_CARDS
    lost = await shown.start("timeout")
    await shown.until(lambda: shown.order(lost.params["order"])["state"] == "Completed", within=120)
    await drilled(shown)
    truth = {order["po_number"]: order["posts"] for order in shown.desk.sandbox.truth()}
    assert truth[lost.params["order"]] > 1
    assert (await shown.start("duplicates")).page == "logs"
    repeated = sa.select(sa.func.count()).where(CALLBACKS.c.repeats == 2)
    await shown.until(lambda: shown.read(lambda c: c.execute(repeated).scalar()) == 3, within=60)
    await shown.until(lambda: shown.order(po_number)["state"] == "Completed", within=900)


async def drilled(shown: Shown) -> None:
    """The same as a fire drill: its order is known, unconfirmed at first, then settled."""
    clock, store = shown.desk.loop.clock, shown.desk.store
    await asyncio.to_thread(scenarios.start_drill, "timeout", store, by=ANN, now=clock())
    [drill] = newest_drills(store)
    assert [shown.order(name)["source"] for name in drill.orders] == ["form"]

    def settled() -> bool:
        drills.watch(store, clock())
        return Step.SETTLED in newest_drills(store)[0].at

    await shown.until(settled, within=120)
    assert Step.TROUBLE in newest_drills(store)[0].at
    await asyncio.to_thread(drills.end, store, by=ANN, now=clock())


async def everyone(shown: Shown) -> None:
    """Late orders, silent webhooks and an outage: each has its banner, and ends."""
    await shown.start("late")
    incident = await shown.until(lambda: shown.read(stored_late_orders).incidents, within=150)
    assert incident[0].late == scenarios.LATE_ORDERS
    await shown.until(lambda: not shown.read(stored_late_orders).incidents, within=400)
    await shown.start("silence")
    assert list(scenarios.remaining(shown.desk.loop.clock())) == ["silence"]
    alarm = await shown.until(lambda: shown.read(latest_alarm), within=SILENCE.total_seconds())
    assert alarm.ended_at is None
    await shown.until(lambda: shown.read(latest_alarm).ended_at, within=300)
    await shown.start("outage")
    with pytest.raises(NotAllowed, match="another"):
        await shown.start("outage")
    failing = "failing_since"
    await shown.until(lambda: shown.read(lambda c: facts.get_fact(c, "client")).value[failing], within=100)
    await shown.until(lambda: not shown.read(lambda c: facts.get_fact(c, "client")).value[failing], within=300)
    assert scenarios.remaining(shown.desk.loop.clock()) == {}
    unsettled = sa.select(sa.func.count()).where(ORDERS.c.state.not_in(["Completed"]))
    await shown.until(lambda: shown.read(lambda c: c.execute(unsettled).scalar()) == 0, within=600)


def test_each_scenario_shows_what_it_promises_and_ends_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(loop: VirtualLoop) -> list[str]:
        desk = Desk(tmp_path, "normal", loop, tick=4)
        monkeypatch.setattr(scenarios, "running_sandbox", lambda: desk.sandbox)
        async with desk.open():
            shown = Shown(desk)
            singles = [request(3 * number + 1, desk.rng) for number in range(BEFORE * 2)]
            await desk.submit([one for one in singles if one.units == 1][:BEFORE])
            await asyncio.sleep(300)
            await one_order(shown)
            await everyone(shown)
        return verify(desk.store)

    assert run(main) == []


def test_only_operators_start_one_and_nothing_is_done_to_a_real_provider(store: Any) -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert set(names) == {"bulk", "timeout", "outage", "silence", "duplicates", "late"}
    for name in names:
        with pytest.raises(NotAllowed, match="embedded sandbox"):
            scenarios.start(name, store, by=ANN, now=utc_now())
    with pytest.raises(NotPermitted):
        scenarios.start("bulk", store, by=Person("Vera", Access.VIEWER), now=utc_now())
    assert scenarios.remaining(utc_now() + timedelta(minutes=1)) == {}
