"""Due times that a clock which was set back left in the future."""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import Clock, FakeProvider, callback, order_json, request, shown
from polling_setup import lease_best, poll_once
from sending_setup import send_once
from sqlalchemy import Connection

from tracking import ingest
from tracking.app.housekeeping import Housekeeping
from tracking.app.loops import PollLoop
from tracking.app.telemetry.heartbeat import Heartbeat
from tracking.errors import OutcomeUnknown, Throttled
from tracking.forecasting.planner import PlanningContext
from tracking.polling.poller import Poller
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS, OUTBOX
from tracking.submissions.sender import Sender

SOON = timedelta(minutes=1)
NAMED: dict[str, Any] = {"owner": "here/1/a", "lease": timedelta(seconds=30)}


@pytest.fixture
def poller(store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock) -> Poller:
    return Poller(store, provider, planner, clock=clock, **NAMED)


@pytest.fixture
def sender(store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock) -> Sender:
    return Sender(store, provider, planner, address=lambda _po: None, wake=lambda: None, clock=clock, **NAMED)


def know(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, number: int, status: str
) -> None:
    named = (f"BLK-{number}", f"po-{number}", status)
    provider.show(order_json(*named))
    store.write(lambda connection: ingest.discover(connection, shown(*named), clock.now, clock.now, planner))


def column(store: Database, wanted: Any) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(sa.select(wanted).order_by(*wanted.table.primary_key)).scalars())


@pytest.mark.parametrize("hours", [1, 24 * 365])
def test_looks_are_due_within_a_minute_and_not_all_at_once(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, poller: Poller, hours: int
) -> None:
    for number in range(60):
        know(store, provider, planner, clock, number, "Pending")
    asyncio.run(lease_best(poller, clock.pass_by(minutes=5), at_most=1))
    now = clock.pass_by(hours=-hours)
    assert asyncio.run(poll_once(poller, now)) == 0
    assert asyncio.run(poller.recover(now)) == 60
    due = column(store, ORDERS.c.next_look_at)
    assert now <= min(due) <= max(due) <= now + SOON
    assert len(set(due)) > 50
    assert set(column(store, ORDERS.c.lease_until)) == {None}
    assert asyncio.run(poller.recover(now)) == 0
    assert asyncio.run(poll_once(poller, now + SOON)) == 60


def test_what_is_planned_within_the_bound_and_what_is_done_stays_as_it_is(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, poller: Poller
) -> None:
    know(store, provider, planner, clock, 1, "Pending")
    know(store, provider, planner, clock, 2, "Completed")
    provider.will("order", Throttled("wait", status=429, retry_after=timedelta(hours=1)))
    asyncio.run(poll_once(poller, clock.pass_by(minutes=5)))
    before = column(store, ORDERS.c.next_look_at)
    assert before[0] == clock.now + timedelta(minutes=15), "the budget keeps longer pauses"
    assert asyncio.run(poller.recover(clock.now)) == 0
    assert column(store, ORDERS.c.next_look_at) == before


def test_the_poll_loop_recovers_at_its_start_and_when_the_clock_is_set_back(
    store: Database, clock: Clock, poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    recovered = []

    async def recover(now: Any) -> int:
        recovered.append(now)
        return 0

    monkeypatch.setattr(poller, "recover", recover)
    discovery: Any = None  # its loop does not run
    loop = PollLoop(poller, discovery, Heartbeat(store, clock), clock)

    async def turns() -> None:
        for seconds in (0, 1, -1, 3600, -3600, 1):
            clock.pass_by(seconds=seconds)
            async with asyncio.TaskGroup() as group:
                await loop._turn(group)

    asyncio.run(turns())
    assert len(recovered) == 2
    assert recovered[0] == recovered[1]


def test_what_waits_to_be_sent_again_is_sent_within_a_minute(
    store: Database, provider: FakeProvider, clock: Clock, sender: Sender
) -> None:
    def place(connection: Connection) -> None:
        for number in range(8):
            ingest.place(connection, request(f"po-{number}"), source="form", actor=None, now=clock.now)

    store.write(place)
    provider.will("place", *[OutcomeUnknown("lost")] * 8)
    asyncio.run(send_once(sender, clock.now))
    now = clock.pass_by(hours=-1)
    asyncio.run(sender.recover(now))
    assert (
        now
        <= min(column(store, OUTBOX.c.next_attempt_at))
        <= max(column(store, OUTBOX.c.next_attempt_at))
        <= now + SOON
    )
    assert asyncio.run(send_once(sender, clock.pass_by(minutes=1))) == 8
    assert set(column(store, ORDERS.c.state)) == {"Pending"}


def test_a_callback_makes_its_order_due_though_the_last_one_lies_ahead(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock
) -> None:
    know(store, provider, planner, clock, 1, "Pending")
    for stamp, hours in (("03", 0), ("04", -1)):
        now = clock.pass_by(hours=hours)
        told = callback("po-1", "BLK-1", stamp)
        store.write(partial(ingest.receive_webhook, call=told, size=100, now=now, planner=planner))
    assert column(store, ORDERS.c.next_look_at) == [clock.now]


def test_the_house_is_kept_after_the_clock_was_set_back(store: Database, provider: FakeProvider, clock: Clock) -> None:
    house = Housekeeping(store, provider, clock)

    async def turn() -> None:
        await house._balance()
        await house._catalogue()

    for _ in range(2):
        asyncio.run(turn())
    assert len(provider.called("balance")) == len(provider.called("products")) == 1
    clock.pass_by(hours=-1)
    asyncio.run(turn())
    assert len(provider.called("balance")) == len(provider.called("products")) == 2
